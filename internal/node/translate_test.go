package node

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// What can never be translated is refused at the start, with one line.
func TestCheckTranslated(t *testing.T) {
	p := netip.MustParsePrefix
	for _, c := range []struct {
		name, network, outside string
		maps                   [][2]netip.Prefix
		want                   string
	}{
		{name: "smaller", network: "fd00:1::/48", outside: "2001:db8::/56", want: "2001:db8::/56 is smaller than fd00:1::/48"},
		{name: "IPv4 network", network: "10.0.0.0/8", outside: "2001:db8::/48", want: "the network has no IPv6 prefix"},
		{name: "long network", network: "fd00:1::/96", outside: "2001:db8::/48", want: "between 1 and 64"},
		{name: "the network's own", network: "2001:db8::/48", outside: "2001:db8::/40", want: "overlap"},
		{name: "map of the same outside", network: "fd00:1::/48", outside: "2001:db8::/48", maps: [][2]netip.Prefix{{p("fd00:2::/48"), p("2001:db8::/48")}}, want: "one counterpart only"},
		{name: "map with host bits", network: "fd00:1::/48", outside: "2001:db8::/48", maps: [][2]netip.Prefix{{p("fd00:2::1/48"), p("2001:db8:1::/48")}}, want: "did you mean fd00:2::/48"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &daemon{networks: []netip.Prefix{p(c.network)}}
			d.options.Gateway = GatewayOptions{On: true, IPv6: "translate", Prefix: p(c.outside), Maps: c.maps}
			err := d.checkTranslated()
			failure, ok := errors.AsType[*Error](err)
			if !ok || failure.Kind != Usage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want a wrong usage with %q", err, c.want)
			}
		})
	}
	o := gatewayDefaults()
	o.On, o.IPv6, o.Maps = true, "routed", make([][2]netip.Prefix, 1)
	if err := o.check(); err == nil || !strings.Contains(err.Error(), "--gateway-map") {
		t.Errorf("--gateway-map without translation: %v", err)
	}
}

// A prefix with an address of the uplink in it would make the host deaf.
func TestRefuseOwnAddress(t *testing.T) {
	if err := refuseOwnAddress("lo", netip.MustParsePrefix("2001:db8::/48")); err != nil {
		t.Error(err)
	}
	if err := refuseOwnAddress("lo", netip.MustParsePrefix("127.0.0.0/8")); err == nil || !strings.Contains(err.Error(), "this host's own address 127.0.0.1") {
		t.Errorf("%v, want 127.0.0.1 named", err)
	}
	if err := refuseOwnAddress("nowhere0", netip.MustParsePrefix("::/64")); err == nil {
		t.Error("an interface that is not there has addresses")
	}
}
