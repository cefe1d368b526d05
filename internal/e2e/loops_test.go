package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"re6st/internal/lab"
)

// Whatever routes a host has, its own Internet access and the outer packets of
// tunnels and control never go into the mesh, though the mesh has default
// routes of both families: with an underlay of IPv4 alone, of IPv6 alone, of
// both; while tunnels rotate, after a SIGKILL, and while the host has lost its
// own default route.
func TestZ29_NothingOfTheUnderlayEntersTheMesh(t *testing.T) {
	t.Parallel()
	families := []lab.Family{lab.IPv4, lab.IPv6, lab.Dual}
	ipv4 := netip.MustParsePrefix("10.42.0.0/16")
	w := lab.New(t).World(lab.WorldConfig{
		Homes: 1, Hub: true, Others: len(families), Family: func(i int) lab.Family { return families[i] },
		Init: []string{"--ipv4", ipv4.String()}, Refresh: 4 * time.Second,
	})
	home := w.Homes[0]
	capture := w.Capture(ipv4)
	dns := home.WAN.Link.B.Dump()
	w.Start()
	w.AwaitUp()
	r := w.AllPairs(30 * time.Second)
	measured(t, "an IPv4-only home, nodes with IPv4, IPv6 and both, two gateways: %v", r)
	led := append(w.Others[:len(w.Others):len(w.Others)], home.Node)
	wantInternet := func(when string) {
		t.Helper()
		for _, n := range led {
			w.Lab.Await(n.Name+" to have default routes of the mesh's", 30*time.Second, func() error { return n.Uses(nil) })
		}
		for i, n := range w.Others {
			wantSeen(t, when, n, w.Web4.V4, families[i]&lab.IPv4 != 0, n.Port.V4)
			wantSeen(t, when, n, w.Web6.V6, families[i]&lab.IPv6 != 0, n.Port.V6)
		}
		wantSeen(t, when, home.Node, w.Web4.V4, true, home.WAN.V4)
		wantSeen(t, when, home.Node, w.Web6.V6, false, netip.Addr{})
	}
	wantInternet("with the mesh's default routes on top")
	wantOwnDNS(t, home, w.Web4.V4, dns)

	pause(8 * time.Second) // two turns of rotation
	wantInternet("after rotations")

	for _, n := range w.Others {
		n.Kill()
		n.Run()
	}
	w.AwaitUp()
	w.AllPairs(30 * time.Second)
	wantInternet("after a SIGKILL")

	// A marked packet must find no other way when its own is gone.
	cut := []*lab.Host{home.Host, w.Others[1].Host, w.Others[2].Host}
	var saved []string
	for _, h := range cut {
		for _, f := range []string{"-4", "-6"} {
			was := h.Run("ip", f, "route", "show", "default", "table", "main")
			saved = append(saved, was)
			if was != "" {
				h.Run("ip", f, "route", "flush", "default", "table", "main")
			}
		}
	}
	pause(6 * time.Second)
	for i, h := range cut {
		for j, f := range []string{"-4", "-6"} {
			if was := saved[2*i+j]; was != "" {
				h.Run("sh", "-c", fmt.Sprintf("ip %s route add %s", f, was))
			}
		}
	}
	w.AllPairs(45 * time.Second)
	wantInternet("after the own default route was gone for a while")

	seen := capture.Stop()
	if err := seen.Err(); err != nil {
		t.Error(err)
	}
	if seen.Inner == 0 || seen.Underlay == 0 {
		t.Errorf("nothing was captured: %+v", seen)
	}
	measured(t, "%d packets in tunnels, %d on the underlay, %d not captured; %d offences", seen.Inner, seen.Underlay, seen.Dropped, seen.Offences)
	dns.Stop()
	wantNoPanic(t, w.Mesh)
	w.WantClean()
}

// wantSeen wants the server's page, and the server to see the host with its own
// address if it has an Internet of that family; else with one that the mesh
// lends it.
func wantSeen(t *testing.T, when string, n *lab.Node, server netip.Addr, own bool, as netip.Addr) {
	t.Helper()
	seen, err := n.Host.Page(server, lab.Slow(10*time.Second))
	switch {
	case err != nil:
		t.Errorf("%s: %s does not reach %v: %v", when, n.Name, server, err)
	case own && seen != as:
		t.Errorf("%s: %s is seen by %v as %v, want its own %v", when, n.Name, server, seen, as)
	case !own && server.Is6() && seen != n.Address:
		t.Errorf("%s: %s is seen by %v as %v, want the mesh's %v", when, n.Name, server, seen, n.Address)
	}
}

// wantOwnDNS wants a question to a resolver on the Internet to leave by the
// host's own way.
func wantOwnDNS(t *testing.T, home *lab.Home, resolver netip.Addr, seen *lab.Dump) {
	t.Helper()
	c, err := home.Host.Conn("udp", netip.AddrPortFrom(resolver, 53), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("a question")); err != nil {
		t.Error(err)
	}
	home.Host.Lab.Await("the question on the home's own way", 20*time.Second, func() error {
		count, _, err := seen.Count(fmt.Sprintf("udp port 53 and dst host %v", resolver))
		if err == nil && count == 0 {
			err = fmt.Errorf("none is seen")
		}
		return err
	})
}
