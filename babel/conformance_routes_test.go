package babel

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/babel/wire"
)

// The numbers of docs/babel-conformance.md about feasibility, the source table,
// route acquisition and selection.

// distance makes a feasibility distance: what we advertise of a's route.
func (s *script) distance(a *peer, seqno, metric uint16) {
	s.Helper()
	a.announce(prefixA, originA, seqno, metric-96)
	s.pass(time.Second)
	if x, ok := s.source(prefixA, nowhere, originA); !ok || x.Seqno != seqno || x.Metric != metric {
		s.Fatalf("the source table has %+v (%v), want seqno %d metric %d", x, ok, seqno, metric)
	}
}

func TestC056_Feasibility(t *testing.T) {
	for _, v := range []struct {
		name          string
		id            RouterID
		seqno, metric uint16
		want          bool
	}{
		{"smaller metric", originA, 10, 105, true},
		{"equal metric", originA, 10, 106, false},
		{"larger metric", originA, 10, 107, false},
		{"newer seqno, larger metric", originA, 11, 1000, true},
		{"older seqno, smaller metric", originA, 9, 1, false},
		{"seqno half the space ahead", originA, 10 + 32767, 1000, true},
		{"seqno half the space and one ahead", originA, 10 + 32769, 1, false},
		{"no such source", originB, 0, 1000, true},
		{"retraction", originA, 1, Infinity, true},
	} {
		s := newScript(t, nil)
		a, b := s.link(1, Wired), s.link(2, Wired)
		s.distance(a, 10, 106)
		if v.metric == Infinity {
			b.announce(prefixA, originB, 1, 500)
		}
		b.say(&wire.Update{Prefix: prefixA, Interval: 6000, Seqno: v.seqno, Metric: v.metric, RouterID: v.id})
		r, ok := s.route(prefixA, b)
		if !ok || r.Feasible != v.want {
			t.Errorf("%s: feasible %v (%v)", v.name, r.Feasible, ok)
		}
		// Whatever links cost: what counts is what the neighbour said.
		for _, cost := range []uint16{5000, 0} {
			s.e.SetExtraCost(s.now, 1, cost)
			s.e.SetExtraCost(s.now, 2, 5000-cost)
			if after, _ := s.route(prefixA, b); after.Feasible != r.Feasible {
				t.Errorf("%s: a link's cost has made it feasible %v", v.name, after.Feasible)
			}
		}
		// With the other one gone it is selected, or not, for that reason alone.
		s.e.SetExtraCost(s.now, 2, 0)
		a.retract(prefixA)
		if r, _ := s.route(prefixA, b); r.Selected != (v.want && v.metric != Infinity) {
			t.Errorf("%s: selected %v", v.name, r.Selected)
		}
	}
}

// Each finite Update is in the source table before it leaves: script.audit looks
// at every one. Here are all the occasions.
func TestC057_SourceBeforeEveryUpdate(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	source := func() SourceState { x, _ := s.source(prefixA, nowhere, originA); return x }
	a.announce(prefixA, originA, 10, 104)
	if x, ok := s.source(prefixA, nowhere, originA); ok {
		t.Errorf("nothing was sent: %+v", x)
	}
	s.wantSaid("triggered, by multicast", "1 * update 2001:db8:42:a::/64 id a seqno 10 metric 200", "2 * update 2001:db8:42:a::/64 id a seqno 10 metric 200")
	if x := source(); x.Seqno != 10 || x.Metric != 200 {
		t.Errorf("triggered: %+v", x)
	}
	s.idle(8*time.Second, a, b)
	s.said()
	// The metric gets better by too little for a triggered update; but b asks.
	a.announce(prefixA, originA, 10, 100)
	if x := source(); x.Metric != 200 {
		t.Errorf("not sent yet: %+v", x)
	}
	b.say(&wire.RouteRequest{Prefix: prefixA})
	s.wantSaid("by unicast", fmt.Sprintf("2 %v update %v id a seqno 10 metric 196", b.addr, prefixA))
	if x := source(); x.Metric != 196 {
		t.Errorf("after a unicast reply: %+v", x)
	}
	// A forwarded request, and its answer.
	b.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: 11, HopCount: 9, RouterID: originA})
	s.wantSaid("forwarded", fmt.Sprintf("1 %v seqno request %v id a seqno 11 hops 8", a.addr, prefixA))
	a.announce(prefixA, originA, 11, 102)
	s.wantSaid("its answer", fmt.Sprintf("2 %v update %v id a seqno 11 metric 198", b.addr, prefixA))
	if x := source(); x.Seqno != 11 || x.Metric != 198 {
		t.Errorf("after the answer to a forwarded request: %+v", x)
	}
	// A dump.
	a.announce(prefixA, originA, 11, 95)
	b.say(&wire.RouteRequest{})
	s.pass(2 * time.Second)
	if x := source(); x.Metric != 191 {
		t.Errorf("after a dump: %+v", x)
	}
	// A retraction changes nothing, not even the time.
	before := source()
	s.pass(10 * time.Second)
	a.retract(prefixA)
	s.pass(10 * time.Second)
	b.say(&wire.RouteRequest{Prefix: prefixA})
	s.pass(time.Second)
	if x := source(); x != before {
		t.Errorf("a retraction made %+v of %+v", x, before)
	}
}

func TestC058_SourceTable(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	asked := s.link(2, Wired)
	for _, v := range []struct {
		why                     string
		seqno, metric           uint16 // a says
		wantSeqno, wantDistance uint16
	}{
		{"new", 10, 104, 10, 200},
		{"less", 10, 54, 10, 150},
		{"newer, and more", 11, 404, 11, 500},
		{"less", 11, 304, 11, 400},
		{"over the end", 32000, 4, 32000, 100},
		{"over the end", 64000, 104, 64000, 200},
		{"over the end", 3, 104, 3, 200},
	} {
		s.idle(6*time.Second, a, asked)
		a.announce(prefixA, originA, v.seqno, v.metric)
		asked.say(&wire.RouteRequest{Prefix: prefixA})
		s.pass(time.Second)
		if x, _ := s.source(prefixA, nowhere, originA); x.Seqno != v.wantSeqno || x.Metric != v.wantDistance {
			t.Errorf("%s: %+v, want seqno %d metric %d", v.why, x, v.wantSeqno, v.wantDistance)
		}
	}
	// The same again with a larger metric (the link's cost): the distance stays,
	// and its time begins anew.
	before, _ := s.source(prefixA, nowhere, originA)
	s.pass(5 * time.Second)
	a.greet()
	s.e.SetExtraCost(s.now, 1, 300)
	s.said()
	asked.say(&wire.RouteRequest{Prefix: prefixA})
	s.pass(100 * time.Millisecond)
	want := fmt.Sprintf("2 %v update %v id a seqno 3 metric 500", asked.addr, prefixA)
	if got := s.said(); !slices.Contains(got, want) {
		t.Errorf("said %v, want %s", got, want)
	}
	after, _ := s.source(prefixA, nowhere, originA)
	if after.Metric != before.Metric || after.Seqno != before.Seqno || after.Expires.Sub(before.Expires) < 5*time.Second {
		t.Errorf("%+v became %+v", before, after)
	}
	if got := after.Expires.Sub(s.now); got > 3*time.Minute || got < 179*time.Second {
		t.Errorf("kept for %v, want 3 minutes", got)
	}
}

// The distance is forgotten after three minutes in which it was not advertised,
// and not before; then the next Update is feasible.
func TestC059_SourcesAreCollected(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.announce(prefixA, originA, 9, 10)
	s.idle(60*time.Second, a)
	a.retract(prefixA)
	s.pass(100 * time.Millisecond)
	x, _ := s.source(prefixA, nowhere, originA)
	if left := x.Expires.Sub(s.now); left < 160*time.Second || left > 180*time.Second {
		t.Errorf("expires in %v, want three minutes after the last periodic Update", left)
	}
	s.idle(x.Expires.Sub(s.now)-time.Second, a)
	a.announce(prefixA, originA, 3, 10)
	s.wantUnreachableOrNone("an old seqno is unfeasible", prefixA)
	a.retract(prefixA)
	s.idle(2*time.Second, a)
	if x, ok := s.source(prefixA, nowhere, originA); ok {
		t.Errorf("kept: %+v", x)
	}
	a.announce(prefixA, originA, 3, 10)
	s.wantRoute("forgotten: feasible", prefixA, a)
}

// With Update intervals of 300 s neighbours remember for 1,050 s; so must we.
func TestC059_SourcesOutliveRoutesOnTunnels(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	a.announce(prefixA, originA, 9, 10)
	s.idle(10*time.Second, a, b)
	x, _ := s.source(prefixA, nowhere, originA)
	if left := x.Expires.Sub(s.now); left < 1180*time.Second || left > 1200*time.Second {
		t.Errorf("kept for %v, want four times 300 s", left)
	}
}

// Our own router-id from another: no route, by whatever neighbour; and our own
// routes need no source.
func TestC060_OwnRouterIDIsNoRoute(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	s.e.Originate(s.now, prefixA, nowhere, 0)
	s.pass(time.Second)
	if n := len(s.e.Snapshot(s.now).Sources); n != 0 {
		t.Errorf("%d sources for what is ours", n)
	}
	for _, seqno := range []uint16{90, 100, 101} {
		a.announce(prefixA, selfID, seqno, 10)
		a.announce(prefixB, selfID, seqno, 10)
		s.idle(2*time.Second, a, b)
	}
	if got := len(s.e.Snapshot(s.now).Routes); got != 1 || len(s.fib) != 0 {
		t.Errorf("%d routes, table %v", got, s.fib)
	}
	// A route that turns out to be our own is none any more.
	b.announce(prefixB, originB, 1, 10)
	s.wantRoute("another's", prefixB, b)
	b.announce(prefixB, selfID, 1, 10)
	s.wantUnreachable("ours", prefixB)
}

// Metrics grow with every hop and saturate; nothing wraps.
func TestC061_Metrics(t *testing.T) {
	for _, v := range []struct {
		received, extra uint16
		want            uint16
	}{
		{0, 0, 96},
		{1, 0, 97},
		{65438, 0, 65534},
		{65439, 0, Infinity},
		{65534, 0, Infinity},
		{0, 65534 - 96, 65534},
		{1, 65534 - 96, Infinity},
		{0, 65535, 65534},
		{1, 65535, Infinity},
		{65000, 65535, Infinity},
	} {
		s := newScript(t, nil)
		a := s.link(1, Wired)
		s.e.SetExtraCost(s.now, 1, v.extra)
		a.announce(prefixA, originA, 1, v.received)
		if r, _ := s.route(prefixA, a); r.Metric != v.want || r.Selected != (v.want != Infinity) {
			t.Errorf("%d and extra cost %d: metric %d, selected %v; want %d", v.received, v.extra, r.Metric, r.Selected, v.want)
		}
	}
	// Left-distributive: of two metrics the smaller one stays the smaller one
	// (or both are infinite), whatever the link.
	for _, extra := range []uint16{0, 1, 100, 30000, 65000} {
		s := newScript(t, nil)
		a := s.link(1, Wired)
		s.e.SetExtraCost(s.now, 1, extra)
		last := uint16(0)
		for m := 0; m < Infinity; m += 257 {
			a.announce(prefixA, originA, uint16(m/257), uint16(m))
			r, _ := s.route(prefixA, a)
			if r.Metric <= uint16(m) || r.Metric < last {
				t.Fatalf("extra cost %d, metric %d: %d, after %d", extra, m, r.Metric, last)
			}
			last = r.Metric
		}
	}
}

// A dozen hops at the greatest cost of a tunnel, a drain and a penalty stay below
// infinity.
func TestC061_MetricBudget(t *testing.T) {
	metric := 12*costTunnelMax + 8000 + 16000
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	a.announce(prefixA, originA, 1, uint16(metric))
	s.wantRoute("the worst path", prefixA, a)
}

func TestC063_OneRouteForEachNeighbour(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	c := s.peer(1)
	for i, p := range []*peer{a, b, c} {
		p.announce(prefixA, originA, 1, uint16(10+i))
		p.announce(prefixA, originB, 7, uint16(20+i)) // in its place
	}
	if all := s.e.Snapshot(s.now).Routes; len(all) != 3 {
		t.Errorf("%d routes: %+v", len(all), all)
	}
	for i, p := range []*peer{a, b, c} {
		r, _ := s.route(prefixA, p)
		if r.RouterID != originB || r.Seqno != 7 || r.Received != uint16(20+i) {
			t.Errorf("%+v", r)
		}
	}
	// The same prefix from a source is another route.
	a.say(&wire.Update{Prefix: prefixA, From: prefixB, Interval: 6000, Seqno: 1, Metric: 10, RouterID: originA})
	if all := s.e.Snapshot(s.now).Routes; len(all) != 4 {
		t.Errorf("%d routes, want 4", len(all))
	}
}

// What is unfeasible is kept: it is what is asked for when the rest is lost.
func TestC064_UnfeasibleRoutesAreKept(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	s.distance(a, 1, 106)
	b.announce(prefixA, originA, 1, 500)
	s.pass(time.Second)
	if r, ok := s.route(prefixA, b); !ok || r.Feasible || r.Selected {
		t.Errorf("%+v (%v)", r, ok)
	}
	s.said()
	a.retract(prefixA)
	s.pass(100 * time.Millisecond)
	want := fmt.Sprintf("2 %v seqno request %v id a seqno 2 hops 64", b.addr, prefixA)
	if got := s.said(); !slices.Contains(got, want) {
		t.Errorf("said %v, want %s", got, want)
	}
	b.announce(prefixA, originA, 2, 500)
	s.wantRoute("the answer", prefixA, b)
}

// An unfeasible Update of the selected route is ignored, timer and all; its
// sender is asked for a newer seqno, once for nine equal Updates.
func TestC065_C096_UnfeasibleUpdateOfTheSelectedRoute(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.announce(prefixA, originA, 1, 10)
	s.pass(time.Second)
	before, _ := s.route(prefixA, a)
	s.said()
	for range 9 {
		a.announce(prefixA, originA, 1, 500)
		s.pass(200 * time.Millisecond)
	}
	requests := 0
	for _, u := range s.heard {
		if _, ok := u.tlv.(*wire.SeqnoRequest); ok {
			requests++
		}
	}
	if requests != 1 {
		t.Errorf("%d requests, want 1", requests)
	}
	s.wantSaid("the request", fmt.Sprintf("1 %v seqno request %v id a seqno 2 hops 64", a.addr, prefixA))
	s.wantRoute("meanwhile", prefixA, a)
	if after, _ := s.route(prefixA, a); after.Expires != before.Expires || after.Metric != before.Metric || !after.Selected {
		t.Errorf("%+v became %+v: not wholly ignored", before, after)
	}
	a.announce(prefixA, originA, 2, 500)
	s.pass(time.Second)
	s.wantRoute("after the answer", prefixA, a)
	if r, _ := s.route(prefixA, a); r.Metric != 596 {
		t.Errorf("metric %d, want 596", r.Metric)
	}
}

// ... and if no seqno comes, it is believed: the route is unselected.
func TestC065_IgnoredUpdateIsBelievedAtLast(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.mute = true
	a.announce(prefixA, originA, 1, 10)
	s.idle(time.Second, a)
	a.announce(prefixA, originA, 1, 500)
	s.idle(32*time.Second, a)
	s.wantUnreachable("nobody answered", prefixA)
	if r, _ := s.route(prefixA, a); r.Received != 500 || r.Selected {
		t.Errorf("%+v", r)
	}
	// Where there is another feasible route, it is believed at once.
	s = newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	s.distance(a, 1, 106)
	s.e.SetExtraCost(s.now, 2, 100)
	b.announce(prefixA, originA, 1, 50)
	s.pass(time.Second)
	a.announce(prefixA, originA, 1, 500)
	s.wantRoute("the other one", prefixA, b)
	if r, _ := s.route(prefixA, a); r.Received != 500 || r.Selected {
		t.Errorf("%+v", r)
	}
}

// Another router-id: accepted at once; if it is unfeasible, unselected; and told
// urgently in either case.
func TestC066_C081_RouterIDChanges(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	a.announce(prefixA, originA, 1, 10)
	s.pass(time.Second)
	s.said()
	a.announce(prefixA, originB, 7, 10)
	u := fmt.Sprintf("update %v id b seqno 7 metric 106", prefixA)
	s.wantSaid("feasible", "1 * "+u, "2 * "+u)
	s.idle(4*time.Second, a, b)
	s.said()
	a.announce(prefixA, originA, 1, 400) // we said 106 of it
	s.wantUnreachable("unfeasible", prefixA)
	s.wantSaid("unfeasible: retracted, and a newer seqno asked for",
		fmt.Sprintf("1 * retract %v", prefixA), fmt.Sprintf("2 * retract %v", prefixA),
		fmt.Sprintf("1 %v seqno request %v id a seqno 2 hops 64", a.addr, prefixA))
	if r, _ := s.route(prefixA, a); r.RouterID != originA || r.Received != 400 || r.Feasible {
		t.Errorf("%+v", r)
	}
}

// Every finite Update that is accepted begins the expiry anew, feasible or not.
func TestC067_ExpiryIsReset(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	s.distance(a, 1, 106)
	for _, v := range []struct {
		name          string
		p             *peer
		seqno, metric uint16
	}{
		{"feasible, selected", a, 1, 10},
		{"feasible, another metric", a, 1, 5},
		{"unfeasible", b, 1, 500},
		{"unfeasible again", b, 1, 400},
		{"unfeasible, older", b, 0, 1},
	} {
		s.idle(30*time.Second, a, b)
		v.p.announce(prefixA, originA, v.seqno, v.metric)
		r, ok := s.route(prefixA, v.p)
		if left := r.Expires.Sub(s.now); !ok || left != 210*time.Second {
			t.Errorf("%s: expires in %v, want 3.5 intervals of 60 s", v.name, left)
		}
	}
}

// The timer runs twice, to infinity and to removal; one interval before, the
// neighbour is asked.
func TestC068_C097_Expiry(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.mute = true
	a.announce(prefixA, originA, 1, 10) // interval 60 s: 210 s
	s.idle(150*time.Second, a)
	s.said()
	s.idle(58*time.Second, a)
	want := fmt.Sprintf("1 %v route request %v", a.addr, prefixA)
	if got := s.said(); !slices.Contains(got, want) {
		t.Errorf("said %v, want %s", got, want)
	}
	s.wantRoute("before", prefixA, a)
	s.idle(4*time.Second, a)
	s.wantUnreachable("after", prefixA)
	if r, ok := s.route(prefixA, a); !ok || r.Metric != Infinity {
		t.Errorf("retracted first: %+v (%v)", r, ok)
	}
	s.idle(204*time.Second, a)
	if _, ok := s.route(prefixA, a); !ok {
		t.Error("removed before the second expiry")
	}
	s.idle(8*time.Second, a)
	if r, ok := s.route(prefixA, a); ok {
		t.Errorf("not removed: %+v", r)
	}
	s.idle(6*time.Minute, a)
	if n := s.e.Sizes(); n.Entries != 0 {
		t.Errorf("%+v left", n)
	}
}

// The answer to the question before the expiry keeps the route.
func TestC097_TheAnswerKeepsTheRoute(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.announce(prefixA, originA, 1, 10)
	for range 3 {
		s.idle(150*time.Second, a)
		s.said()
		asked := 0
		for asked == 0 && s.now.Sub(epoch) < time.Hour {
			s.idle(time.Second, a)
			for _, u := range s.heard {
				if r, ok := u.tlv.(*wire.RouteRequest); ok && r.Prefix == prefixA {
					asked++
				}
			}
		}
		if asked != 1 {
			t.Fatalf("asked %d times", asked)
		}
		a.announce(prefixA, originA, 1, 10)
	}
	s.wantRoute("it lives", prefixA, a)
}

func TestC069_WhatIsNeverSelected(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	s.distance(a, 5, 106)
	b.announce(prefixA, originA, 5, 106) // unfeasible
	s.idle(time.Minute, a, b)
	s.wantRoute("a newer seqno is no reason", prefixA, a)
	b.announce(prefixA, originA, 6, 50) // feasible, newer, and worse
	s.idle(time.Minute, a, b)
	s.wantRoute("a newer seqno is no reason", prefixA, a)
	b.announce(prefixA, originA, 4, 0) // better, and unfeasible
	s.idle(time.Minute, a, b)
	s.wantRoute("unfeasible", prefixA, a)
	a.retract(prefixA)
	s.wantUnreachable("unfeasible, and the only one", prefixA)
	b.retract(prefixA)
	a.announce(prefixA, originA, 6, 65500)
	s.wantUnreachable("a metric that does not fit", prefixA)
}

// Noise moves nothing; a lasting difference does; loss is not delayed.
func TestC070_C071_Hysteresis(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	a.announce(prefixA, originA, 1, 100)
	s.wantRoute("no route: at once", prefixA, a)
	b.announce(prefixA, originA, 1, 100)
	s.wantRoute("a tie", prefixA, a)
	s.idle(time.Minute, a, b)
	s.wantRoute("a lasting tie", prefixA, a)
	for i := range 20 {
		b.announce(prefixA, originA, 1, uint16(97+i%3))
		a.announce(prefixA, originA, 1, uint16(99+i%2))
		s.idle(2*time.Second, a, b)
		s.wantRoute("noise", prefixA, a)
	}
	s.idle(time.Minute, a, b)
	s.wantRoute("lasting noise", prefixA, a)
	b.announce(prefixA, originA, 1, 50)
	s.wantRoute("not at once", prefixA, a)
	s.idle(time.Minute, a, b)
	s.wantRoute("lasting", prefixA, b)
	// A short dip is none.
	a.announce(prefixA, originA, 1, 10)
	s.pass(500 * time.Millisecond)
	a.announce(prefixA, originA, 1, 99)
	s.idle(time.Minute, a, b)
	s.wantRoute("a dip", prefixA, b)
	b.retract(prefixA)
	s.wantRoute("the loss of the selected route is not delayed", prefixA, a)
}

// Appendix C, and nothing is learnt better or longer than it was said.
func TestC072_NotRoutable(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	for _, p := range []string{
		"fe80::/64", "fe80::/10", "fe80::1/128", "ff00::/8", "ff02::/16", "ff02::1/128", "::1/128", "::/128",
		"127.0.0.1/32", "127.0.0.0/8", "0.0.0.0/32", "224.0.0.0/8", "224.0.0.0/4", "239.1.2.3/32",
	} {
		a.announce(netip.MustParsePrefix(p), originA, 1, 10)
	}
	if all := s.e.Snapshot(s.now).Routes; len(all) != 0 || len(s.fib) != 0 {
		t.Errorf("learnt: %+v", all)
	}
	for _, p := range []string{"::/0", "2000::/3", "fd00::/8", "0.0.0.0/0", "10.42.0.0/24", "2001:db8::1/128"} {
		prefix := netip.MustParsePrefix(p)
		a.announce(prefix, originA, 1, 10)
		s.wantRoute(p, prefix, a)
		if r, _ := s.route(prefix, a); r.Received != 10 || r.Metric < 10 {
			t.Errorf("%+v", r)
		}
	}
	if len(s.fib) != 6 {
		t.Errorf("%d routes, want what was said: %v", len(s.fib), s.fib)
	}
}
