package addressing

import (
	"net/netip"
	"strings"
	"testing"
)

func TestNodeAddress(t *testing.T) {
	for prefix, want := range map[string]string{
		"2001:db8:42:1::/64":    "2001:db8:42:1::1",
		"2001:db8:42:100::/56":  "2001:db8:42:100::1",
		"2001:db8:42:1::ff/64":  "2001:db8:42:1::1", // bits after the length do not count
		"2001:db8:42:1::6/127":  "2001:db8:42:1::7",
		"2001:db8:42:1::77/128": "2001:db8:42:1::77",
		"10.42.7.0/24":          "10.42.7.1",
		"10.42.7.9/32":          "10.42.7.9",
	} {
		if got := NodeAddress(netip.MustParsePrefix(prefix)); got != netip.MustParseAddr(want) {
			t.Errorf("NodeAddress(%s) = %v, want %s", prefix, got, want)
		}
	}
	if a := NodeAddress(netip.Prefix{}); a.IsValid() {
		t.Errorf("the zero prefix has address %v", a)
	}
}

func TestLinkLocal(t *testing.T) {
	id := RouterIDOf(netip.MustParsePrefix("2001:db8:42:1::/64"))
	a := LinkLocal(id)
	if a != netip.MustParseAddr("fe80::2001:db8:42:1") || !a.IsLinkLocalUnicast() {
		t.Errorf("LinkLocal(%v) = %v", id, a)
	}
}

func TestCovers(t *testing.T) {
	for _, test := range []struct {
		outer, inner string
		want         bool
	}{
		{"2001:db8::/32", "2001:db8:42::/48", true},
		{"2001:db8::/32", "2001:db8::/32", true},
		{"2001:db8:42::/48", "2001:db8::/32", false},
		{"2001:db8::/32", "2001:db9::/48", false},
		{"::/0", "2001:db8::/32", true},
		{"::/0", "10.0.0.0/8", false},
		{"0.0.0.0/0", "10.0.0.0/8", true},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8", false},
		{"::/0", "::ffff:10.0.0.0/104", false},
		{"2001:db8::1/32", "2001:db8:42::/48", false},
	} {
		outer, inner := netip.MustParsePrefix(test.outer), netip.MustParsePrefix(test.inner)
		if got := Covers(outer, inner); got != test.want {
			t.Errorf("Covers(%v, %v) = %v", outer, inner, got)
		}
	}
	if Covers(netip.Prefix{}, netip.MustParsePrefix("::/0")) || Covers(netip.MustParsePrefix("::/0"), netip.Prefix{}) {
		t.Error("the zero prefix covers or is covered")
	}
}

func TestValidName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"a": true, "node-3": true, "3": true, long: true,
		"": false, long + "a": false, "-a": false, "a-": false, "A": false, "a.b": false,
		"a b": false, "a\x00": false, "ä": false, "a_b": false, "*": false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}

func TestValidDomain(t *testing.T) {
	label := strings.Repeat("a", 63)
	for domain, want := range map[string]bool{
		"mesh": true, "mesh.example.org": true, label + "." + label: true,
		"": false, ".": false, "mesh.": false, ".mesh": false, "a..b": false, "Mesh": false,
		label + "." + label + "." + label: false, // no name would fit before it
	} {
		if got := ValidDomain(domain); got != want {
			t.Errorf("ValidDomain(%q) = %v", domain, got)
		}
	}
}
