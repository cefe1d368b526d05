package names

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

const (
	// ttl of what we know (seconds): a node that moves to another prefix is found
	// under the new one after that.
	ttl = 30
	// negativeTTL is how long others may believe that a name does not exist (RFC
	// 2308, section 5). It is short: a new node shall be found soon.
	negativeTTL = 5
	// Sizes of UDP messages: without EDNS (RFC 1035, section 4.2.1), and what we
	// send and take with it, which fits any path of the Internet unfragmented.
	plainSize = 512
	udpSize   = 1232
	// maxQuery is the longest question that we read: a name has 255 bytes.
	maxQuery = 4096
	// headerBytes: less is no message.
	headerBytes = 12
)

// Client is who asks.
type Client struct {
	TCP bool
	// Recursion: others may be asked on its behalf.
	Recursion bool
}

// Outcome is what is to be done about a message: send Reply, or carry out Ask.
// With neither there is nothing to say.
type Outcome struct {
	Reply *dns.Msg
	Ask   *Inquiry
}

// Answer works on one message.
func (d *Directory) Answer(message []byte, c Client) Outcome {
	q := new(dns.Msg)
	if len(message) < headerBytes || message[2]&0x80 != 0 {
		return Outcome{} // an answer to an answer could go on for ever
	}
	if len(message) > maxQuery {
		message = message[:headerBytes]
	}
	if err := q.Unpack(message); err != nil {
		return Outcome{Reply: unreadable(message)}
	}
	r := replyTo(q)
	if rcode := check(q); rcode != dns.RcodeSuccess {
		return Outcome{Reply: finish(r, q, c, rcode)}
	}
	question := q.Question[0]
	if d.local(r, question) {
		return Outcome{Reply: finish(r, q, c, r.Rcode)}
	}
	if !c.Recursion || !q.RecursionDesired {
		return Outcome{Reply: finish(r, q, c, dns.RcodeRefused)}
	}
	return Outcome{Ask: &Inquiry{query: q, client: c, nat64: d.nat64}}
}

// unreadable answers a message of which only the header counts.
func unreadable(message []byte) *dns.Msg {
	r := new(dns.Msg)
	r.Id = uint16(message[0])<<8 | uint16(message[1])
	r.Opcode = int(message[2]>>3) & 0xf
	r.Response, r.Rcode = true, dns.RcodeFormatError
	return r
}

// replyTo begins an answer. The question goes back as it came, capitals
// included: some clients rely on it.
func replyTo(q *dns.Msg) *dns.Msg {
	r := &dns.Msg{Question: q.Question, Compress: true}
	r.Id, r.Opcode, r.Response = q.Id, q.Opcode, true
	r.RecursionDesired, r.CheckingDisabled = q.RecursionDesired, q.CheckingDisabled
	return r
}

// check says what is wrong with a question as such.
func check(q *dns.Msg) int {
	switch {
	case q.Opcode != dns.OpcodeQuery:
		return dns.RcodeNotImplemented
	case len(q.Question) != 1 || len(q.Answer) > 0 || len(q.Ns) > 0 || countOPT(q) > 1:
		return dns.RcodeFormatError
	case q.IsEdns0() != nil && q.IsEdns0().Version() != 0:
		return dns.RcodeBadVers
	case q.Question[0].Qclass != dns.ClassINET:
		return dns.RcodeRefused
	}
	switch q.Question[0].Qtype {
	case dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILA, dns.TypeMAILB:
		return dns.RcodeRefused
	case dns.TypeNone, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY:
		return dns.RcodeFormatError
	}
	return dns.RcodeSuccess
}

// countOPT: "If a query message with more than one OPT RR is received, a FORMERR
// MUST be returned" (RFC 6891, section 6.1.1).
func countOPT(q *dns.Msg) (n int) {
	for _, rr := range q.Extra {
		if rr.Header().Rrtype == dns.TypeOPT {
			n++
		}
	}
	return n
}

// finish puts the last things into an answer and makes it fit.
func finish(r, q *dns.Msg, c Client, rcode int) *dns.Msg {
	r.Rcode = rcode
	r.RecursionAvailable = c.Recursion
	size := plainSize
	if edns := q.IsEdns0(); edns != nil {
		size = min(max(int(edns.UDPSize()), plainSize), udpSize)
		own := r.IsEdns0()
		if own == nil {
			own = &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
			r.Extra = append(r.Extra, own)
		}
		own.SetUDPSize(udpSize)
		own.SetDo(edns.Do()) // RFC 3225, section 3
	} else {
		r.Extra = withoutOPT(r.Extra)
		if rcode > 0xf {
			r.Rcode = dns.RcodeServerFailure // the rest of the code has no place
		}
	}
	if c.TCP {
		size = dns.MaxMsgSize
	}
	r.Truncate(size)
	return r
}

func withoutOPT(all []dns.RR) []dns.RR {
	var kept []dns.RR
	for _, rr := range all {
		if rr.Header().Rrtype != dns.TypeOPT {
			kept = append(kept, rr)
		}
	}
	return kept
}

// local answers what is in our zones, and says whether the question is.
func (d *Directory) local(r *dns.Msg, q dns.Question) bool {
	name := strings.ToLower(q.Name)
	if d.domain != "" && dns.IsSubDomain(d.domain, name) {
		r.Authoritative = true
		d.forward(r, q, name)
		return true
	}
	if p, exact, ok := parseReverse(name); ok {
		if apex, ok := apexOf(d.zones, p); ok {
			r.Authoritative = true
			d.reverse(r, q, p, apex, exact)
			return true
		}
	}
	return d.translated(r, q, name)
}

// forward answers in the zone of the nodes' names.
func (d *Directory) forward(r *dns.Msg, q dns.Question, name string) {
	if name == d.domain {
		d.apex(r, q, d.domain)
		return
	}
	label := strings.TrimSuffix(name, "."+d.domain)
	h, ok := d.hosts[label]
	if !ok {
		d.missing(r, d.domain, netip.Prefix{})
		return
	}
	header := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: q.Name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
	}
	switch {
	case q.Qtype == dns.TypeAAAA:
		r.Answer = append(r.Answer, &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: h.Address.AsSlice()})
	case q.Qtype == dns.TypeA && h.IPv4.IsValid():
		r.Answer = append(r.Answer, &dns.A{Hdr: header(dns.TypeA), A: h.IPv4.AsSlice()})
	case q.Qtype == dns.TypeANY:
		r.Answer = append(r.Answer, minimal(q.Name))
	default:
		d.noData(r, d.domain)
	}
}

// reverse answers in a zone of addresses.
func (d *Directory) reverse(r *dns.Msg, q dns.Question, p, apex netip.Prefix, exact bool) {
	zone := reverseName(apex)
	if p == apex && exact {
		d.apex(r, q, zone)
		return
	}
	name, ok := d.pointers[p.Addr()]
	isHost := p.Bits() == p.Addr().BitLen()
	switch {
	case !exact, isHost && !ok, !isHost && !d.hasWithin(p):
		d.missing(r, zone, p)
	case !isHost: // names lie below it, so it exists (RFC 8020)
		d.noData(r, zone)
	case q.Qtype == dns.TypePTR:
		r.Answer = append(r.Answer, &dns.PTR{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ttl}, Ptr: name})
	case q.Qtype == dns.TypeANY:
		r.Answer = append(r.Answer, minimal(q.Name))
	default:
		d.noData(r, zone)
	}
}

// apex answers for the name of a zone itself. Each node is the server of the
// zones: whoever asks one of them reaches it.
func (d *Directory) apex(r *dns.Msg, q dns.Question, zone string) {
	switch q.Qtype {
	case dns.TypeSOA:
		r.Answer = append(r.Answer, d.soa(zone))
	case dns.TypeNS:
		r.Answer = append(r.Answer, &dns.NS{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: ttl}, Ns: d.self})
	case dns.TypeANY:
		r.Answer = append(r.Answer, minimal(zone))
	default:
		d.noData(r, zone)
	}
}

// minimal: RFC 8482, section 4.2.
func minimal(name string) dns.RR {
	return &dns.HINFO{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: ttl}, Cpu: "RFC8482"}
}

// soa is also what tells how long a negative answer may be kept (RFC 2308,
// section 3). Nobody copies these zones: its times are for form's sake.
func (d *Directory) soa(zone string) dns.RR {
	const refresh, retry, expire = 300, 60, 3600
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: negativeTTL},
		Ns:  d.self, Mbox: "hostmaster." + d.domain, Serial: d.serial,
		Refresh: refresh, Retry: retry, Expire: expire, Minttl: negativeTTL,
	}
}

func (d *Directory) noData(r *dns.Msg, zone string) { r.Ns = append(r.Ns, d.soa(zone)) }

// missing is the answer for what we do not have. As long as it could be that we
// only do not know it yet, that it does not exist would be a lie which resolvers
// keep; a failure they ask again.
func (d *Directory) missing(r *dns.Msg, zone string, p netip.Prefix) {
	if !d.mayAppear(p) {
		r.Rcode = dns.RcodeNameError
		r.Ns = append(r.Ns, d.soa(zone))
		return
	}
	r.Rcode, r.Authoritative = dns.RcodeServerFailure, false
	explain(r, dns.ExtendedErrorCodeNotReady, "certificates of some nodes are not here yet")
}

// explain adds an extended error (RFC 8914); finish takes it out again where the
// client does not speak EDNS.
func explain(r *dns.Msg, code uint16, text string) {
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: code, ExtraText: text})
	r.Extra = append(r.Extra, opt)
}
