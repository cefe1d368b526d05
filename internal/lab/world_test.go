package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The world without a mesh in it: who reaches whom, and how the outside finds
// the mesh's prefix.
func TestWorldBeforeTheMesh(t *testing.T) {
	w := New(t).World(WorldConfig{Homes: 1, Gateways: []string{}})
	home := w.Homes[0]
	dump := home.WAN.Link.B.Dump()
	for _, h := range []*Host{home.Host, home.Phone.Host} {
		if seen, err := h.Page(w.Web4.V4, 5*time.Second); err != nil || seen != home.WAN.V4 {
			t.Errorf("%s is seen by the IPv4 server as %v (%v), want its router's %v", h.Name, seen, err, home.WAN.V4)
		}
		if _, err := h.Page(w.Web6.V6, 2*time.Second); err == nil {
			t.Errorf("%s reaches the IPv6 server though it has only IPv4", h.Name)
		}
	}
	for _, g := range w.Gateways {
		if seen, err := g.Host.Page(w.Web6.V6, 5*time.Second); err != nil || seen != g.Port.V6 {
			t.Errorf("%s is seen as %v: %v", g.Host.Name, seen, err)
		}
	}

	dump.Stop()
	if six, first, err := dump.Count("ip6 or ip proto 41"); err != nil || six != 0 {
		t.Errorf("%d IPv6 packets at the IPv4-only home, the first %s (%v)", six, first, err)
	}
	if four, _, err := dump.Count("ip"); err != nil || four < 10 {
		t.Errorf("only %d IPv4 packets at the home, of two pages (%v)", four, err)
	}
	hops := home.Phone.Host.Trace(w.Web4.V4, 6)
	if len(hops) != 4 || hops[0].From.String() != "192.168.1.1" || hops[3].From != w.Web4.V4 {
		t.Errorf("traced %v, want box, provider, core, server", hops)
	}

	// A gateway's node has the prefix in its table; so the outside has a route.
	announce := func(g *Node) {
		g.Host.IP(fmt.Sprintf("route add unreachable %s proto 42 table %d", Network, worldTable))
	}
	through := func(isp *Internet) func() error {
		return func() error {
			out, err := w.Net.Router.Try("ip", "-6", "route", "get", "2001:db8:42::1")
			if err != nil {
				return err // no route yet
			}
			if !strings.Contains(out, "to-"+isp.Router.Name) {
				return fmt.Errorf("%s", out)
			}
			return nil
		}
	}
	announce(w.Gateways[0])
	t.Logf("announced %v after it was there", w.Lab.Await("the way through the one provider", 20*time.Second, through(w.ISPs[0])))
	announce(w.Gateways[1])
	w.Gateways[0].Port.Link.Cut()
	t.Logf("the other way %v after the death of the first", w.Lab.Await("the way through the other", 20*time.Second, through(w.ISPs[1])))
	w.Gateways[0].Port.Link.Restore()
}

func TestTransferIsWholeOrNot(t *testing.T) {
	_, a, b, link := pair(t)
	b.Web(":80")
	whole := a.Transfer(addr6b.Addr(), 500*time.Millisecond)
	if err := whole.Wait(10 * time.Second); err != nil {
		t.Error(err)
	}
	broken := a.Transfer(addr4b.Addr(), 10*time.Second)
	link.Cut()
	if err := broken.Wait(time.Second); err == nil {
		t.Error("a transfer over a cut cable was whole")
	}
}

func TestDHCPScript(t *testing.T) {
	l, err := parseLease([]byte("address 10.42.1.7/24\nrouter 10.42.1.1\ndns 10.42.1.1\ndns 10.42.1.2\n"))
	if err != nil || l.Address != netip.MustParsePrefix("10.42.1.7/24") || len(l.Routers) != 1 || len(l.DNS) != 2 {
		t.Errorf("%+v, %v", l, err)
	}
}
