package addressing

import (
	"net/netip"
	"testing"
)

// RFC 6052, section 2.4, the rows of length 96.
func TestEmbedIPv4(t *testing.T) {
	for _, test := range []struct{ prefix, want string }{
		{"2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"},
		{"64:ff9b::/96", "64:ff9b::192.0.2.33"},
	} {
		p, a := netip.MustParsePrefix(test.prefix), netip.MustParseAddr("192.0.2.33")
		got := EmbedIPv4(p, a)
		if got != netip.MustParseAddr(test.want) {
			t.Errorf("%v under %v is %v, want %s", a, p, got, test.want)
		}
		if back, ok := ExtractIPv4(p, got); !ok || back != a {
			t.Errorf("%v came back as %v, %v", a, back, ok)
		}
	}
	for _, a := range []string{"2001:db8:122:345::1", "192.0.2.33"} {
		if _, ok := ExtractIPv4(netip.MustParsePrefix("64:ff9b::/96"), netip.MustParseAddr(a)); ok {
			t.Errorf("%s is of the prefix", a)
		}
	}
}

func TestMayEmbed(t *testing.T) {
	wellKnown, own := netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("2001:db8:64::/96")
	for a, want := range map[string][2]bool{ // under the well-known prefix, under one of the network's
		"8.8.8.8": {true, true}, "192.0.0.9": {true, true}, "100.128.0.1": {true, true}, "172.32.0.1": {true, true}, "223.255.255.255": {true, true},
		"198.18.0.1": {false, true}, "203.0.113.7": {false, true}, "192.0.2.1": {false, true}, "192.0.0.170": {false, true},
		"0.0.0.0": {}, "10.1.2.3": {}, "100.64.0.1": {}, "127.0.0.1": {}, "169.254.169.254": {}, "172.16.0.1": {}, "172.31.255.255": {},
		"192.168.1.1": {}, "224.0.0.1": {}, "240.0.0.1": {}, "255.255.255.255": {}, "2001:db8::1": {},
	} {
		for i, p := range []netip.Prefix{wellKnown, own} {
			if got := MayEmbed(p, netip.MustParseAddr(a)); got != want[i] {
				t.Errorf("%s under %v: %v", a, p, got)
			}
		}
	}
}
