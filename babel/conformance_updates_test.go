package babel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/babel/wire"
)

// The numbers of docs/babel-conformance.md about retraction, hold and the sending
// of Updates.

// What is lost is unreachable, though a shorter prefix covers it, until it is
// there again. (That the kernel then answers with an error is in babel/speaker.)
func TestC074_C076_LostPrefixIsUnreachable(t *testing.T) {
	for _, how := range []string{"retracted", "expired", "interface down", "neighbour lost", "cost infinite"} {
		s := newScript(t, nil)
		a, b := s.link(1, Wired), s.link(2, Wired)
		a.mute, b.mute = true, true
		every := netip.MustParsePrefix("::/0")
		b.announce(every, originB, 1, 10)
		a.announce(prefixA, originA, 1, 10)
		s.idle(8*time.Second, a, b)
		s.wantRoute("the default route covers it", every, b)
		switch how {
		case "retracted":
			a.retract(prefixA)
		case "expired":
			for range 210 / 4 { // a lives, and says nothing more of it
				b.announce(every, originB, 1, 10)
				s.idle(4*time.Second, a, b)
			}
		case "interface down":
			s.e.InterfaceDown(s.now, 1)
			s.drain()
		case "neighbour lost":
			s.idle(15*time.Second, b)
		case "cost infinite":
			a.ihu(Infinity)
		}
		s.wantUnreachable(how, prefixA)
		s.wantRoute(how, every, b)
		s.idle(10*time.Second, b)
		s.wantUnreachable(how+", some time later", prefixA)
		b.announce(prefixA, originA, 2, 10)
		s.wantRoute(how+", and there again", prefixA, b)
	}
}

// The hold ends when all reachable neighbours have acknowledged.
func TestC055_C075_HoldEndsWithAcknowledgments(t *testing.T) {
	s := newScript(t, nil)
	a, b, c := s.link(1, Tunnel), s.link(2, Tunnel), s.link(3, Tunnel)
	a.announce(prefixA, originA, 1, 10)
	s.pass(time.Second)
	b.mute = true
	a.retract(prefixA)
	s.idle(6*time.Second, a, b, c)
	s.wantUnreachable("b has not acknowledged", prefixA)
	b.mute = false
	s.idle(8*time.Second, a, b, c)
	s.wantRoute("all have", prefixA, nil)

	// An acknowledgment of something older is none.
	a.announce(prefixA, originA, 2, 10)
	s.idle(time.Second, a, b, c)
	b.mute, s.heard = true, nil
	b.say(&wire.RouteRequest{})
	s.idle(2*time.Second, a, b, c)
	old := s.heard
	s.heard = nil
	a.retract(prefixA)
	s.pass(100 * time.Millisecond)
	for _, u := range old {
		if r, ok := u.tlv.(*wire.AckRequest); ok && u.index == 2 {
			b.say(&wire.Ack{Opaque: r.Opaque})
		}
	}
	b.say(&wire.Ack{Opaque: 31313})
	s.idle(3*time.Second, a, b, c)
	s.wantUnreachable("that was before the retraction", prefixA)

	// A neighbour that is gone need not.
	s.e.InterfaceDown(s.now, 2)
	s.idle(3*time.Second, a, c)
	s.wantRoute("the only one that had not is gone", prefixA, nil)
}

// The second alternative: the neighbours' routes have expired. At the origin too.
func TestC075_C076_C079_HoldEndsByTime(t *testing.T) {
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
	s.pass(time.Second)
	s.e.Withdraw(s.now, prefixA, nowhere)
	a.announce(prefixA, originA, 1, 1)
	s.wantRoute("a finite route ends it", prefixA, a)
	s.pass(time.Second)
	a.retract(prefixA)
	s.wantUnreachable("lost", prefixA)
	s.e.Originate(s.now, prefixA, nowhere, 0)
	s.drain()
	s.wantRoute("ours ends it", prefixA, nil)
}

// times are how often, and when, something was said on a link since a moment.
func (s *script) times(index int, since time.Time, line string) (at []time.Duration) {
	for _, u := range s.heard {
		if u.index == index && describe(u.tlv) == line {
			at = append(at, u.at.Sub(since))
		}
	}
	return at
}

// News that matters is urgent, and reliable: acknowledged where neighbours are
// few, said again to those who do not acknowledge, and a few times where they are
// many.
func TestC077_C081_C082_UrgentAndReliable(t *testing.T) {
	for _, v := range []struct {
		kind       Kind
		neighbours int
		mute       bool
		asked      bool
		min, max   int
	}{
		{Wired, 1, false, true, 1, 1},
		{Wireless, 1, false, true, 1, 1},
		{Tunnel, 1, false, true, 1, 1},
		{Wired, 1, true, true, 3, 100},
		{Tunnel, 1, true, true, 4, 100},
		{Wired, 20, true, false, 2, 5},
		{Wireless, 20, true, false, 3, 5},
	} {
		for _, what := range []string{"retraction", "router-id"} {
			s := newScript(t, nil)
			a, b := s.link(1, Wired), s.link(2, v.kind)
			all := []*peer{a, b}
			for range v.neighbours - 1 {
				all = append(all, s.peer(2))
			}
			a.announce(prefixA, originA, 1, 10)
			s.idle(5*time.Second, all...)
			for _, p := range all[1:] {
				p.mute = v.mute
			}
			s.heard = nil
			since := s.now
			line := fmt.Sprintf("retract %v", prefixA)
			if what == "retraction" {
				a.retract(prefixA)
			} else {
				a.announce(prefixA, originB, 1, 10)
				line = fmt.Sprintf("update %v id b seqno 1 metric 106", prefixA)
			}
			s.pass(3900 * time.Millisecond)
			at := s.times(2, since, line)
			asked := len(s.times(2, since, "ack request")) > 0
			name := fmt.Sprintf("%v, %d neighbours, mute %v", v.kind, v.neighbours, v.mute)
			if len(at) < v.min || len(at) > v.max || at[0] > 200*time.Millisecond || asked != v.asked {
				t.Errorf("%s: %s said at %v, asked %v; want %d to %d times, the first within 0.2 s", name, what, at, asked, v.min, v.max)
			}
			// Never without end.
			s.idle(5*time.Minute, all[1:]...)
			if n := len(s.times(2, since, line)); n > 64 {
				t.Errorf("%s: %s said %d times", name, what, n)
			}
		}
	}
}

// While a prefix is held, dumps say so too.
func TestC077_DumpsSayWhatIsHeld(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	a.mute, b.mute = true, true
	a.announce(prefixA, originA, 1, 10)
	s.idle(5*time.Second, a, b)
	a.retract(prefixA)
	s.idle(3*time.Second, a, b)
	s.heard = nil
	s.idle(30*time.Second, a, b)
	if n := len(s.times(2, s.now, fmt.Sprintf("retract %v", prefixA))); n < 1 || n > 3 {
		t.Errorf("said %d times in 30 s", n)
	}
}

func TestC078_StopRetractsAndUninstalls(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Tunnel)
	a.announce(prefixA, originA, 1, 10)
	s.e.Originate(s.now, prefixB, nowhere, 0)
	s.idle(2*time.Second, a, b)
	s.said()
	s.e.Stop(s.now)
	s.drain()
	if got := s.said(); fmt.Sprint(got) != "[1 * retract invalid Prefix 2 * retract invalid Prefix]" {
		t.Errorf("said %v", got)
	}
	for _, p := range s.packets[len(s.packets)-2:] {
		if h := helloOf(p.Data); h == nil || h.Interval > 10 {
			t.Errorf("no Hello that will soon be missed: %+v", h)
		}
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

// Every route on every interface in each Update interval: own and learnt ones,
// IPv4 and source-specific ones, also those that nobody speaks of otherwise.
func TestC080_PeriodicUpdates(t *testing.T) {
	for _, v := range []struct {
		kind     Kind
		interval time.Duration
	}{{Wired, 16 * time.Second}, {Wireless, 16 * time.Second}, {Tunnel, 300 * time.Second}} {
		s := newScript(t, nil)
		a, b := s.link(1, v.kind), s.link(2, v.kind)
		v4, far := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:77::/48")
		s.e.Originate(s.now, prefixB, nowhere, 0)
		s.e.Originate(s.now, v4, nowhere, 0)
		s.e.Originate(s.now, prefixB, prefixA, 0)
		told := func() {
			a.announce(far, originA, 1, 10)
			s.idle(v.interval/4, a, b)
		}
		for range 8 {
			told()
		}
		s.heard = nil
		for range 40 {
			told()
		}
		for _, line := range []string{
			fmt.Sprintf("update %v id ff seqno 100 metric 0", prefixB), fmt.Sprintf("update %v id ff seqno 100 metric 0", v4),
			fmt.Sprintf("update %v from %v id ff seqno 100 metric 0", prefixB, prefixA),
			s.learnt(far, a),
		} {
			at := s.times(2, epoch, line)
			for i := 1; i < len(at); i++ {
				if at[i]-at[i-1] > v.interval {
					t.Errorf("%v: %q: %v between Updates", v.kind, line, at[i]-at[i-1])
				}
			}
			if len(at) < 9 {
				t.Errorf("%v: %q was said %d times in 10 intervals", v.kind, line, len(at))
			}
		}
	}
}

// learnt is what is to be said of a peer's route.
func (s *script) learnt(prefix netip.Prefix, p *peer) string {
	r, _ := s.route(prefix, p)
	return fmt.Sprintf("update %v id %x seqno %d metric %d", prefix, r.RouterID[7], r.Seqno, r.Metric)
}

func TestC083_SmallChangesAreNoNews(t *testing.T) {
	s := newScript(t, nil)
	a, _ := s.link(1, Tunnel), s.link(2, Tunnel)
	a.announce(prefixA, originA, 1, 100)
	s.idle(10*time.Second, a)
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

// Another next hop with the same metric is nobody's business.
func TestC083_NextHopIsNoNews(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	b := s.peer(1)
	s.link(2, Tunnel)
	a.announce(prefixA, originA, 1, 10)
	b.announce(prefixA, originA, 1, 10)
	s.pass(time.Second)
	s.said()
	a.retract(prefixA)
	s.wantRoute("by b", prefixA, b)
	s.pass(3 * time.Second)
	for _, u := range s.heard {
		if u.index == 2 && isUpdate(prefixA)(u) {
			t.Errorf("said %s", describe(u.tlv))
		}
	}
}

// Of a learnt route: our metric, its router-id and seqno. Of ours: zero, or what
// it was originated with, and our own.
func TestC084_WhatIsAdvertised(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel, Wireless} {
		s := newScript(t, nil)
		a, b := s.link(1, kind), s.link(2, kind)
		far := netip.MustParsePrefix("2001:db8:77::/48")
		s.e.Originate(s.now, prefixA, nowhere, 0)
		s.e.Originate(s.now, prefixB, nowhere, 77)
		s.e.SetExtraCost(s.now, 1, 1000)
		a.announce(far, originA, 55, 10)
		s.idle(2*time.Second, a, b)
		s.said()
		for _, p := range []netip.Prefix{prefixA, prefixB, far} {
			b.say(&wire.RouteRequest{Prefix: p})
		}
		r, _ := s.route(far, a)
		if r.Metric < 1014 {
			t.Errorf("%v: metric %d", kind, r.Metric)
		}
		s.wantSaid(kind.String(),
			fmt.Sprintf("2 %v update %v id ff seqno 100 metric 0", b.addr, prefixA),
			fmt.Sprintf("2 %v update %v id ff seqno 100 metric 77", b.addr, prefixB),
			fmt.Sprintf("2 %v update %v id a seqno 55 metric %d", b.addr, far, r.Metric))
	}
}

// Where not everybody hears everybody, what came from there is said there; on
// cables and tunnels it is not; and each can be told otherwise.
func TestC085_SplitHorizon(t *testing.T) {
	for _, v := range []struct {
		config InterfaceConfig
		want   bool // said back
	}{
		{InterfaceConfig{Kind: Wired}, false},
		{InterfaceConfig{Kind: Wireless}, true},
		{InterfaceConfig{Kind: Tunnel}, false},
		{InterfaceConfig{Kind: Wireless, SplitHorizon: true}, false},
		{InterfaceConfig{Kind: Wired, NoSplitHorizon: true}, true},
		{InterfaceConfig{Kind: Tunnel, NoSplitHorizon: true}, true},
	} {
		s := newScript(t, nil)
		v.config.Index, v.config.LinkLocal = 1, self
		s.e.InterfaceUp(s.now, v.config)
		a := s.peer(1)
		b := s.link(2, Tunnel)
		a.announce(prefixA, originA, 1, 10)
		s.idle(2*time.Second, a, b)
		a.say(&wire.RouteRequest{})
		s.idle(2*time.Second, a, b)
		var said [3]bool
		for _, u := range s.heard {
			if isUpdate(prefixA)(u) && u.tlv.(*wire.Update).Metric != Infinity {
				said[u.index] = true
			}
		}
		if got := said[1]; got != v.want || !said[2] {
			t.Errorf("%+v: said back %v, want %v", v.config, got, v.want)
		}
	}
}

// What came from a tunnel is not said there. But a retraction is, or the
// neighbour falls back on us.
func TestC082_C085_SplitHorizonNeverSwallowsARetraction(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	a.announce(prefixA, originA, 1, 10)
	s.wantSaid("new: to the others", fmt.Sprintf("2 * update %v id a seqno 1 metric 106", prefixA))
	b.announce(prefixA, originA, 1, 5)
	s.idle(20*time.Second, a, b) // hysteresis
	s.wantRoute("the better way", prefixA, b)
	s.said()
	b.retract(prefixA)
	s.idle(20*time.Second, a, b)
	s.wantRoute("back", prefixA, a)
	s.said()
	a.retract(prefixA)
	s.wantSaid("lost: everywhere", fmt.Sprintf("1 * retract %v", prefixA), fmt.Sprintf("2 * retract %v", prefixA))
}

func TestC085_ChangedHorizon(t *testing.T) {
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

func TestC086_C098_RouteRequests(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel} {
		s := newScript(t, nil)
		a, b := s.link(1, kind), s.link(2, kind)
		held := netip.MustParsePrefix("2001:db8:77::/48")
		v4 := netip.MustParsePrefix("10.0.0.0/8")
		s.e.Originate(s.now, prefixB, nowhere, 0)
		s.e.Originate(s.now, v4, nowhere, 0)
		a.announce(prefixA, originA, 5, 10)
		a.announce(held, originA, 5, 10)
		s.idle(3*time.Second, a, b)
		b.mute = true
		a.retract(held)
		s.pass(700 * time.Millisecond)
		s.said()
		for _, v := range []struct {
			name   string
			prefix netip.Prefix
			from   netip.Prefix
			want   string
		}{
			{"ours", prefixB, nowhere, fmt.Sprintf("update %v id ff seqno 100 metric 0", prefixB)},
			{"ours, IPv4", v4, nowhere, fmt.Sprintf("update %v id ff seqno 100 metric 0", v4)},
			{"its own, that split horizon hides", prefixA, nowhere, s.learnt(prefixA, a)},
			{"held", held, nowhere, fmt.Sprintf("retract %v", held)},
			{"unknown", nodePrefix(99), nowhere, fmt.Sprintf("retract %v", nodePrefix(99))},
			{"unknown from there", prefixA, prefixB, fmt.Sprintf("retract %v from %v", prefixA, prefixB)},
			{"a part of what we know", netip.MustParsePrefix("2001:db8:42:b:7::/80"), nowhere, "retract 2001:db8:42:b:7::/80"},
		} {
			a.say(&wire.RouteRequest{Prefix: v.prefix, From: v.from})
			s.pass(150 * time.Millisecond)
			want := fmt.Sprintf("1 %v %s", a.addr, v.want)
			got := s.said()
			if !slices.Contains(got, want) {
				t.Errorf("%v: %s: said %v, want %s", kind, v.name, got, want)
			}
			for _, line := range got {
				if strings.Contains(line, fmt.Sprint("request ", v.prefix)) {
					t.Errorf("%v: %s: passed on: %s", kind, v.name, line)
				}
			}
		}
	}
}

// A wildcard request gets everything; a storm of them gets no storm of dumps.
func TestC087_WildcardRequests(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel} {
		s := newScript(t, nil)
		a, b := s.link(1, kind), s.link(2, kind)
		v4, far := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:77::/48")
		s.e.Originate(s.now, prefixB, nowhere, 0)
		s.e.Originate(s.now, v4, nowhere, 0)
		s.e.Originate(s.now, prefixB, prefixA, 0)
		b.announce(far, originA, 1, 10)
		a.announce(prefixA, originB, 1, 10)
		s.idle(3*time.Second, a, b)
		want := []string{
			fmt.Sprintf("update %v id ff seqno 100 metric 0", prefixB), fmt.Sprintf("update %v id ff seqno 100 metric 0", v4),
			fmt.Sprintf("update %v from %v id ff seqno 100 metric 0", prefixB, prefixA), s.learnt(far, b),
		}
		s.said()
		since := s.now
		a.say(&wire.RouteRequest{})
		s.pass(1500 * time.Millisecond)
		for _, line := range want {
			if at := s.times(1, since, line); len(at) == 0 {
				t.Errorf("%v: not told: %s", kind, line)
			}
		}
		s.heard = nil
		for range 1000 {
			a.say(&wire.RouteRequest{}, &wire.RouteRequest{})
			s.pass(10 * time.Millisecond)
		}
		if n := len(s.times(1, since, want[0])); n < 1 || n > 12 {
			t.Errorf("%v: %d dumps in 10 s for 2,000 requests", kind, n)
		}
	}
}

// Our seqno grows for requests that need it, and for nothing else.
func TestC088_SeqnoIsNotIncreasedSpontaneously(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Tunnel)
	begin := s.e.Snapshot(s.now).Seqno
	s.e.Originate(s.now, prefixB, nowhere, 0)
	for range 60 {
		s.idle(20*time.Second, a, b)
		a.announce(prefixA, originA, 1, 10)
		a.retract(prefixA)
		s.e.Withdraw(s.now, prefixB, nowhere)
		s.e.Originate(s.now, prefixB, nowhere, 0)
		s.e.SetExtraCost(s.now, 1, 100)
		s.e.SetExtraCost(s.now, 1, 0)
		s.e.InterfaceDown(s.now, 2)
		b = s.link(2, Tunnel)
		a.say(&wire.RouteRequest{}, &wire.RouteRequest{Prefix: prefixB})
		// Satisfied already, or not for us.
		a.say(&wire.SeqnoRequest{Prefix: prefixB, Seqno: begin, HopCount: 9, RouterID: selfID})
		a.say(&wire.SeqnoRequest{Prefix: prefixB, Seqno: begin + 5, HopCount: 9, RouterID: originA})
		a.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: begin + 5, HopCount: 9, RouterID: selfID})
		a.announce(prefixB, selfID, begin, 200) // our own comes back
	}
	if got := s.e.Snapshot(s.now).Seqno; got != begin {
		t.Errorf("seqno %d became %d", begin, got)
	}
}
