package babel

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"re6st/babel/wire"
)

// The numbers of docs/babel-conformance.md about seqno requests.

func TestC090_C091_SeqnoRequestForUs(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	s.e.Originate(s.now, prefixB, nowhere, 0)
	s.pass(time.Second)
	s.said()
	ask := func(seqno uint16) {
		a.say(&wire.SeqnoRequest{Prefix: prefixB, Seqno: seqno, HopCount: 9, RouterID: selfID})
	}
	ask(100)
	s.wantSaid("we have that", fmt.Sprintf("1 %v update %v id ff seqno 100 metric 0", a.addr, prefixB))
	ask(99)
	s.wantSaid("and what is older", fmt.Sprintf("1 %v update %v id ff seqno 100 metric 0", a.addr, prefixB))
	ask(150)
	s.wantSaid("by one, whatever was asked for", fmt.Sprintf("1 %v update %v id ff seqno 101 metric 0", a.addr, prefixB))
	s.pass(200 * time.Millisecond)
	ask(102)
	s.wantSaid("by one for each request", fmt.Sprintf("1 %v update %v id ff seqno 102 metric 0", a.addr, prefixB))
	s.pass(2 * time.Second)
	ask(150)
	s.wantSaid("again: they remember what we do not", fmt.Sprintf("1 %v update %v id ff seqno 150 metric 0", a.addr, prefixB))
	a.say(&wire.SeqnoRequest{Prefix: prefixB, Seqno: 3, HopCount: 9, RouterID: originA})
	s.wantSaid("another router-id", fmt.Sprintf("1 %v update %v id ff seqno 150 metric 0", a.addr, prefixB))
}

// However far ahead the request is: there is no gap above which it is dropped.
func TestC091_NoGapIsTooLarge(t *testing.T) {
	for _, ahead := range []uint16{1, 2, 99, 100, 101, 1000, 30000, 32767} {
		s := newScript(t, nil)
		a := s.link(1, Wired)
		s.e.Originate(s.now, prefixB, nowhere, 0)
		s.pass(time.Second)
		a.say(&wire.SeqnoRequest{Prefix: prefixB, Seqno: 100 + ahead, HopCount: 9, RouterID: selfID})
		s.pass(time.Second)
		if got := s.e.Snapshot(s.now).Seqno; got != 101 {
			t.Errorf("%d ahead: seqno %d, want 101", ahead, got)
		}
	}
}

// Our selected route satisfies the request: another router-id, or a seqno that is
// new enough. It is answered and goes no further, hop count or not.
func TestC090_AnsweredNotForwarded(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	b.announce(prefixA, originA, 5, 10)
	s.pass(time.Second)
	s.said()
	for _, v := range []struct {
		name  string
		id    RouterID
		seqno uint16
		hops  uint8
	}{
		{"the same seqno", originA, 5, 9}, {"an older one", originA, 4, 9}, {"another router-id", originB, 900, 9}, {"the last hop", originA, 5, 1},
	} {
		a.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: v.seqno, HopCount: v.hops, RouterID: v.id})
		s.wantSaid(v.name, fmt.Sprintf("1 %v update %v id a seqno 5 metric 106", a.addr, prefixA))
	}
	// Of what we do not know there is nothing to say.
	a.say(&wire.SeqnoRequest{Prefix: prefixB, Seqno: 1, HopCount: 9, RouterID: originA})
	s.wantSaid("unknown")
	// For our router-id, but not ours.
	a.say(&wire.SeqnoRequest{Prefix: prefixB, Seqno: 1, HopCount: 9, RouterID: selfID})
	s.wantSaid("not ours")
}

func TestC092_C093_C094_Forwarding(t *testing.T) {
	s := newScript(t, nil)
	a, b, c := s.link(1, Wired), s.link(2, Wired), s.link(3, Wired)
	b.announce(prefixA, originA, 5, 10)
	c.announce(prefixA, originA, 5, 20)
	s.pass(time.Second)
	s.said()
	ask := func(p *peer, seqno uint16, hops uint8) {
		p.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: seqno, HopCount: hops, RouterID: originA})
	}
	ask(a, 6, 1)
	s.wantSaid("hop count 1 goes no further")
	ask(a, 6, 2)
	s.wantSaid("hop count 2 goes one further", fmt.Sprintf("2 %v seqno request %v id a seqno 6 hops 1", b.addr, prefixA))
	ask(a, 6, 9)
	s.wantSaid("duplicates are suppressed")
	ask(b, 7, 9)
	s.wantSaid("newer, and not back to who asks", fmt.Sprintf("3 %v seqno request %v id a seqno 7 hops 8", c.addr, prefixA))
	b.announce(prefixA, originA, 7, 10)
	u := fmt.Sprintf("update %v id a seqno 7 metric 106", prefixA)
	s.wantSaid("the answer goes to both who asked", fmt.Sprintf("1 %v %s", a.addr, u), fmt.Sprintf("2 %v %s", b.addr, u))
	c.announce(prefixA, originA, 7, 20)
	ask(a, 9, 9)
	s.wantSaid("to the feasible next hop", fmt.Sprintf("2 %v seqno request %v id a seqno 9 hops 8", b.addr, prefixA))
	s.pass(2 * time.Second)
	ask(a, 9, 9)
	s.wantSaid("a retry is not suppressed", fmt.Sprintf("2 %v seqno request %v id a seqno 9 hops 8", b.addr, prefixA))
	s.pass(2 * time.Second)
	ask(a, 9, 9)
	s.wantSaid("the third one takes the next in line", fmt.Sprintf("3 %v seqno request %v id a seqno 9 hops 8", c.addr, prefixA))
}

// Suppression knows router-ids apart: a request for another one is another one.
func TestC093_SuppressionKnowsRouterIDs(t *testing.T) {
	s := newScript(t, nil)
	a, b, c := s.link(1, Wired), s.link(2, Wired), s.link(3, Wired)
	b.announce(prefixA, originA, 5, 10)
	c.announce(prefixA, originB, 5, 500)
	s.pass(time.Second)
	s.said()
	a.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: 6, HopCount: 9, RouterID: originA})
	s.wantSaid("one", fmt.Sprintf("2 %v seqno request %v id a seqno 6 hops 8", b.addr, prefixA))
	// The selected route turns to the other router-id: now a request for that one.
	b.retract(prefixA)
	s.wantRoute("the other origin", prefixA, c)
	s.pass(500 * time.Millisecond)
	s.said()
	a.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: 6, HopCount: 9, RouterID: originB})
	s.wantSaid("another", fmt.Sprintf("3 %v seqno request %v id b seqno 6 hops 8", c.addr, prefixA))
}

// Without a feasible route it goes to an unfeasible one; and if the only way is
// back, nowhere.
func TestC092_ForwardedToUnfeasible(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	s.distance(a, 5, 106)
	b.announce(prefixA, originA, 5, 300)
	s.pass(time.Second)
	a.retract(prefixA)
	s.pass(time.Second) // our own request has gone to b
	b.announce(prefixA, originA, 5, 301)
	s.pass(time.Second)
	s.said()
	a.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: 9, HopCount: 9, RouterID: originA})
	s.pass(100 * time.Millisecond)
	want := fmt.Sprintf("2 %v seqno request %v id a seqno 9 hops 8", b.addr, prefixA)
	if got := s.said(); !slices.Contains(got, want) {
		t.Errorf("said %v, want %s", got, want)
	}
	b.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: 12, HopCount: 9, RouterID: originA})
	s.pass(100 * time.Millisecond)
	for _, line := range s.said() {
		if line == fmt.Sprintf("2 %v seqno request %v id a seqno 12 hops 8", b.addr, prefixA) {
			t.Errorf("back to who asked: %s", line)
		}
	}
}

// Starving, all unfeasible next hops are asked, and again after 2, 4 and 8
// seconds, for one more than the distance's seqno, with a hop count for any mesh.
func TestC095_StarvingAsksAll(t *testing.T) {
	s := newScript(t, nil)
	a, b, c := s.link(1, Wired), s.link(2, Wired), s.link(3, Wired)
	s.distance(a, 65535, 106)
	b.announce(prefixA, originA, 65535, 200) // unfeasible: we said 106
	c.announce(prefixA, originA, 65535, 300)
	s.pass(time.Second)
	s.said()
	begin := s.now
	a.retract(prefixA)
	s.idle(20*time.Second, a, b, c)
	var at []string
	for _, u := range s.heard {
		if r, ok := u.tlv.(*wire.SeqnoRequest); ok {
			at = append(at, fmt.Sprintf("%d@%.0f", u.index, u.at.Sub(begin).Seconds()))
			if r.Seqno != 0 || r.HopCount < 16 || r.RouterID != originA {
				t.Errorf("asked for %+v", r)
			}
		}
	}
	want := []string{"2@0", "3@0", "2@14", "3@14", "2@2", "3@2", "2@6", "3@6"}
	slices.SortFunc(at, func(a, b string) int { return cmp.Or(cmp.Compare(a[1:], b[1:]), cmp.Compare(a, b)) })
	if fmt.Sprint(at) != fmt.Sprint(want) {
		t.Errorf("requests %v, want %v", at, want)
	}
	c.announce(prefixA, originA, 0, 300)
	s.wantRoute("the answer", prefixA, c)
}

// An unfeasible route that is much better is worth a request, one for however
// many Updates; one that is little better or worse is not.
func TestC096_BetterUnfeasibleRoutes(t *testing.T) {
	for _, v := range []struct {
		name    string
		metric  uint16
		updates int
		want    int // requests
	}{
		{"much better", 120, 1, 1}, {"much better, again and again", 120, 20, 1}, {"a little better", 190, 20, 0}, {"worse", 400, 20, 0},
	} {
		s := newScript(t, nil)
		a, b := s.link(1, Wired), s.link(2, Wired)
		s.distance(a, 1, 106)
		s.idle(5*time.Second, a, b)
		s.e.SetExtraCost(s.now, 1, 1000)
		s.e.SetExtraCost(s.now, 2, 0)
		// We are at 1106 by a; the distance is 106; b would make it metric + 96.
		b.announce(prefixA, originA, 1, v.metric+map[bool]uint16{true: 0, false: 800}[v.want == 1])
		s.pass(50 * time.Millisecond)
		for range v.updates - 1 {
			b.announce(prefixA, originA, 1, v.metric+map[bool]uint16{true: 0, false: 800}[v.want == 1])
			s.pass(50 * time.Millisecond)
		}
		got := 0
		for _, u := range s.heard {
			if r, ok := u.tlv.(*wire.SeqnoRequest); ok {
				got++
				if u.dst != b.addr || r.Seqno != 2 || r.RouterID != originA {
					t.Errorf("%s: to %v: %+v", v.name, u.dst, r)
				}
			}
		}
		if got != v.want {
			t.Errorf("%s: %d requests, want %d", v.name, got, v.want)
		}
		s.wantRoute("meanwhile", prefixA, a)
	}
}

// Erratum 7373: also when nothing is selected.
func TestC096_UnfeasibleWhereNothingIsSelected(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	s.distance(a, 1, 106)
	a.retract(prefixA)
	s.idle(10*time.Second, a, b)
	s.said()
	b.announce(prefixA, originA, 1, 500)
	s.wantSaid("unfeasible, and nothing else", fmt.Sprintf("2 %v seqno request %v id a seqno 2 hops 64", b.addr, prefixA))
}

// After any single failure, without loss: every pair that is connected reaches
// each other soon, and few requests come to an origin.
func TestC099_SingleFailure(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel} {
		for seed := range *seeds {
			w := newWorld(t, seed)
			randomMesh(w, 10, 8, always(kind))
			w.run(2 * time.Minute)
			before := map[*node]uint16{}
			for _, n := range w.nodes {
				before[n] = n.engine.Snapshot(w.now).Seqno
			}
			// Carrier loss at both ends: only what Babel does then is measured.
			w.remove(w.cables[w.rand.IntN(len(w.cables))])
			took := w.await("every starved prefix is back", 2*time.Second, w.allReach)
			w.run(30 * time.Second)
			if !w.allReach() {
				t.Errorf("%v, seed %d: lost again", kind, seed)
			}
			for _, n := range w.nodes {
				if grown := n.engine.Snapshot(w.now).Seqno - before[n]; grown > 4 {
					t.Errorf("%v, seed %d: %d seqnos at node %d", kind, seed, grown, n.index)
				}
			}
			if seed == 0 {
				t.Log(kind, "healed after", took)
			}
		}
	}
}
