package node

import (
	"net/netip"
	"strings"
	"testing"

	"re6st/babel"
	"re6st/internal/gateway"
	"re6st/internal/status"
)

func TestWayOutFollowsFromThePrefix(t *testing.T) {
	for _, c := range []struct {
		network, asked string
		want           gateway.Way
	}{
		{"2001:db8:42::/48", "auto", gateway.Routed}, // documentation stands for public
		{"2a01:4f8:1::/48", "auto", gateway.Routed},
		{"fd6e:1a2b:3c4d::/48", "auto", gateway.Masquerade},
		{"fd6e:1a2b:3c4d::/48", "routed", gateway.Routed},
		{"2a01:4f8:1::/48", "off", gateway.Off},
	} {
		o := gatewayDefaults()
		o.IPv6 = c.asked
		if got := o.way6([]netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix(c.network)}); got != c.want {
			t.Errorf("%s of %s: %s, want %s", c.asked, c.network, got, c.want)
		}
	}
}

func TestGatewayOptions(t *testing.T) {
	good := gatewayDefaults()
	if err := good.check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for what, change := range map[string]func(*GatewayOptions){
		"--gateway-ipv6":       func(o *GatewayOptions) { o.IPv6 = "nat" },
		"--gateway-ipv4":       func(o *GatewayOptions) { o.IPv4 = "routed" },
		"--gateway-inbound":    func(o *GatewayOptions) { o.Inbound = "" },
		"needs the prefix":     func(o *GatewayOptions) { o.IPv6 = "translate" },
		"without host bits":    func(o *GatewayOptions) { o.Prefix = netip.MustParsePrefix("2001:db8::1/48") },
		"want an IPv6 prefix ": func(o *GatewayOptions) { o.Prefix = netip.MustParsePrefix("10.0.0.0/8") },
	} {
		o := good
		change(&o)
		if err := o.check(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestGatewayHealth(t *testing.T) {
	var codes []string
	add := func(code, _ string) { codes = append(codes, code) }
	gatewayHealth(nil, add)
	gatewayHealth(&status.Gateway{OnLink: "2001:db8:42::/48 on eth0", Families: []status.GatewayFamily{
		{Family: "IPv6", Way: "routed", Originated: true}, {Family: "IPv4", Way: "masquerade", Why: "no default route"},
	}}, add)
	if got := strings.Join(codes, " "); got != "gateway-on-link gateway-ipv4-closed" {
		t.Errorf("codes %q", got)
	}
}

// Until a trial has been made nothing of others is announced, and then what gets
// through.
func TestExportOfWhatIsCarried(t *testing.T) {
	d := &daemon{}
	six, four := babel.Announcement{Prefix: netip.MustParsePrefix("2001:db8:42::/64")}, babel.Announcement{Prefix: netip.MustParsePrefix("0.0.0.0/0")}
	own := six
	own.Own = true
	want := func(when string, wantSix, wantFour bool) {
		t.Helper()
		_, isOwn := d.export(own)
		_, isSix := d.export(six)
		_, isFour := d.export(four)
		if !isOwn || isSix != wantSix || isFour != wantFour {
			t.Errorf("%s: own %t, IPv6 %t, IPv4 %t", when, isOwn, isSix, isFour)
		}
	}
	want("at first", false, false)
	if !d.transit.set(gateway.Blocked{}, nil) || d.transit.set(gateway.Blocked{}, nil) {
		t.Error("the first trial changes something, the same again does not")
	}
	want("all gets through", true, true)
	d.transit.set(gateway.Blocked{IPv4: true}, []string{"table ip filter, chain FORWARD (policy drop)"})
	want("Docker", true, false)
	if h := d.transitHealth(); len(h) != 1 || h[0].Code != "firewall-forward-ipv4" || !strings.Contains(h[0].Text, "chain FORWARD") {
		t.Errorf("health %+v", h)
	}
	d.transit.set(gateway.Blocked{}, nil)
	d.options.NoTransit = true
	want("--no-transit", false, false)
}
