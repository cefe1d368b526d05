package node

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"re6st/babel"
	"re6st/tunnel/agent"
	"re6st/tunnel/control"
)

func learnt(prefix, from string, index int) babel.RouteState {
	r := babel.RouteState{Prefix: netip.MustParsePrefix(prefix), Interface: index, Installed: true}
	if from != "" {
		r.From = netip.MustParsePrefix(from)
	}
	return r
}

func owned(prefix, from string) babel.RouteState {
	r := learnt(prefix, from, 0)
	r.Own, r.Installed = true, false
	return r
}

func signpostWith(routes ...babel.RouteState) *signpost {
	rtt := 12.5
	return &signpost{
		routes: func() []babel.RouteState { return routes },
		tunnels: func() ([]agent.Tunnel, error) {
			return []agent.Tunnel{
				{Index: 7, Interface: "re6st-7", Peer: "seven", PeerAddress: "2001:db8:42:7::1", RTTms: &rtt, Loss: 0.25},
				{Index: 8, Interface: "re6st-8", Peer: "eight", PeerAddress: "2001:db8:42:8::1"},
			}, nil
		},
		nets: testNetworks,
		own:  []netip.Prefix{netip.MustParsePrefix("2001:db8:42:1::/64"), netip.MustParsePrefix("10.42.1.0/24")},
	}
}

func TestNextHop(t *testing.T) {
	const net6 = "2001:db8:42::/48"
	unused := learnt("2001:db8:42:9::/64", "", 8)
	unused.Installed = false
	inside := []babel.RouteState{
		learnt("2001:db8:42:7::/64", "", 7), learnt("2001:db8:42:8::/64", "", 8), unused,
		learnt("::/0", net6, 7), learnt("::/0", "2001:db8:1000::/48", 8), learnt("0.0.0.0/0", "", 7),
		learnt("10.42.8.0/24", "", 8), learnt("2001:db8:cafe::/48", "", 8), learnt("2001:db8:1000::/48", "", 8), learnt("2001:db8:cafe:1::/64", "", 7),
		owned("2001:db8:42:1::/64", ""), owned("198.51.100.0/24", ""), learnt("198.51.100.0/24", "", 7),
	}
	gateway := append([]babel.RouteState{owned("::/0", net6), owned("0.0.0.0/0", "")}, inside...)
	for _, tt := range []struct {
		name, to, from string
		routes         []babel.RouteState
		kind, peer     string
	}{
		{"a node", "2001:db8:42:8::1", "2001:db8:42:1::1", inside, control.HopTunnel, "eight"},
		{"ourselves", "2001:db8:42:1::1", "2001:db8:42:7::1", inside, control.HopLocal, ""},
		{"our LAN", "2001:db8:42:1::abcd", "2001:db8:42:7::1", inside, control.HopLocal, ""},
		{"our IPv4 subnet", "10.42.1.9", "10.42.8.1", inside, control.HopLocal, ""},
		{"IPv4", "10.42.8.1", "10.42.1.1", inside, control.HopTunnel, "eight"},
		{"the longest prefix", "2001:db8:cafe:1::1", "2001:db8:42:1::1", inside, control.HopTunnel, "seven"},
		{"the shorter one", "2001:db8:cafe:2::1", "2001:db8:42:1::1", inside, control.HopTunnel, "eight"},
		{"a prefix that we announce, too", "198.51.100.1", "10.42.1.1", inside, control.HopLocal, ""},
		{"out, from the network", "2001:db8:f000::1", "2001:db8:42:1::1", inside, control.HopTunnel, "seven"},
		{"out, from an announced prefix", "2001:db8:f000::1", "2001:db8:1000::9", inside, control.HopTunnel, "eight"},
		{"out, from elsewhere", "2001:db8:f000::1", "2001:db8:f001::1", inside, control.HopNone, ""},
		{"out by IPv4", "192.0.2.1", "10.42.1.1", inside, control.HopTunnel, "seven"},
		{"out, at a gateway", "2001:db8:f000::1", "2001:db8:42:1::1", gateway, control.HopGateway, ""},
		{"out by IPv4, at a gateway", "192.0.2.1", "10.42.7.1", gateway, control.HopGateway, ""},
		{"out by IPv4, with an address of the host's own", "192.0.2.1", "192.168.1.2", inside, control.HopNone, ""},
		{"out by IPv4, from an announced prefix", "192.0.2.1", "198.51.100.9", inside, control.HopTunnel, "seven"},
		{"nothing known", "2001:db8:42:8::1", "2001:db8:42:1::1", nil, control.HopNone, ""},
		{"over what is no tunnel", "2001:db8:42:8::1", "2001:db8:42:1::1", []babel.RouteState{learnt("2001:db8:42:8::/64", "", 99)}, control.HopNone, ""},
	} {
		got, err := signpostWith(tt.routes...).nextHop(netip.MustParseAddr(tt.to), netip.MustParseAddr(tt.from))
		if err != nil || got.Kind != tt.kind || got.Peer != tt.peer || got.Validate() != nil {
			t.Errorf("%s: %+v, %v; want %s %s", tt.name, got, err, tt.kind, tt.peer)
		}
	}
	got, err := signpostWith(inside...).nextHop(netip.MustParseAddr("2001:db8:42:7::1"), netip.MustParseAddr("2001:db8:42:1::1"))
	if err != nil || got.Interface != "re6st-7" || got.RTTms == nil || *got.RTTms != 12.5 || got.Loss != 0.25 ||
		got.PeerAddress != netip.MustParseAddr("2001:db8:42:7::1") {
		t.Errorf("%+v, %v", got, err)
	}
}

// However often others ask, all routes are looked at once a second.
func TestNextHopIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		s := signpostWith()
		s.routes = func() []babel.RouteState { looks++; return nil }
		a := netip.MustParseAddr("2001:db8:42:8::1")
		for range 1000 {
			if _, err := s.nextHop(a, a); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if looks < 4 || looks > 6 {
			t.Errorf("looked %d times in 5 s", looks)
		}
		s.tunnels = func() ([]agent.Tunnel, error) { return nil, errors.New("stopping") }
		time.Sleep(time.Minute)
		if _, err := s.nextHop(a, a); err == nil {
			t.Error("no error of the tunnels' loop")
		}
	})
}
