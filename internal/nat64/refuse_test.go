package nat64

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Who asks for what cannot be is told so, with the packet that it had sent.
func TestRefusalsAreAnswered(t *testing.T) {
	private := under(netip.MustParseAddr("10.0.0.1"))
	routing := ip6(client, under(remote), protoUDP, append([]byte{protoUDP, 0, 0, 1, 0, 0, 0, 0}, udp([]byte("data"))...))
	routing[6] = protoRouting
	for _, test := range []struct {
		name string
		in   []byte
		want meaning
	}{
		{"a private address", ip6(client, private, protoTCP, tcp([]byte("GET /"))), meaning{unreachable6, prohibited, 0}},
		{"an address of another's", ip6(client, under(netip.MustParseAddr("203.0.113.9")), protoUDP, udp(nil)), meaning{unreachable6, prohibited, 0}},
		{"an echo request", ip6(client, private, protoICMP6, icmp(echoRequest6, 0, 7, nil)), meaning{unreachable6, prohibited, 0}},
		{"a long packet", ip6(client, private, protoUDP, udp(make([]byte, 1400))), meaning{unreachable6, prohibited, 0}},
		{"a routing header with segments left", routing, meaning{parameterProblem6, 0, header6 + 3}},
	} {
		out, _ := run(newTranslator(t), test.in)
		if len(out) != 1 {
			t.Errorf("%s: %d answers", test.name, len(out))
			continue
		}
		verify(t, out[0])
		from, to := netip.AddrFrom16([16]byte(out[0][8:24])), netip.AddrFrom16([16]byte(out[0][24:40]))
		if from != testConfig().Self || to != client || len(out[0]) > minMTU6 {
			t.Errorf("%s: %d bytes from %v to %v", test.name, len(out[0]), from, to)
		}
		got := out[0][header6:]
		if got[0] != test.want.kind || got[1] != test.want.code || !bytes.Equal(got[4:8], []byte{0, 0, 0, byte(test.want.word)}) {
			t.Errorf("%s: type %d, code %d, %x; want %+v", test.name, got[0], got[1], got[4:8], test.want)
		}
		if quoted := got[icmpHeader:]; !bytes.HasPrefix(test.in, quoted) || len(quoted) < min(len(test.in), 1200) {
			t.Errorf("%s: it quotes %d of %d bytes", test.name, len(quoted), len(test.in))
		}
	}
}

// RFC 4443, section 2.4 (e), and who is not of the mesh is told nothing.
func TestRefusalsThatAreNot(t *testing.T) {
	private := under(netip.MustParseAddr("10.0.0.1"))
	quote := ip6(private, client, protoUDP, udp(nil))
	fragment := append([]byte{protoICMP6, 0, 0, 8, 0, 0, 0, 1}, make([]byte, 8)...)
	behind := ip6(client, private, protoICMP6, fragment)
	behind[6] = protoFragment
	for name, in := range map[string][]byte{
		"about an error":          ip6(client, private, protoICMP6, icmp(timeExceeded6, 0, 0, quote)),
		"about a redirect":        ip6(client, private, protoICMP6, icmp(redirect6, 0, 0, quote)),
		"about what may be one":   behind,
		"to a stranger":           ip6(netip.MustParseAddr("2001:db8:43::1"), private, protoUDP, udp(nil)),
		"to nobody":               ip6(netip.IPv6Unspecified(), private, protoUDP, udp(nil)),
		"about a multicast":       ip6(client, netip.MustParseAddr("ff0e::1"), protoUDP, udp(nil)),
		"about nothing of ICMPv6": ip6(client, private, protoICMP6, nil),
	} {
		if out, _ := run(newTranslator(t), in); len(out) != 0 {
			t.Errorf("an error %s", name)
		}
	}
}

func TestExhaustionIsAnswered(t *testing.T) {
	c := testConfig()
	c.Pool = netip.MustParsePrefix("240.64.0.0/29")
	x, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range byte(8) {
		a := client.As16()
		a[7], a[15] = i, 1
		out, r := run(x, ip6(netip.AddrFrom16(a), under(remote), protoUDP, udp(nil)))
		if len(out) != 1 || (r == Exhausted) != (out[0][0]>>4 == 6) {
			t.Fatalf("source %d: %v, %d packets", i, r, len(out))
		}
		if r == Exhausted {
			verify(t, out[0])
			if !slices.Equal(out[0][header6:header6+2], []byte{unreachable6, unreachableAddress}) {
				t.Errorf("answered %x", out[0][header6:])
			}
			return
		}
	}
	t.Error("the pool does not end")
}

// RFC 4443, section 2.4 (f), whatever the clock does.
func TestRefusalsAreBounded(t *testing.T) {
	var r refusals
	count := func(now time.Time) (n int) {
		for range 1000 {
			if r.take(now) {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		at   time.Duration
		want int
	}{{0, refusalBurst}, {0, 0}, {refusalInterval, 1}, {time.Second, refusalBurst}, {-time.Hour, refusalBurst}, {-time.Hour + 5*refusalInterval, 5}} {
		if got := count(start.Add(step.at)); got != step.want {
			t.Errorf("at %v: %d, want %d", step.at, got, step.want)
		}
	}
}
