package agent

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/internal/lab/solo"
	"re6st/tunnel/control"
)

func TestT16_RequestsOfOneNodeAreLimited(t *testing.T) {
	m := newMesh(t)
	server := m.start(m.node("a", 1), func(c *transportConfig) { c.Limits.PeerRequests, c.Limits.PeerBurst = 0.1, 5 })
	noisy, quiet := m.start(m.node("b", 2)), m.start(m.node("c", 3))
	for range 5 {
		if _, err := noisy.Peers(deadline(t), server.at()); err != nil {
			t.Fatal(err)
		}
	}
	_, err := noisy.Peers(deadline(t), server.at())
	wantRefusal(t, err, control.Busy)
	if _, err := quiet.Peers(deadline(t), server.at()); err != nil {
		t.Errorf("another node pays for it: %v", err)
	}
}

func TestT03_ConnectionsOfOneNodeAreLimited(t *testing.T) {
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			m := newMesh(t)
			server := m.start(m.node("a", 1), func(c *transportConfig) { c.Limits.PeerConnections = 2 })
			cert := m.node("b", 2)
			var conns []*conn
			for range 4 {
				caller := m.start(cert)
				caller.only(p)
				if _, err := caller.Peers(deadline(t), server.at()); err != nil {
					t.Fatal(err)
				}
				conns = append(conns, caller.kept(t, server))
			}
			await(t, "the two oldest to be closed", func() bool { return !conns[0].wire.alive() && !conns[1].wire.alive() })
			if !conns[2].wire.alive() || !conns[3].wire.alive() {
				t.Error("one of the two newest was closed")
			}
		})
	}
}

func TestT16_HandshakeFloodLeavesRoomForKnownSources(t *testing.T) {
	g := newGate(transportLimits{
		Connections: 1000, SourceConnections: 100, Handshakes: 1, KnownHandshakes: 10, SourceHandshakes: 100, Sources: 300,
	})
	now := time.Unix(1_000_000, 0)
	friend := netip.MustParseAddr("192.0.2.1")
	g.prove(now, friend)
	admitted := 0
	for i := range 200 {
		if release, ok := g.admit(now, netip.AddrFrom4([4]byte{10, byte(i), 0, 1})); ok {
			admitted++
			release()
		}
	}
	if admitted > 3 {
		t.Errorf("%d of 200 strangers were admitted at once", admitted)
	}
	release, ok := g.admit(now, friend)
	if !ok {
		t.Fatal("a known source was shut out by strangers")
	}
	release()
	release() // twice is once
	if g.open != 0 {
		t.Errorf("%d connections counted as open", g.open)
	}
	if n := g.sources.len(); n > 300 {
		t.Errorf("%d sources are remembered", n)
	}
}

func TestT16_LimitsBySource(t *testing.T) {
	g := newGate(transportLimits{
		Connections: 5, SourceConnections: 3, Handshakes: 1000, KnownHandshakes: 1, SourceHandshakes: 1000, Sources: 10,
	})
	now := time.Unix(1_000_000, 0)
	count := func(addr string, n int) (ok int) {
		for range n {
			if _, admitted := g.admit(now, netip.MustParseAddr(addr)); admitted {
				ok++
			}
		}
		return ok
	}
	if got := count("2001:db8::1", 2) + count("2001:db8:0:ff::1", 2); got != 3 {
		t.Errorf("one /56 has %d connections, want 3", got)
	}
	if got := count("::ffff:192.0.2.1", 2) + count("192.0.2.200", 2); got != 2 {
		t.Errorf("the rest has %d connections, want 2: 5 are all there are", got)
	}
}

func TestT03_GateClosesWhatItDoesNotAdmit(t *testing.T) {
	m := newMesh(t)
	server := m.start(m.node("a", 1), func(c *transportConfig) {
		c.Limits.SourceConnections, c.Limits.HandshakeTime = 4, 4*time.Second
	})
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	closed := 0
	for range 8 {
		c, err := net.Dial("tcp", server.at().addr.String())
		if err != nil {
			closed++ // reset before Dial has returned
			continue
		}
		open = append(open, c)
	}
	look := func() {
		open = slices.DeleteFunc(open, func(c net.Conn) bool {
			c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			if err == nil || isTimeout(err) {
				return false
			}
			closed++
			c.Close()
			return true
		})
	}
	solo.Until(t, "4 of 8 connections to be closed at once", 3*time.Second, func() bool { look(); return closed >= 4 })
	if look(); closed != 4 {
		t.Errorf("%d of 8 connections were closed at once, want 4", closed)
	}
	// They count until they are closed, which the handshake's time does.
	caller := m.start(m.node("b", 2))
	await(t, "a place to be free again", func() bool {
		_, err := caller.Peers(deadline(t), server.at())
		return err == nil
	})
}

func TestT14_BudgetOfDials(t *testing.T) {
	l := defaultTransportLimits
	l.Dials, l.DialBurst = 1, 10
	b := newBudget(l)
	now := time.Unix(1_000_000, 0)
	victim := target{addr: netip.MustParseAddrPort("192.0.2.1:6326")}
	dials := 0
	for s := range 3600 {
		at := now.Add(time.Duration(s) * time.Second)
		if b.allow(at, victim, nil) == nil {
			dials++
			b.failed(at, victim)
		}
	}
	if dials > 130 {
		t.Errorf("%d dials of a silent address in an hour", dials)
	}
	b.succeeded(victim)
	if err := b.allow(now.Add(2*time.Hour), victim, nil); err != nil {
		t.Errorf("after a success: %v", err)
	}
	all := 0
	for i := range 100 {
		to := target{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1)}
		if b.allow(now.Add(3*time.Hour), to, nil) == nil {
			all++
		}
	}
	if all > 10 {
		t.Errorf("%d dials at once", all)
	}
	if err := b.allow(now.Add(3*time.Hour), target{addr: victim.addr, overlay: true}, nil); err != nil {
		t.Errorf("a target in the mesh: %v", err)
	}
}
