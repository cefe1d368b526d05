package babel

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

// A neighbour on a shared link may know us already when we begin to hear it: it
// does not ask then, and waited for the periodic update.
func TestNeighbourThatDoesNotAskIsToldSoon(t *testing.T) {
	s := newScript(t, nil)
	s.e.Originate(s.now, prefixB, nowhere, 0)
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, Name: "if1", LinkLocal: self, Kind: Wired, MTU: 1420})
	s.pass(time.Second)
	p := &peer{s: s, index: 1, addr: netip.MustParseAddr("fe80::1:1")}
	p.greet()
	s.pass(time.Second)
	s.heard = nil
	p.greet() // two of three: it is a neighbour now
	s.pass(lazyMax)
	for _, u := range s.heard {
		if describe(u.tlv) == fmt.Sprintf("update %v id ff seqno 100 metric 0", prefixB) {
			return
		}
	}
	t.Errorf("not told within %v: %v", lazyMax, s.heard)
}

// babeld puts the change of a route into the packet whose Hello makes it
// reachable: it is asked for the others all the same.
func TestUpdateWithTheHelloDoesNotKeepUsFromAsking(t *testing.T) {
	s := newScript(t, nil)
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, Name: "if1", LinkLocal: self, Kind: Wired, MTU: 1420})
	p := &peer{s: s, index: 1, addr: netip.MustParseAddr("fe80::1:1")}
	p.greet()
	s.pass(time.Second)
	s.heard = nil
	p.seqno++
	p.say(
		&wire.Hello{Seqno: p.seqno, Interval: 400}, &wire.IHU{RxCost: 96, Interval: 60000, Address: self},
		&wire.Update{Prefix: prefixA, Interval: 6000, Seqno: 1, Metric: 96, RouterID: originA},
	)
	s.pass(urgentMax)
	for _, u := range s.heard {
		if r, ok := u.tlv.(*wire.RouteRequest); ok && !r.Prefix.IsValid() {
			return
		}
	}
	t.Errorf("not asked: %v", s.heard)
}

// BIRD answers a Hello with an IHU alone, and says the next with its third Hello.
func TestC037_IHUBeforeTheFirstHelloCounts(t *testing.T) {
	s := newScript(t, nil)
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, Name: "if1", LinkLocal: self, Kind: Wired, MTU: 1420})
	p := &peer{s: s, index: 1, addr: netip.MustParseAddr("fe80::1:1")}
	p.say(&wire.IHU{RxCost: 96, Interval: 300, Address: netip.MustParseAddr("fe80::7")})
	p.say(&wire.IHU{RxCost: 96, Interval: 300})
	if len(s.e.Snapshot(s.now).Neighbours) != 0 {
		t.Fatal("an IHU that does not name us made a neighbour")
	}
	p.say(&wire.IHU{RxCost: 96, Interval: 300, Address: self})
	for range 2 {
		p.seqno++
		p.say(&wire.Hello{Seqno: p.seqno, Interval: 100})
	}
	if all := s.e.Snapshot(s.now).Neighbours; len(all) != 1 || !all[0].Reachable {
		t.Errorf("after two Hellos: %+v, want it reachable", all)
	}
	// One that never says Hello is gone with its IHU.
	q := &peer{s: s, index: 1, addr: netip.MustParseAddr("fe80::1:2")}
	q.say(&wire.IHU{RxCost: 96, Interval: 300, Address: self})
	s.pass(11 * time.Second)
	for _, n := range s.e.Snapshot(s.now).Neighbours {
		if n.Address == q.addr {
			t.Errorf("without any Hello it is a neighbour still: %+v", n)
		}
	}
}

// Whether a neighbour acknowledges must be known before there is news for it: if
// it dies first, the probes that it does not answer are proof.
func TestNewNeighbourThatDiesBeforeAnyNews(t *testing.T) {
	for _, answers := range []bool{true, false} {
		s := newScript(t, nil)
		s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, Name: "if1", LinkLocal: self, Kind: Wired, MTU: 1420})
		p := &peer{s: s, index: 1, addr: netip.MustParseAddr("fe80::1:1")}
		p.greet()
		s.pass(time.Second)
		s.heard = nil
		p.greet()
		s.pass(urgentMax)
		asked := 0
		for _, u := range s.heard {
			if a, ok := u.tlv.(*wire.AckRequest); ok {
				asked++
				if answers {
					p.say(&wire.Ack{Opaque: a.Opaque})
				}
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times to acknowledge, want once", asked)
		}
		s.pass(6*time.Second + burstMax + 500*time.Millisecond)
		if reachable := s.e.Snapshot(s.now).Neighbours[0].Reachable; reachable == answers {
			t.Errorf("answers: %v; reachable after a missed Hello and silent probes: %v", answers, reachable)
		}
	}
}
