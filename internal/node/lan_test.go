package node

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"re6st/internal/identity"
)

// A LAN that the node cannot serve is one clear error of usage, before anything
// is changed.
func TestLANFlags(t *testing.T) {
	self := identity.Node{Prefix: netip.MustParsePrefix("2001:db8:42:10::/64"), IPv4: netip.MustParsePrefix("10.42.5.0/24")}
	for _, c := range []struct {
		six, four string
		want      string
	}{
		{"eth1", "eth1", ""},
		{"eth1=2001:db8:99::/64", "", "--lan: prefix 2001:db8:99::/64 for eth1 is not of this node's"},
		{"lo", "", "cannot be that of a LAN"},
		{"re6st-00000001", "", "cannot be that of a LAN"},
		{"", "eth1=192.168.0.0/24", "--lan-ipv4: subnet 192.168.0.0/24 for eth1 is not of this node's"},
		{"", "lo", "cannot be that of a LAN"},
	} {
		d := &daemon{options: Options{LANs: strings.Fields(c.six), LANsIPv4: strings.Fields(c.four)}, member: &membership{self: self}}
		_, err := d.openLANs()
		if c.want == "" {
			if err != nil {
				t.Errorf("%q %q: %v", c.six, c.four, err)
			}
			continue
		}
		known, ok := errors.AsType[*Error](err)
		if !ok || known.Kind != Usage || !strings.Contains(err.Error(), c.want) || known.Hint == "" {
			t.Errorf("%q %q: %v, want %q", c.six, c.four, err, c.want)
		}
	}
}
