package babel

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

func TestT12_AcksOfOnePacketShareOne(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	var all []wire.TLV
	for i := range uint16(100) {
		all = append(all, &wire.AckRequest{Opaque: i, Interval: 1})
	}
	before := s.e.Interfaces()[0]
	a.say(all...)
	after := s.e.Interfaces()[0]
	in, out := after.BytesIn-before.BytesIn, after.BytesOut-before.BytesOut
	if n := after.PacketsOut - before.PacketsOut; n != 1 || out > in {
		t.Errorf("%d packets, %d octets for %d", n, out, in)
	}
}

func TestT12_ADumpIsLateAndNotLost(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	for i := range 9000 {
		s.e.Originate(s.now, many(i), nowhere, 0)
	}
	s.pass(20 * time.Second)
	heard := func(d time.Duration) int {
		begin := s.e.Interfaces()[0].UpdatesOut
		s.idle(d, a)
		s.heard = nil
		return int(s.e.Interfaces()[0].UpdatesOut - begin)
	}
	total := 0 // a dump is worth 288 kB
	for range 10 {
		a.say(&wire.RouteRequest{})
		total += heard(time.Second)
	}
	if total < 9000 || total > 3*9000 {
		t.Errorf("%d updates while it asks", total)
	}
	a.say(&wire.RouteRequest{})
	if n := heard(20 * time.Second); n < 9000 {
		t.Errorf("%d updates for the last request", n)
	}
	if n, _ := s.neighbour(a); n.Dropped.Dumps == 0 {
		t.Errorf("nothing counted: %+v", n)
	}
}

func TestT12_GreedyNeighboursLeaveAShare(t *testing.T) {
	s := newScript(t, func(c *Config) { c.RoutesMax, c.RoutesTotalMax = 640, 700 })
	a, b, c := s.link(1, Tunnel), s.link(2, Tunnel), s.link(3, Tunnel)
	for i := range 2000 {
		a.say(update(many(i), 1, 1, 1))
		b.say(update(many(10000+i), 1, 1, 1))
	}
	for i := range 100 {
		c.say(update(many(20000+i), 1, 1, 1))
	}
	var counts []int
	for _, p := range []*peer{a, b, c} {
		n, _ := s.neighbour(p)
		counts = append(counts, n.Routes)
		if n.Dropped.Routes == 0 {
			t.Errorf("nothing counted: %+v", n)
		}
	}
	if counts[0]+counts[1] != 700 || counts[2] != 640/routesShare {
		t.Errorf("routes %v", counts)
	}
	s.wantRoute("who came first keeps its routes", many(5), a)
}

// Who restarts is not somebody else: what it has brought up counts until it is
// forgotten.
func TestT12_RestartBringsNoNewBudget(t *testing.T) {
	s := newScript(t, func(c *Config) { c.RoutesMax = 10 })
	a := s.link(1, Tunnel)
	s.link(2, Tunnel)
	for i := range 10 {
		a.say(update(many(i), 1, 1, 1))
	}
	s.pass(time.Second)
	for round := range 20 {
		a.seqno += 1000
		a.greet()
		s.pass(2 * time.Second)
		for i := range 10 {
			a.say(update(many(100+10*round+i), 1, 1, 1))
		}
		s.pass(time.Second)
	}
	if x := s.e.Sizes(); x.Entries > 15 {
		t.Errorf("%+v", x)
	}
	if n, _ := s.neighbour(a); n.Dropped.Routes == 0 {
		t.Errorf("nothing counted: %+v", n)
	}
}

func TestT12_StrangersDoNotKeepTheirPlaces(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.announce(prefixA, originA, 1, 100)
	for i := range 2 * neighboursMax {
		x := &peer{s: s, index: 1, addr: netip.MustParseAddr(fmt.Sprintf("fe80::f:%x", i+1))}
		x.say(&wire.Hello{Seqno: 1, Interval: 0xffff})
	}
	if n := len(s.e.Neighbours()); n != neighboursMax {
		t.Errorf("%d neighbours", n)
	}
	s.idle(5*time.Second, a)
	b := s.peer(1)
	if n, ok := s.neighbour(b); !ok || !n.Reachable {
		t.Errorf("a newcomer is not let in: %+v", n)
	}
	s.wantRoute("whoever was of use stays", prefixA, a)
}

func TestT12_ShortIntervals(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	u := update(prefixA, 1, 1, 1)
	u.Interval = 1
	a.say(u)
	s.pass(3 * time.Second)
	s.wantRoute("an interval is a second at least", prefixA, a)
	s.idle(2*time.Second, a)
	s.wantUnreachableOrNone("and the route lives for 3.5", prefixA)
}

// A prefix that comes and goes eight times a second is news a few times, and then
// once a second; that it is gone, no oftener. In the end all is as it is.
func TestT12_FlappingIsToldSlowly(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	for i := range uint16(100) {
		a.announce(prefixA, originA, i, 1)
		s.pass(60 * time.Millisecond)
		a.retract(prefixA)
		s.pass(60 * time.Millisecond)
		if i%30 == 0 {
			a.greet()
			b.greet()
		}
	}
	a.announce(prefixA, originA, 101, 1)
	s.pass(2 * time.Second)
	announced, last := 0, uint16(Infinity)
	for _, u := range s.updatesOf(2, prefixA) {
		if last = u.Metric; u.Metric != Infinity {
			announced++
		}
	}
	if announced < 5 || announced > 10+2*flapsMax {
		t.Errorf("announced %d times in 12 s", announced)
	}
	if last == Infinity {
		t.Error("the last word was a retraction")
	}
}

// T-12: "seqno request forwarding once per (prefix, id, seqno)".
func TestT12_SeqnoRequestsAreForwardedOnce(t *testing.T) {
	s := newScript(t, nil)
	a, b, c := s.link(1, Tunnel), s.link(2, Tunnel), s.link(3, Tunnel)
	a.announce(prefixA, originA, 1, 100)
	s.pass(time.Second)
	s.heard = nil
	r := &wire.SeqnoRequest{Prefix: prefixA, Seqno: 2, HopCount: 50, RouterID: originA}
	count := func() (n int) {
		for _, u := range s.heard {
			if x, ok := u.tlv.(*wire.SeqnoRequest); ok && x.Seqno == r.Seqno && u.index == 1 {
				n++
			}
		}
		return n
	}
	for range 90 {
		b.say(r)
		c.say(r)
		s.pass(10 * time.Millisecond)
	}
	if n := count(); n != 1 {
		t.Errorf("forwarded %d times", n)
	}
	s.heard = nil
	s.pass(time.Second)
	b.say(r) // "suppression shorter than the retry interval, or retries die"
	s.pass(100 * time.Millisecond)
	if n := count(); n != 1 {
		t.Errorf("the retry was forwarded %d times", n)
	}
	a.announce(prefixA, originA, 2, 100)
	s.pass(100 * time.Millisecond)
	for _, index := range []int{2, 3} {
		if u := s.updatesOf(index, prefixA); len(u) == 0 || u[0].Seqno != 2 {
			t.Errorf("link %d waits for its answer: %v", index, u)
		}
	}
}

// What the import filter refuses takes no room (L1 is the first line).
func TestT12_RefusedPrefixesTakeNoRoom(t *testing.T) {
	s := newSiege(t, Tunnel, func(c *Config) {
		c.Import = func(u Update) Verdict {
			if u.RouterID[0] == 9 {
				return Refuse
			}
			return Accept
		}
	})
	s.stand(each(func(_ *siege, k int) wire.TLV { return update(many(k), 1, 1, 1) }))
	if s.peak.Entries > 2*siegeTable+2000 || s.e.Neighbours()[0].Dropped.Filtered == 0 {
		t.Errorf("peak %+v, dropped %+v", s.peak, s.e.Neighbours()[0].Dropped)
	}
}

// Requests for our own seqno without end: it rises a few times, then once a
// second, and everyone who asks has an answer. So do the durable reservations.
func TestT12_OwnSeqnoRisesSlowly(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	s.e.Originate(s.now, prefixA, nowhere, 0)
	s.pass(time.Second)
	for i := range uint16(3000) {
		a.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: s.e.Snapshot(s.now).Seqno + 1, HopCount: 9, RouterID: selfID})
		s.pass(10 * time.Millisecond)
		if i%300 == 0 {
			a.greet()
		}
	}
	if risen := s.e.Snapshot(s.now).Seqno - 100; risen < 60 || risen > seqnoBumps+30*seqnoBumpsRate+40 {
		t.Errorf("risen by %d in 30 s", risen)
	}
}

// A router that lost its record is told its seqno once; whoever tells it again
// and again is not believed.
func TestT12_OwnSeqnoJumpsRarely(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	s.e.Originate(s.now, prefixA, nowhere, 0)
	jumps := 0
	for range 60 {
		was := s.e.Snapshot(s.now).Seqno
		a.announce(prefixA, selfID, was+30000, 1)
		a.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: was + 30000, HopCount: 9, RouterID: selfID})
		s.idle(1100*time.Millisecond, a)
		if d := s.e.Snapshot(s.now).Seqno - was; d > 100 {
			jumps++
		}
	}
	if jumps < 1 || jumps > jumpsBurst+2 {
		t.Errorf("%d jumps in a minute", jumps)
	}
}

// A prefix that is back, and whose announcement has to wait, is held like any
// other when it is lost again: neighbours may have missed that it was gone.
func TestT12_FlappingIsHeld(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	b.mute = true
	for i := range uint16(20) {
		a.announce(prefixA, originA, i, 1)
		s.pass(60 * time.Millisecond)
		a.retract(prefixA)
		s.wantUnreachable("lost", prefixA)
		s.pass(60 * time.Millisecond)
	}
}
