package names

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var issued = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func host(name, prefix, subnet string) Host {
	h := Host{Name: name, Prefix: netip.MustParsePrefix(prefix), Issued: issued, Serial: "01"}
	h.Address = h.Prefix.Addr().Next()
	if subnet != "" {
		h.Subnet = netip.MustParsePrefix(subnet)
		h.IPv4 = h.Subnet.Addr().Next()
	}
	return h
}

func testConfig() Config {
	return Config{
		Domain:   "mesh",
		Networks: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("2001:db8:42::/48")},
		Self:     host("otter", "2001:db8:42:7::/64", "10.42.7.0/24"),
		Serial:   9,
	}
}

func all(hosts ...Host) iter.Seq[Host] { return slices.Values(hosts) }

func testDirectory(change func(*Config)) *Directory {
	c := testConfig()
	if change != nil {
		change(&c)
	}
	return New(c, all(host("beaver", "2001:db8:42:8::/64", ""), host("heron", "2001:db8:42:9::/64", "10.42.9.0/24")))
}

func ask(t testing.TB, name string, kind uint16, change func(*dns.Msg)) []byte {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	q.Id = 4711
	if change != nil {
		change(q)
	}
	return pack(t, q)
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// text is one line: rcode, flags, and the records of all sections.
func text(m *dns.Msg) string {
	if m == nil {
		return "nothing"
	}
	var b strings.Builder
	b.WriteString(dns.RcodeToString[m.Rcode])
	for _, f := range []struct {
		is   bool
		name string
	}{{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionAvailable, "ra"}, {m.AuthenticatedData, "ad"}} {
		if f.is {
			b.WriteString(" " + f.name)
		}
	}
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		b.WriteString("; " + strings.Join(strings.Fields(strings.Replace(rr.String(), "IN", "", 1)), " "))
	}
	return b.String()
}

const (
	soaMesh = "; mesh. 5 SOA otter.mesh. hostmaster.mesh. 9 300 60 3600 5"
	soa6    = "; 2.4.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 5 SOA otter.mesh. hostmaster.mesh. 9 300 60 3600 5"
	soa4    = "; 42.10.in-addr.arpa. 5 SOA otter.mesh. hostmaster.mesh. 9 300 60 3600 5"
)

func TestAnswer(t *testing.T) {
	d := testDirectory(nil)
	for _, test := range []struct {
		name string
		kind uint16
		want string
	}{
		{"beaver.mesh.", dns.TypeAAAA, "NOERROR aa; beaver.mesh. 30 AAAA 2001:db8:42:8::1"},
		{"bEAvER.Mesh.", dns.TypeAAAA, "NOERROR aa; bEAvER.Mesh. 30 AAAA 2001:db8:42:8::1"},
		{"otter.mesh.", dns.TypeAAAA, "NOERROR aa; otter.mesh. 30 AAAA 2001:db8:42:7::1"},
		{"otter.mesh.", dns.TypeA, "NOERROR aa; otter.mesh. 30 A 10.42.7.1"},
		// RFC 2308, section 2.2: the name is there, the type is not.
		{"beaver.mesh.", dns.TypeA, "NOERROR aa" + soaMesh},
		{"otter.mesh.", dns.TypeMX, "NOERROR aa" + soaMesh},
		{"absent.mesh.", dns.TypeAAAA, "NXDOMAIN aa" + soaMesh},
		{"absent.mesh.", dns.TypeANY, "NXDOMAIN aa" + soaMesh},
		{"www.beaver.mesh.", dns.TypeAAAA, "NXDOMAIN aa" + soaMesh},
		{`beaver\.mesh.mesh.`, dns.TypeAAAA, "NXDOMAIN aa" + soaMesh},
		{"beaver.mesh.", dns.TypeANY, `NOERROR aa; beaver.mesh. 30 HINFO "RFC8482" ""`},
		{"mesh.", dns.TypeSOA, "NOERROR aa" + soaMesh},
		{"mesh.", dns.TypeNS, "NOERROR aa; mesh. 30 NS otter.mesh."},
		{"mesh.", dns.TypeAAAA, "NOERROR aa" + soaMesh},
		{"mesh.", dns.TypeANY, `NOERROR aa; mesh. 30 HINFO "RFC8482" ""`},
		{"mesh.", dns.TypeAXFR, "REFUSED"},
		{"mesh.", dns.TypeOPT, "FORMERR"},

		{reverse("2001:db8:42:8::1"), dns.TypePTR, "NOERROR aa; " + reverse("2001:db8:42:8::1") + " 30 PTR beaver.mesh."},
		{reverse("10.42.9.1"), dns.TypePTR, "NOERROR aa; 1.9.42.10.in-addr.arpa. 30 PTR heron.mesh."},
		{reverse("10.42.9.1"), dns.TypeANY, `NOERROR aa; 1.9.42.10.in-addr.arpa. 30 HINFO "RFC8482" ""`},
		{reverse("10.42.9.1"), dns.TypeA, "NOERROR aa" + soa4},
		{reverse("10.42.9.2"), dns.TypePTR, "NXDOMAIN aa" + soa4},
		{reverse("2001:db8:42:8::2"), dns.TypePTR, "NXDOMAIN aa" + soa6},
		{reverse("2001:db8:42:ffff::1"), dns.TypePTR, "NXDOMAIN aa" + soa6},
		{"42.10.in-addr.arpa.", dns.TypeSOA, "NOERROR aa" + soa4},
		{"2.4.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypeNS, "NOERROR aa; 2.4.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 30 NS otter.mesh."},
		// RFC 8020: nothing is said not to exist that has something below it.
		{"8.0.0.0.2.4.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypePTR, "NOERROR aa" + soa6},
		{"a.0.0.0.2.4.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypePTR, "NXDOMAIN aa" + soa6},
		{"9.42.10.in-addr.arpa.", dns.TypePTR, "NOERROR aa" + soa4},
		{"10.42.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN aa" + soa4},
		{"09.42.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN aa" + soa4},
		{"1.1.9.42.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN aa" + soa4},
		{"_dns-sd.2.4.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypePTR, "NXDOMAIN aa" + soa6},
		{"x." + reverse("2001:db8:42:8::1"), dns.TypePTR, "NXDOMAIN aa" + soa6},

		{"www.example.org.", dns.TypeAAAA, "REFUSED"},
		{"beaver.", dns.TypeAAAA, "REFUSED"},
		{"notmesh.", dns.TypeAAAA, "REFUSED"},
		{".", dns.TypeNS, "REFUSED"},
		{"10.in-addr.arpa.", dns.TypeNS, "REFUSED"},
		{"ip6.arpa.", dns.TypeNS, "REFUSED"},
		{reverse("2001:db8:43::1"), dns.TypePTR, "REFUSED"},
	} {
		got := d.Answer(ask(t, test.name, test.kind, nil), Client{})
		if got.Ask != nil || text(got.Reply) != test.want {
			t.Errorf("%s %s:\n\t%s, want\n\t%s", test.name, dns.TypeToString[test.kind], text(got.Reply), test.want)
			continue
		}
		if r := got.Reply; r.Id != 4711 || !r.Response || len(r.Question) != 1 || r.Question[0].Name != test.name {
			t.Errorf("%s: the header is of another question: %v", test.name, r)
		}
	}
}

func reverse(a string) string {
	name, err := dns.ReverseAddr(a)
	if err != nil {
		panic(err)
	}
	return name
}

func TestWhatIsNoQuestion(t *testing.T) {
	d := testDirectory(nil)
	good := ask(t, "beaver.mesh.", dns.TypeAAAA, nil)
	with := func(change func(*dns.Msg)) []byte { return ask(t, "beaver.mesh.", dns.TypeAAAA, change) }
	response := slices.Clone(good)
	response[2] |= 0x80
	for _, test := range []struct {
		name string
		in   []byte
		want string
	}{
		{"an answer", response, "nothing"},
		{"nothing", nil, "nothing"},
		{"half a header", good[:11], "nothing"},
		{"a header that promises more", good[:12], "FORMERR"},
		{"half a question", good[:20], "FORMERR"},
		{"too long", append(slices.Clone(good), make([]byte, maxQuery)...), "FORMERR"},
		{"no question", with(func(m *dns.Msg) { m.Question = nil }), "FORMERR"},
		{"two questions", with(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), "FORMERR"},
		{"an update", with(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), "NOTIMP"},
		{"a notify", with(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), "NOTIMP"},
		{"CHAOS", with(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED"},
		{"any class", with(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), "REFUSED"},
		{"EDNS version 1", with(func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), dns.RcodeToString[dns.RcodeBadVers]},
		{"two OPT", with(func(m *dns.Msg) { m.SetEdns0(1232, false); m.SetEdns0(1232, false) }), "FORMERR"},
	} {
		if got := d.Answer(test.in, Client{}); text(got.Reply) != test.want {
			t.Errorf("%s: %s, want %s", test.name, text(got.Reply), test.want)
		}
	}
}

// A name that is not known may be that of a node whose certificate is on its way.
func TestPendingIsNoDenial(t *testing.T) {
	d := testDirectory(func(c *Config) { c.Pending = true })
	for _, test := range []struct {
		name string
		kind uint16
		want string
	}{
		{"beaver.mesh.", dns.TypeAAAA, "NOERROR aa; beaver.mesh. 30 AAAA 2001:db8:42:8::1"},
		{"absent.mesh.", dns.TypeAAAA, "SERVFAIL"},
		{reverse("2001:db8:42:ffff::1"), dns.TypePTR, "SERVFAIL"},
		// The owner of this one is known, and what is in its prefix with it.
		{reverse("2001:db8:42:8::2"), dns.TypePTR, "NXDOMAIN aa" + soa6},
	} {
		got := d.Answer(ask(t, test.name, test.kind, func(m *dns.Msg) { m.SetEdns0(4096, true) }), Client{}).Reply
		if text(got) != test.want {
			t.Errorf("%s: %s, want %s", test.name, text(got), test.want)
		}
		edns := got.IsEdns0()
		if edns == nil || !edns.Do() || edns.UDPSize() != udpSize {
			t.Errorf("%s: EDNS %v", test.name, edns)
		} else if got.Rcode == dns.RcodeServerFailure && (len(edns.Option) != 1 || !strings.Contains(edns.Option[0].String(), "14")) {
			t.Errorf("%s: options %v, want the extended error 14", test.name, edns.Option)
		}
	}
	if got := d.Answer(ask(t, "absent.mesh.", dns.TypeAAAA, nil), Client{}).Reply; len(got.Extra) > 0 {
		t.Errorf("without EDNS: %v", got.Extra)
	}
}

// Of two certificates with one name the one that was issued last has it, in
// whichever order they become known.
func TestOneNameTwice(t *testing.T) {
	old, later, same := host("heron", "2001:db8:42:9::/64", ""), host("heron", "2001:db8:42:a::/64", ""), host("heron", "2001:db8:42:b::/64", "")
	later.Issued, same.Issued = issued.Add(time.Hour), issued.Add(time.Hour)
	same.Serial = "02"
	for _, order := range [][]Host{{old, later, same}, {same, later, old}, {later, same, old}} {
		d := New(testConfig(), all(order...))
		want := "NOERROR aa; heron.mesh. 30 AAAA 2001:db8:42:b::1"
		if got := d.Answer(ask(t, "heron.mesh.", dns.TypeAAAA, nil), Client{}).Reply; text(got) != want {
			t.Errorf("%s, want %s", text(got), want)
		}
		// The others' addresses have no name: it leads elsewhere.
		if got := d.Answer(ask(t, reverse("2001:db8:42:a::1"), dns.TypePTR, nil), Client{}).Reply; text(got) != "NXDOMAIN aa"+soa6 {
			t.Errorf("pointer of the older one: %s", text(got))
		}
	}
}

func TestNetworksOfOddLength(t *testing.T) {
	d := testDirectory(func(c *Config) {
		c.Networks = []netip.Prefix{netip.MustParsePrefix("2001:db8:40::/46"), netip.MustParsePrefix("10.42.0.0/20")}
	})
	for name, want := range map[string]string{
		reverse("2001:db8:42:8::1"):         "NOERROR aa; " + reverse("2001:db8:42:8::1") + " 30 PTR beaver.mesh.",
		"2.4.0.0.8.b.d.0.1.0.0.2.ip6.arpa.": "NOERROR aa" + soa6,
		"4.0.0.8.b.d.0.1.0.0.2.ip6.arpa.":   "REFUSED", // of others too
		"9.42.10.in-addr.arpa.":             "NOERROR aa; 9.42.10.in-addr.arpa. 5 SOA otter.mesh. hostmaster.mesh. 9 300 60 3600 5",
		reverse("10.42.9.1"):                "NOERROR aa; 1.9.42.10.in-addr.arpa. 30 PTR heron.mesh.",
		reverse("10.42.16.1"):               "REFUSED",
	} {
		if got := d.Answer(ask(t, name, dns.TypePTR, nil), Client{}).Reply; text(got) != want {
			t.Errorf("%s: %s, want %s", name, text(got), want)
		}
	}
}

func TestWithoutDomain(t *testing.T) {
	d := testDirectory(func(c *Config) { c.Domain = "" })
	for name, want := range map[string]string{
		"beaver.":                   "REFUSED",
		reverse("2001:db8:42:8::1"): "NOERROR aa; " + reverse("2001:db8:42:8::1") + " 30 PTR beaver.",
	} {
		if got := d.Answer(ask(t, name, dns.TypePTR, nil), Client{}).Reply; text(got) != want {
			t.Errorf("%s: %s, want %s", name, text(got), want)
		}
	}
}

// Others are asked only for who may, and wants.
func TestRecursion(t *testing.T) {
	d := testDirectory(nil)
	q := ask(t, "www.example.org.", dns.TypeAAAA, nil)
	if got := d.Answer(q, Client{Recursion: true}); got.Ask == nil || got.Reply != nil {
		t.Errorf("a member's question: %v", got)
	}
	iterative := ask(t, "www.example.org.", dns.TypeAAAA, func(m *dns.Msg) { m.RecursionDesired = false })
	if got := d.Answer(iterative, Client{Recursion: true}); text(got.Reply) != "REFUSED ra" {
		t.Errorf("without RD: %v", text(got.Reply))
	}
}

// RFC 1035, section 4.2.1; RFC 6891, section 6.2.5: no UDP answer is longer than
// the client says it takes, nor than what passes unfragmented.
func TestTruncation(t *testing.T) {
	long := new(dns.Msg)
	for i := range 200 {
		rr, err := dns.NewRR(fmt.Sprintf("www.example.org. 60 IN AAAA 2001:db8::%x", i))
		if err != nil {
			t.Fatal(err)
		}
		long.Answer = append(long.Answer, rr)
	}
	for _, test := range []struct {
		edns uint16
		tcp  bool
		most int
		tc   bool
	}{{0, false, 512, true}, {100, false, 512, true}, {1000, false, 1000, true}, {65535, false, 1232, true}, {0, true, 65535, false}} {
		q := ask(t, "www.example.org.", dns.TypeAAAA, func(m *dns.Msg) {
			if test.edns > 0 {
				m.SetEdns0(test.edns, false)
			}
		})
		got := testDirectory(nil).Answer(q, Client{Recursion: true, TCP: test.tcp}).Ask.Reply(long, nil)
		if n := len(pack(t, got)); n > test.most || got.Truncated != test.tc || n < test.most/2 && test.tc {
			t.Errorf("EDNS %d, TCP %v: %d bytes, tc %v", test.edns, test.tcp, n, got.Truncated)
		}
		if (got.IsEdns0() != nil) != (test.edns > 0) {
			t.Errorf("EDNS %d: %v", test.edns, got.Extra)
		}
	}
	if len(long.Answer) != 200 {
		t.Error("the answer of others, which several may share, was changed")
	}
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"beaver.mesh.", "absent.mesh.", "www.example.org.", reverse("2001:db8:42:8::1"), reverse("64:ff9b::c000:201"), "."} {
		f.Add(ask(f, name, dns.TypeAAAA, nil), true)
		f.Add(ask(f, name, dns.TypePTR, func(m *dns.Msg) { m.SetEdns0(4096, true) }), false)
		f.Add(ask(f, name, dns.TypeANY, nil), true)
	}
	d := testDirectory(func(c *Config) { c.NAT64 = netip.MustParsePrefix("64:ff9b::/96") })
	f.Fuzz(func(t *testing.T, message []byte, recursion bool) {
		got := d.Answer(message, Client{Recursion: recursion})
		if got.Ask != nil {
			if !recursion {
				t.Fatal("others are asked for a stranger")
			}
			pack(t, got.Ask.First())
			got.Reply = got.Ask.Reply(nil, nil)
		}
		if got.Reply == nil {
			return
		}
		out, err := got.Reply.Pack()
		if err != nil {
			t.Fatalf("an answer that cannot be sent: %v: %v", err, got.Reply)
		}
		if len(out) > udpSize || len(out) > len(message)+400 {
			t.Fatalf("%d bytes for %d", len(out), len(message))
		}
		if out[0] != message[0] || out[1] != message[1] || out[2]&0x80 == 0 {
			t.Fatal("not an answer to this")
		}
		if again := d.Answer(out, Client{Recursion: true}); again.Reply != nil || again.Ask != nil {
			t.Fatal("an answer is answered")
		}
	})
}
