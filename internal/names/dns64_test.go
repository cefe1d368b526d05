package names

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// response is what a server would say: an rcode and records.
func response(t *testing.T, rcode int, records ...string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.Rcode = rcode
	for _, line := range records {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
			continue
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

const exampleSOA = "example. 120 IN SOA a.example. h.example. 1 2 3 4 5"

func TestDNS64(t *testing.T) {
	ok, nx, fail := dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeServerFailure
	for _, test := range []struct {
		name          string
		first, second *dns.Msg
		asks          bool
		want          string
	}{
		{
			"has IPv6: as it is", response(t, ok, "www.example. 60 IN AAAA 2001:db8::1"), nil, false,
			"NOERROR ra; www.example. 60 AAAA 2001:db8::1",
		},
		{"does not exist: as it is (section 5.1.2)", response(t, nx, exampleSOA), nil, false, "NXDOMAIN ra; example. 120 SOA a.example. h.example. 1 2 3 4 5"},
		{
			"has IPv4 alone (section 5.1.6), TTL of the SOA (section 5.1.7)",
			response(t, ok, exampleSOA), response(t, ok, "www.example. 300 IN A 192.0.2.33", "www.example. 300 IN A 8.8.8.8"), true,
			"NOERROR ra; www.example. 120 AAAA 2001:db8:64::c000:221; www.example. 120 AAAA 2001:db8:64::808:808",
		},
		{
			"no SOA: at most 600 seconds", response(t, ok), response(t, ok, "www.example. 3600 IN A 192.0.2.33"), true,
			"NOERROR ra; www.example. 600 AAAA 2001:db8:64::c000:221",
		},
		{
			"a failure counts as empty (section 5.1.2)", response(t, fail), response(t, ok, "www.example. 60 IN A 192.0.2.33"), true,
			"NOERROR ra; www.example. 60 AAAA 2001:db8:64::c000:221",
		},
		{
			"no answer counts as empty (section 5.1.3)", nil, response(t, ok, "www.example. 60 IN A 192.0.2.33"), true,
			"NOERROR ra; www.example. 60 AAAA 2001:db8:64::c000:221",
		},
		{
			"mapped addresses are none (section 5.1.4)", response(t, ok, "www.example. 60 IN AAAA ::ffff:192.0.2.1"), response(t, ok, "www.example. 60 IN A 192.0.2.33"), true,
			"NOERROR ra; www.example. 60 AAAA 2001:db8:64::c000:221",
		},
		{
			"aliases stay (section 5.1.5)", response(t, ok, "www.example. 60 IN CNAME web.example.", exampleSOA),
			response(t, ok, "www.example. 60 IN CNAME web.example.", "web.example. 60 IN A 192.0.2.33"), true,
			"NOERROR ra; www.example. 60 CNAME web.example.; web.example. 60 AAAA 2001:db8:64::c000:221",
		},
		{"has neither", response(t, ok, exampleSOA), response(t, ok, exampleSOA), true, "NOERROR ra; example. 120 SOA a.example. h.example. 1 2 3 4 5"},
		{"private addresses are not reached through us", response(t, ok, exampleSOA), response(t, ok, "www.example. 60 IN A 10.0.0.1"), true, "NOERROR ra"},
		{"nobody answers", nil, nil, true, "SERVFAIL ra"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := testDirectory(func(c *Config) { c.NAT64 = netip.MustParsePrefix("2001:db8:64::/96") })
			inquiry := d.Answer(ask(t, "www.example.", dns.TypeAAAA, nil), Client{Recursion: true}).Ask
			second, asks := inquiry.Second(test.first)
			if asks != test.asks || asks && (second.Question[0].Qtype != dns.TypeA || second.Question[0].Name != "www.example.") {
				t.Fatalf("second question %v, %v", second, asks)
			}
			if got := text(inquiry.Reply(test.first, test.second)); got != test.want {
				t.Errorf("%s, want\n%s", got, test.want)
			}
		})
	}
}

// RFC 6147, section 5.5: who sets CD and DO validates by itself, and would take
// what we make for forged.
func TestDNS64_ValidatingClients(t *testing.T) {
	for _, test := range []struct{ cd, do, synthesis bool }{{false, false, true}, {false, true, true}, {true, false, true}, {true, true, false}} {
		d := testDirectory(func(c *Config) { c.NAT64 = netip.MustParsePrefix("2001:db8:64::/96") })
		inquiry := d.Answer(ask(t, "www.example.", dns.TypeAAAA, func(m *dns.Msg) {
			m.CheckingDisabled = test.cd
			m.SetEdns0(1232, test.do)
		}), Client{Recursion: true}).Ask
		if first := inquiry.First(); first.CheckingDisabled != test.cd || first.IsEdns0().Do() != test.do {
			t.Errorf("CD %v, DO %v: asks %v", test.cd, test.do, first)
		}
		if _, asks := inquiry.Second(response(t, dns.RcodeSuccess)); asks != test.synthesis {
			t.Errorf("CD %v, DO %v: synthesis %v", test.cd, test.do, asks)
		}
		secure := response(t, dns.RcodeSuccess, "www.example. 60 IN A 192.0.2.1")
		secure.AuthenticatedData = true
		if got := inquiry.Reply(response(t, dns.RcodeSuccess), secure); test.synthesis && got.AuthenticatedData {
			t.Error("what we made is said to be authentic")
		}
	}
}

func TestWithoutNAT64NothingIsMade(t *testing.T) {
	inquiry := testDirectory(nil).Answer(ask(t, "www.example.", dns.TypeAAAA, nil), Client{Recursion: true}).Ask
	if _, asks := inquiry.Second(response(t, dns.RcodeSuccess)); asks {
		t.Error("asks for IPv4")
	}
}

// RFC 6147, section 5.3.1, the second way.
func TestPointerOfTranslatedAddress(t *testing.T) {
	d := testDirectory(func(c *Config) { c.NAT64 = netip.MustParsePrefix("64:ff9b::/96") })
	inquiry := d.Answer(ask(t, reverse("64:ff9b::808:404"), dns.TypePTR, nil), Client{Recursion: true}).Ask
	if got := inquiry.First().Question[0].Name; got != "4.4.8.8.in-addr.arpa." {
		t.Errorf("asks for %s", got)
	}
	want := "NOERROR ra; " + reverse("64:ff9b::808:404") + " 600 CNAME 4.4.8.8.in-addr.arpa.; 4.4.8.8.in-addr.arpa. 60 PTR dns.example."
	if got := text(inquiry.Reply(response(t, 0, "4.4.8.8.in-addr.arpa. 60 IN PTR dns.example."), nil)); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
}

// RFC 8880, section 7.1: hosts find the prefix although nobody else answers.
func TestIPv4OnlyIsAnsweredHere(t *testing.T) {
	d := testDirectory(func(c *Config) { c.NAT64 = netip.MustParsePrefix("64:ff9b::/96") })
	want := "NOERROR; ipv4only.arpa. 600 AAAA 64:ff9b::c000:aa; ipv4only.arpa. 600 AAAA 64:ff9b::c000:ab"
	if got := text(d.Answer(ask(t, "ipv4only.arpa.", dns.TypeAAAA, nil), Client{}).Reply); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What other servers send becomes an answer that can be sent, and is not longer
// than the client takes.
func FuzzInquiry(f *testing.F) {
	d := testDirectory(func(c *Config) { c.NAT64 = netip.MustParsePrefix("2001:db8:64::/96") })
	answer := func(kind uint16, text string) []byte {
		m := new(dns.Msg)
		m.SetQuestion("www.example.", kind)
		m.Response = true
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
		return pack(f, m)
	}
	f.Add(answer(dns.TypeAAAA, "www.example. 60 IN AAAA ::ffff:192.0.2.1"), answer(dns.TypeA, "www.example. 60 IN A 192.0.2.33"), true)
	f.Add(answer(dns.TypeAAAA, "www.example. 60 IN CNAME web.example."), answer(dns.TypeA, "www.example. 60 IN CNAME web.example."), false)
	f.Add([]byte{}, answer(dns.TypeA, "www.example. 60 IN A 10.0.0.1"), true)
	f.Fuzz(func(t *testing.T, one, two []byte, edns bool) {
		for _, kind := range []uint16{dns.TypeAAAA, dns.TypePTR, dns.TypeTXT} {
			name := "www.example."
			if kind == dns.TypePTR {
				name = reverse("2001:db8:64::808:404")
			}
			inquiry := d.Answer(ask(t, name, kind, func(m *dns.Msg) {
				if edns {
					m.SetEdns0(1232, true)
				}
			}), Client{Recursion: true}).Ask
			first, second := unpacked(one), unpacked(two)
			if _, ok := inquiry.Second(first); !ok {
				second = nil
			}
			r := inquiry.Reply(first, second)
			out, err := r.Pack()
			if err != nil {
				return // it holds what this library reads and does not write; the client asks again
			}
			if len(out) > udpSize || !edns && len(out) > plainSize {
				t.Fatalf("%d bytes", len(out))
			}
			if r.Id != 4711 || !r.Response || len(r.Question) != 1 || r.Question[0].Name != name {
				t.Fatalf("not an answer to this: %v", r)
			}
		}
	})
}

func unpacked(b []byte) *dns.Msg {
	m := new(dns.Msg)
	if m.Unpack(b) != nil {
		return nil
	}
	return m
}
