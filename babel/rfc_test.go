package babel

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/babel/wire"
)

func TestSection3_2_1_SeqnoOrder(t *testing.T) {
	for _, v := range []struct {
		a, b uint16
		want bool
	}{{1, 0, true}, {0, 1, false}, {5, 5, false}, {0, 65535, true}, {32767, 0, true}, {32769, 0, false}} {
		if got := isNewer(v.a, v.b); got != v.want {
			t.Errorf("%d newer than %d: %v", v.a, v.b, got)
		}
	}
}

// Section 3.8.2.1: starving, all unfeasible next hops are asked, and again after
// 2, 4 and 8 seconds.
func TestSection3_8_2_1_StarvingAsksAll(t *testing.T) {
	s := newScript(t, nil)
	a, b, c := s.link(1, Wired), s.link(2, Wired), s.link(3, Wired)
	a.announce(prefixA, originA, 1, 10)
	s.pass(time.Second)
	b.announce(prefixA, originA, 1, 200) // unfeasible: we said 106
	c.announce(prefixA, originA, 1, 300)
	s.pass(time.Second)
	s.said()
	begin := s.now
	a.say(&wire.Update{Prefix: prefixA, Interval: 6000, Metric: Infinity})
	s.idle(20*time.Second, a, b, c)
	var at []string
	for _, u := range s.heard {
		if _, ok := u.tlv.(*wire.SeqnoRequest); ok {
			at = append(at, fmt.Sprintf("%d@%.0f", u.index, u.at.Sub(begin).Seconds()))
		}
	}
	want := []string{"2@0", "3@0", "2@14", "3@14", "2@2", "3@2", "2@6", "3@6"}
	slices.SortFunc(at, func(a, b string) int { return cmp.Or(cmp.Compare(a[1:], b[1:]), cmp.Compare(a, b)) })
	if fmt.Sprint(at) != fmt.Sprint(want) {
		t.Errorf("requests %v, want %v", at, want)
	}
	c.announce(prefixA, originA, 2, 300)
	s.wantRoute("the answer", prefixA, c)
}

func TestSection3_8_1_2_SeqnoRequestForUs(t *testing.T) {
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

func TestSection3_8_1_2_Forwarding(t *testing.T) {
	s := newScript(t, nil)
	a, b, c := s.link(1, Wired), s.link(2, Wired), s.link(3, Wired)
	b.announce(prefixA, originA, 5, 10)
	c.announce(prefixA, originA, 5, 20)
	s.pass(time.Second)
	s.said()
	ask := func(p *peer, seqno uint16, hops uint8) {
		p.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: seqno, HopCount: hops, RouterID: originA})
	}
	ask(a, 5, 9)
	s.wantSaid("we can answer", fmt.Sprintf("1 %v update %v id a seqno 5 metric 106", a.addr, prefixA))
	ask(a, 6, 1)
	s.wantSaid("hop count 1 goes no further")
	ask(a, 6, 9)
	s.wantSaid("to the feasible next hop", fmt.Sprintf("2 %v seqno request %v id a seqno 6 hops 8", b.addr, prefixA))
	ask(a, 6, 9)
	s.wantSaid("duplicates are suppressed")
	ask(b, 7, 9)
	s.wantSaid("not back to who asks", fmt.Sprintf("3 %v seqno request %v id a seqno 7 hops 8", c.addr, prefixA))
	b.announce(prefixA, originA, 7, 10)
	u := fmt.Sprintf("update %v id a seqno 7 metric 106", prefixA)
	s.wantSaid("the answer goes to both who asked", fmt.Sprintf("1 %v %s", a.addr, u), fmt.Sprintf("2 %v %s", b.addr, u))
	c.announce(prefixA, originA, 7, 20)
	ask(a, 9, 9)
	s.pass(2 * time.Second)
	s.said()
	ask(a, 9, 9)
	s.pass(2 * time.Second)
	s.said()
	ask(a, 9, 9)
	s.wantSaid("the third one takes the next in line", fmt.Sprintf("3 %v seqno request %v id a seqno 9 hops 8", c.addr, prefixA))
}

func TestSection3_8_1_1_RouteRequests(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	s.e.Originate(s.now, prefixB, nowhere, 0)
	a.announce(prefixA, originA, 5, 10)
	s.pass(3 * time.Second)
	s.said()
	a.say(&wire.RouteRequest{Prefix: prefixB})
	s.wantSaid("ours", fmt.Sprintf("1 %v update %v id ff seqno 100 metric 0", a.addr, prefixB))
	a.say(&wire.RouteRequest{Prefix: prefixA})
	s.wantSaid("its own, that split horizon hides", fmt.Sprintf("1 %v update %v id a seqno 5 metric 106", a.addr, prefixA))
	a.say(&wire.RouteRequest{Prefix: prefixA, From: prefixB})
	s.wantSaid("unknown", fmt.Sprintf("1 %v retract %v from %v", a.addr, prefixA, prefixB))
	a.say(&wire.RouteRequest{})
	s.wantSaid("all, but nothing back", fmt.Sprintf("1 * update %v id ff seqno 100 metric 0", prefixB))
}

// Split horizon on a tunnel: what came from there is not said there. But a
// retraction is, or the neighbour falls back on us.
func TestSection3_7_4_SplitHorizonNeverSwallowsARetraction(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	a.announce(prefixA, originA, 1, 10)
	s.wantSaid("new: to the others", fmt.Sprintf("2 * update %v id a seqno 1 metric 106", prefixA))
	b.announce(prefixA, originA, 1, 5)
	s.idle(20*time.Second, a, b) // hysteresis
	s.wantRoute("the better way", prefixA, b)
	s.said()
	b.say(&wire.Update{Prefix: prefixA, Interval: 6000, Metric: Infinity})
	s.idle(20*time.Second, a, b)
	s.wantRoute("back", prefixA, a)
	s.said()
	a.say(&wire.Update{Prefix: prefixA, Interval: 6000, Metric: Infinity})
	s.wantSaid("lost: everywhere", fmt.Sprintf("1 * retract %v", prefixA), fmt.Sprintf("2 * retract %v", prefixA))
}

func TestSection3_7_4_ChangedHorizon(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	a.announce(prefixA, originA, 1, 300)
	s.idle(4*time.Second, a, b)
	s.said()
	b.announce(prefixA, originA, 1, 5)
	s.idle(20*time.Second, a, b)
	s.wantRoute("the better way", prefixA, b)
	got := s.said()
	want := []string{
		fmt.Sprintf("1 * update %v id a seqno 1 metric 101", prefixA),
		fmt.Sprintf("2 * retract %v", prefixA), // what it heard from us is void
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("said %v, want %v", got, want)
	}
}

// Section 2.8: what is lost is unreachable until the neighbours know.
func TestSection2_8_HoldEndsWithAcknowledgments(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	a.announce(prefixA, originA, 1, 10)
	s.pass(time.Second)
	b.mute = true
	a.say(&wire.Update{Prefix: prefixA, Interval: 6000, Metric: Infinity})
	s.idle(4*time.Second, a, b)
	s.wantUnreachable("b has not acknowledged", prefixA)
	b.mute = false
	s.idle(8*time.Second, a, b)
	s.wantRoute("all have", prefixA, nil)
}

func TestSection2_8_HoldEndsByTime(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	a.mute, b.mute = true, true
	s.e.Originate(s.now, prefixA, nowhere, 0)
	s.pass(time.Second)
	s.e.Withdraw(s.now, prefixA, nowhere)
	s.drain()
	s.wantUnreachable("withdrawn", prefixA)
	s.idle(54*time.Second, a, b)
	s.wantUnreachable("before 3.5 intervals", prefixA)
	s.idle(4*time.Second, a, b)
	s.wantRoute("after", prefixA, nil)
	s.e.Originate(s.now, prefixA, nowhere, 0)
	s.e.Withdraw(s.now, prefixA, nowhere)
	a.announce(prefixA, originA, 1, 1)
	s.wantRoute("a finite route ends it", prefixA, a)
}

func (s *script) wantUnreachableOrNone(why string, prefix netip.Prefix) {
	s.Helper()
	if r, ok := s.fib[keyOf(prefix, nowhere)]; ok && !r.Unreachable {
		s.Errorf("%s: route %+v", why, r)
	}
}

func TestSection3_7_2_SmallChangesAreNoNews(t *testing.T) {
	s := newScript(t, nil)
	a, _ := s.link(1, Tunnel), s.link(2, Tunnel)
	a.announce(prefixA, originA, 1, 100)
	s.pass(10 * time.Second)
	a.greet()
	s.said()
	a.announce(prefixA, originA, 1, 90)
	s.pass(3 * time.Second)
	s.wantSaid("10 less")
	a.greet()
	a.announce(prefixA, originA, 1, 40)
	s.pass(600 * time.Millisecond)
	s.wantSaid("60 less", fmt.Sprintf("2 * update %v id a seqno 1 metric 136", prefixA))
	a.announce(prefixA, originA, 1, 10)
	s.pass(3 * time.Second)
	s.wantSaid("one in 5 s at most")
	a.greet()
	s.pass(3 * time.Second)
	s.wantSaid("then", fmt.Sprintf("2 * update %v id a seqno 1 metric 106", prefixA))
	a.announce(prefixA, originA, 2, 10)
	s.pass(6 * time.Second)
	s.wantSaid("a seqno that nobody asked for")
}

// RFC 9079: a source prefix makes another route, and one does not hide the other.
func TestRFC9079_SeparateKeys(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	every := netip.MustParsePrefix("::/0")
	a.announce(every, originA, 1, 10)
	b.say(&wire.Update{Prefix: every, From: prefixB, Interval: 6000, Seqno: 1, Metric: 10, RouterID: originB})
	want := Route{Prefix: every, From: prefixB, NextHop: b.addr, Interface: 2}
	if got := s.fib[keyOf(every, prefixB)]; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	s.wantRoute("from anywhere", every, a)
	a.say(&wire.Update{Prefix: every, Interval: 6000, Metric: Infinity})
	s.wantUnreachable("from anywhere", every)
	if got := s.fib[keyOf(every, prefixB)]; got != want {
		t.Errorf("the hold of one changed the other: %+v", got)
	}
	s.e.Originate(s.now, every, netip.MustParsePrefix("::/0"), 0)
	if s.e.find(keyOf(every, nowhere)).own() == nil {
		t.Error("from ::/0 is from anywhere")
	}
}

func TestImportFilter(t *testing.T) {
	verdicts := map[RouterID]Verdict{originA: Accept, originB: Hold}
	s := newScript(t, func(c *Config) {
		c.Import = func(u Update) Verdict {
			if v, ok := verdicts[u.RouterID]; ok {
				return v
			}
			return Refuse
		}
	})
	a, b := s.link(1, Wired), s.link(2, Wired)
	a.announce(prefixA, originA, 1, 10)
	b.announce(prefixA, originB, 1, 1)
	a.announce(prefixB, RouterID{7: 0xc}, 1, 10)
	s.wantRoute("admitted", prefixA, a)
	s.wantRoute("refused", prefixB, nil)
	s.pass(time.Second)
	s.said()

	verdicts[originB] = Accept
	s.e.FilterChanged(s.now)
	s.drain()
	s.idle(20*time.Second, a, b)
	s.wantRoute("held until now", prefixA, b)

	verdicts[originA], verdicts[originB] = Refuse, Refuse
	s.e.FilterChanged(s.now)
	s.drain()
	s.wantUnreachable("revoked", prefixA)
	s.said()
	verdicts[RouterID{7: 0xc}] = Accept
	s.e.FilterChanged(s.now)
	s.pass(50 * time.Millisecond)
	s.drain()
	found := false
	for _, line := range s.said() {
		found = found || line == fmt.Sprintf("1 %v route request invalid Prefix", a.addr)
	}
	if !found {
		t.Error("the neighbour whose Updates were refused is not asked again")
	}
}

// Issue 3: a node prefix is refused unless its router-id is the one derived from
// it. The engine knows nothing of that; its filter does.
func TestImportFilter_NodePrefixAndRouterID(t *testing.T) {
	s := newScript(t, func(c *Config) {
		c.Import = func(u Update) Verdict {
			first := u.Prefix.Addr().As16()
			if u.Prefix.Bits() == 64 && u.RouterID != RouterID(first[:8]) {
				return Refuse
			}
			return Accept
		}
	})
	a := s.link(1, Wired)
	a.announce(prefixA, originA, 1, 0)
	s.wantRoute("another's router-id", prefixA, nil)
	first := prefixA.Addr().As16()
	a.announce(prefixA, RouterID(first[:8]), 1, 100)
	s.wantRoute("its own", prefixA, a)
	a.announce(prefixA, originA, 2, 0)
	s.wantUnreachable("the neighbour says no other", prefixA)
}

func TestRouteFailed(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	a.announce(prefixA, originA, 1, 10)
	b.announce(prefixA, originA, 1, 20)
	s.wantRoute("installed", prefixA, a)
	s.e.RouteFailed(s.now, Route{Prefix: prefixA, NextHop: a.addr, Interface: 1}, errors.New("no buffer"))
	s.drain()
	s.wantRoute("the next best", prefixA, b)
	s.e.RouteFailed(s.now, Route{Prefix: prefixA, NextHop: b.addr, Interface: 2}, errors.New("no buffer"))
	s.drain()
	s.wantUnreachable("none is left", prefixA)
	// Even that is refused: not tried without end.
	for range 3 {
		s.e.RouteFailed(s.now, Route{Prefix: prefixA, Unreachable: true}, errors.New("no buffer"))
		if out := s.e.Output(); len(out.Routes) > 0 {
			t.Errorf("at once again: %v", out.Routes)
		}
	}
	s.idle(time.Minute, a, b)
	s.wantRoute("later", prefixA, a)
}

func TestSetExtraCost(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	a.announce(prefixA, originA, 1, 10)
	b.announce(prefixA, originA, 1, 50)
	s.e.SetExtraCost(s.now, 1, 8000)
	s.idle(20*time.Second, a, b)
	s.wantRoute("drained", prefixA, b)
	s.e.SetExtraCost(s.now, 1, 0)
	s.idle(60*time.Second, a, b)
	s.wantRoute("and back", prefixA, a)
	s.e.SetExtraCost(s.now, 1, 65535)
	s.e.SetExtraCost(s.now, 2, 65535)
	s.drain()
	s.wantUnreachable("what does not fit is infinite, and does not wrap", prefixA)
}

func TestStop_RetractsAndUninstalls(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.announce(prefixA, originA, 1, 10)
	s.pass(time.Second)
	s.said()
	s.e.Stop(s.now)
	s.drain()
	if got := s.said(); fmt.Sprint(got) != "[1 * retract invalid Prefix]" {
		t.Errorf("said %v", got)
	}
	if len(s.fib) != 0 {
		t.Errorf("left: %v", s.fib)
	}
	s.e.Originate(s.now, prefixB, nowhere, 0)
	s.e.Advance(s.now.Add(time.Hour))
	if out := s.e.Output(); len(out.Packets)+len(out.Routes) > 0 || !s.e.Deadline().IsZero() {
		t.Error("it speaks after its end")
	}
}

func TestRoutesMax(t *testing.T) {
	s := newScript(t, func(c *Config) { c.RoutesMax = 10 })
	a := s.link(1, Wired)
	for i := range 100 {
		a.announce(nodePrefix(i), originA, 1, 10)
	}
	if got := len(s.fib); got != 10 {
		t.Errorf("%d routes, want 10", got)
	}
}

func TestDestinations_Alternative(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	a.announce(prefixA, originA, 1, 10)
	b.announce(prefixA, originA, 1, 50)
	a.announce(prefixB, originB, 1, 10)
	got := s.e.Destinations()
	want := []Destination{
		{prefixA, nowhere, originA, 106, a.addr, 1, 146},
		{prefixB, nowhere, originB, 106, a.addr, 1, Infinity},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}
