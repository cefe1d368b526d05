package names

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"re6st/addressing"
)

const (
	// synthesisTTL bounds the lifetime of a synthesized record where no SOA tells
	// (RFC 6147, section 5.1.7), and is that of a PTR's alias.
	synthesisTTL = 600
	// onlyIPv4 is the name by which hosts find the NAT64 prefix (RFC 7050). Who
	// does DNS64 answers for it by itself (RFC 8880, section 7.1).
	onlyIPv4 = "ipv4only.arpa."
)

// wellKnownIPv4 are the addresses of onlyIPv4 (RFC 7050, section 8.2).
var wellKnownIPv4 = [...]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 170}), netip.AddrFrom4([4]byte{192, 0, 0, 171})}

// translated answers what the NAT64 prefix alone tells.
func (d *Directory) translated(r *dns.Msg, q dns.Question, name string) bool {
	if !d.nat64.IsValid() || name != onlyIPv4 || q.Qtype != dns.TypeAAAA {
		return false
	}
	for _, a := range wellKnownIPv4 {
		r.Answer = append(r.Answer, synthetic(q.Name, synthesisTTL, addressing.EmbedIPv4(d.nat64, a)))
	}
	return true
}

func synthetic(name string, ttl uint32, a netip.Addr) dns.RR {
	return &dns.AAAA{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: ttl}, AAAA: a.AsSlice()}
}

// Inquiry is a question that others have to answer. First says what to ask them,
// Second what more, and Reply makes the answer of both.
type Inquiry struct {
	query  *dns.Msg
	client Client
	nat64  netip.Prefix
}

// synthesizes: a client that wants to validate by itself gets what there is
// (RFC 6147, section 5.5: with CD and DO set, "MUST NOT perform synthesis").
func (i *Inquiry) synthesizes() bool {
	edns := i.query.IsEdns0()
	validates := i.query.CheckingDisabled && edns != nil && edns.Do()
	return i.nat64.IsValid() && i.query.Question[0].Qtype == dns.TypeAAAA && !validates
}

// embedded is the IPv4 address whose name is asked for, where the question is
// for that of an address under the NAT64 prefix.
func (i *Inquiry) embedded() (netip.Addr, bool) {
	q := i.query.Question[0]
	if !i.nat64.IsValid() || q.Qtype != dns.TypePTR {
		return netip.Addr{}, false
	}
	p, exact, ok := parseReverse(strings.ToLower(q.Name))
	if !ok || !exact || p.Bits() != p.Addr().BitLen() {
		return netip.Addr{}, false
	}
	return addressing.ExtractIPv4(i.nat64, p.Addr())
}

// First is the question to ask. For the name of an address under the NAT64
// prefix it is the one for that of the IPv4 address (RFC 6147, section 5.3.1).
func (i *Inquiry) First() *dns.Msg {
	q := i.query.Question[0]
	if a, ok := i.embedded(); ok {
		q.Name = reverseName(netip.PrefixFrom(a, a.BitLen()))
	}
	return i.ask(q)
}

// ask is a question of ours. Of the client's options none goes on: they are for
// the next hop, or tell who it is.
func (i *Inquiry) ask(q dns.Question) *dns.Msg {
	m := &dns.Msg{Question: []dns.Question{q}}
	m.RecursionDesired, m.CheckingDisabled = true, i.query.CheckingDisabled
	edns := i.query.IsEdns0()
	m.SetEdns0(udpSize, edns != nil && edns.Do())
	return m
}

// Second is the question that is to be asked after the first one was answered,
// or was not (nil): for IPv4 addresses where there is none of IPv6.
func (i *Inquiry) Second(first *dns.Msg) (*dns.Msg, bool) {
	if !i.synthesizes() || first != nil && (first.Rcode == dns.RcodeNameError || hasUsable(first.Answer)) {
		return nil, false
	}
	q := i.query.Question[0]
	q.Qtype = dns.TypeA
	return i.ask(q), true
}

// hasUsable says whether there is an IPv6 address. IPv4-mapped ones are none (RFC
// 6147, section 5.1.4).
func hasUsable(answer []dns.RR) bool {
	for _, rr := range answer {
		if aaaa, ok := rr.(*dns.AAAA); ok && isUsable(aaaa) {
			return true
		}
	}
	return false
}

func isUsable(rr *dns.AAAA) bool {
	a, ok := netip.AddrFromSlice(rr.AAAA)
	return ok && !a.Is4In6() && !a.Is4()
}

// Reply makes the answer; nil stands for one that did not come.
func (i *Inquiry) Reply(first, second *dns.Msg) *dns.Msg {
	r := replyTo(i.query)
	switch a, isPointer := i.embedded(); {
	case isPointer && first != nil:
		i.take(r, first)
		target := reverseName(netip.PrefixFrom(a, a.BitLen()))
		r.Answer = append([]dns.RR{&dns.CNAME{
			Hdr:    dns.RR_Header{Name: i.query.Question[0].Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: synthesisTTL},
			Target: target,
		}}, r.Answer...)
		r.AuthenticatedData = false
	case second != nil:
		i.take(r, second)
		r.AuthenticatedData = false // no signature is on what we made
		if hasA(second.Answer) {
			r.Answer, r.Ns = i.synthesize(first, second), nil
		}
	case first != nil:
		i.take(r, first)
	default:
		r.Rcode = dns.RcodeServerFailure
		explain(r, dns.ExtendedErrorCodeNoReachableAuthority, "no answer from the servers that are asked for others")
	}
	return finish(r, i.query, i.client, r.Rcode)
}

// take copies what an answer says, but for its options.
func (i *Inquiry) take(r, from *dns.Msg) {
	r.Rcode, r.AuthenticatedData = from.Rcode, from.AuthenticatedData
	r.Answer, r.Ns, r.Extra = from.Answer, from.Ns, withoutOPT(from.Extra)
	if edns := i.query.IsEdns0(); edns == nil && r.Rcode > 0xf {
		r.Rcode = dns.RcodeServerFailure
	}
}

func hasA(answer []dns.RR) bool {
	for _, rr := range answer {
		if _, ok := rr.(*dns.A); ok {
			return true
		}
	}
	return false
}

// synthesize makes AAAA of A records, and keeps the aliases on the way to them
// (RFC 6147, sections 5.1.5 to 5.1.7). Addresses that a translator would refuse
// are left out (RFC 6052, section 3.1).
func (i *Inquiry) synthesize(first, second *dns.Msg) []dns.RR {
	limit := uint32(synthesisTTL)
	if first != nil {
		for _, rr := range first.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				limit = soa.Hdr.Ttl
			}
		}
	}
	var answer []dns.RR
	for _, rr := range second.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			a, ok := netip.AddrFromSlice(rr.A)
			if a = a.Unmap(); ok && addressing.MayEmbed(i.nat64, a) {
				answer = append(answer, synthetic(rr.Hdr.Name, min(rr.Hdr.Ttl, limit), addressing.EmbedIPv4(i.nat64, a)))
			}
		case *dns.CNAME, *dns.DNAME:
			answer = append(answer, rr)
		}
	}
	return answer
}
