package origin

import (
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"re6st/addressing"
)

var network = netip.MustParsePrefix("2001:db8:42::/48")

func TestPolicy(t *testing.T) {
	own := netip.MustParsePrefix("2001:db8:42:7::/64")
	id := addressing.RouterIDOf(own)
	other := addressing.RouterIDOf(netip.MustParsePrefix("2001:db8:42:8::/64"))
	for _, tt := range []struct {
		name, prefix, from string
		id                 addressing.RouterID
		want               error
	}{
		{"own prefix", "2001:db8:42:7::/64", "", id, nil},
		{"own prefix from anywhere", "2001:db8:42:7::/64", "::/0", id, nil},
		{"another's prefix", "2001:db8:42:7::/64", "", other, ErrRouterID},
		{"more specific than own", "2001:db8:42:7::/80", "", id, ErrRouterID},
		{"less specific than own", "2001:db8:42::/60", "", id, ErrRouterID},
		{"the network", "2001:db8:42::/48", "", id, ErrWhole},
		{"around the network", "2001:db8::/32", "", id, ErrWhole},
		{"default", "::/0", "", id, ErrWhole},
		{"default from the network", "::/0", "2001:db8:42::/48", id, ErrWhole},
		{"own prefix from one source", "2001:db8:42:7::/64", "2001:db8:42::/48", id, ErrSourceSpecific},
		{"outside", "2001:db8:43::/64", "", id, ErrOutside},
		{"IPv4", "192.0.2.0/24", "", id, ErrOutside},
		{"IPv4 default", "0.0.0.0/0", "", id, ErrOutside},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var from netip.Prefix
			if tt.from != "" {
				from = netip.MustParsePrefix(tt.from)
			}
			err := NewPolicy([]netip.Prefix{network}).Check(netip.MustParsePrefix(tt.prefix), from, tt.id)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// Whatever is announced, only the router-id that the address plan gives passes.
func TestOnlyTheDerivedRouterIDPasses(t *testing.T) {
	policy := NewPolicy([]netip.Prefix{network})
	rapid.Check(t, func(t *rapid.T) {
		var a [16]byte
		copy(a[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))
		if rapid.Bool().Draw(t, "inside") {
			n := network.Addr().As16()
			copy(a[:6], n[:6])
		}
		prefix := netip.PrefixFrom(netip.AddrFrom16(a), rapid.IntRange(0, 128).Draw(t, "length")).Masked()
		var id addressing.RouterID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "router-id"))
		if policy.Check(prefix, netip.Prefix{}, id) == nil && id != addressing.RouterIDOf(prefix) {
			t.Fatalf("%v may announce %v", id, prefix)
		}
	})
}
