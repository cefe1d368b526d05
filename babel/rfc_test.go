package babel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/babel/wire"
)

func TestC058_SeqnoOrder(t *testing.T) {
	for _, v := range []struct {
		a, b uint16
		want bool
	}{{1, 0, true}, {0, 1, false}, {5, 5, false}, {0, 65535, true}, {32767, 0, true}, {32769, 0, false}} {
		if got := isNewer(v.a, v.b); got != v.want {
			t.Errorf("%d newer than %d: %v", v.a, v.b, got)
		}
	}
}

func (s *script) wantUnreachableOrNone(why string, prefix netip.Prefix) {
	s.Helper()
	if r, ok := s.fib[keyOf(prefix, nowhere)]; ok && !r.Unreachable {
		s.Errorf("%s: route %+v", why, r)
	}
}

// RFC 9079: a source prefix makes another route, and one does not hide the other.
func TestC115_C121_SeparateKeys(t *testing.T) {
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
	found := slices.ContainsFunc(s.heard, func(u utterance) bool {
		r, ok := u.tlv.(*wire.RouteRequest)
		return ok && !r.Prefix.IsValid() && u.dst == a.addr
	})
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

func TestC126_RouteFailed(t *testing.T) {
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
