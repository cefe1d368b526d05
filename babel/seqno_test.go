package babel

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// F-07: a node is killed and restarted a thousand times; its seqno is what was
// reserved. It is never starved by what its neighbours remember.
func TestF07_C089_ThousandRestarts(t *testing.T) {
	w := newWorld(t, 7)
	n := []*node{w.add(), w.add(), w.add(), w.add()}
	w.connect(Tunnel, 5*time.Millisecond, n[0], n[1])
	w.connect(Tunnel, 5*time.Millisecond, n[1], n[2])
	w.connect(Tunnel, 5*time.Millisecond, n[2], n[3])
	w.connect(Tunnel, 25*time.Millisecond, n[0], n[3])
	w.run(10 * time.Second)
	restarts := 1000
	if testing.Short() {
		restarts = 100
	}
	var longest time.Duration
	for range restarts {
		n[0].kill()
		w.run(time.Duration(w.rand.IntN(3000)) * time.Millisecond)
		n[0].start(Config{})
		longest = max(longest, w.await("the restarted node is back", 3*time.Second, func() bool {
			return w.reaches(n[0], n[2]) && w.reaches(n[2], n[0]) && w.reaches(n[1], n[0]) && w.reaches(n[3], n[0])
		}))
	}
	t.Log("longest", longest)
}

// The record is lost: the seqno is anything. The node hears its own router-id
// with a newer one and goes above it.
func TestF07_C089_LostRecord(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		n := []*node{w.add(), w.add(), w.add()}
		w.connect(Tunnel, 5*time.Millisecond, n[0], n[1])
		w.connect(Tunnel, 5*time.Millisecond, n[1], n[2])
		w.connect(Tunnel, 40*time.Millisecond, n[0], n[2])
		for _, x := range n {
			x.start(Config{Seqno: 30000})
		}
		w.run(10 * time.Second)
		n[0].kill()
		w.run(500 * time.Millisecond)
		n[0].start(Config{Seqno: uint16(w.rand.Uint32())})
		w.await("reached again", 5*time.Second, w.allReach)
	}
}

func TestF07_ReserveIsAheadOfUse(t *testing.T) {
	e := New(Config{RouterID: selfID, Seqno: 65530, Rand: rand.New(rand.NewPCG(1, 1))})
	limit, isSet := uint16(0), false
	now := epoch
	e.Originate(now, prefixA, nowhere, 0)
	for range 200000 {
		now = now.Add(seqnoBumpMin)
		out := e.Output()
		if out.HasReserve {
			limit, isSet = out.Reserve, true
		}
		if !isSet || !isNewer(limit, e.seqno.current) {
			t.Fatalf("seqno %d, reserved before %d", e.seqno.current, limit)
		}
		e.seqno.bump(now)
	}
}

// A disk that fails: the seqno stays below what is durable, and goes on when the
// disk does.
func TestF07_ReserveFails(t *testing.T) {
	e := New(Config{RouterID: selfID, Seqno: 10, Rand: rand.New(rand.NewPCG(1, 1))})
	now := epoch
	first := e.Output()
	if !first.HasReserve {
		t.Fatal("nothing reserved at the start")
	}
	for range 1000 {
		now = now.Add(time.Second)
		e.Advance(now)
		e.seqno.bump(now)
		if out := e.Output(); out.HasReserve {
			e.ReserveFailed(now)
		}
		if !isNewer(first.Reserve, e.seqno.current) {
			t.Fatalf("seqno %d, durable before %d", e.seqno.current, first.Reserve)
		}
	}
	e.seqno.exceed(now, 5000, &budget{})
	if out := e.Output(); out.HasReserve {
		e.ReserveFailed(now)
	}
	if !isNewer(first.Reserve, e.seqno.current) {
		t.Fatalf("a jump went above what is durable: %d", e.seqno.current)
	}
	for range 10 {
		now = now.Add(time.Second)
		e.Advance(now)
		e.Output()
		e.seqno.bump(now)
	}
	if e.seqno.current < first.Reserve {
		t.Errorf("seqno %d stays behind", e.seqno.current)
	}
}

// Own increments are rate-limited, whoever asks.
func TestC088_SeqnoIsNotDrivenByOthers(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	s.e.Originate(s.now, prefixB, nowhere, 0)
	begin := s.e.seqno.current
	for range 1000 {
		a.announce(prefixB, selfID, s.e.seqno.current+100, 10)
		s.pass(10 * time.Millisecond)
	}
	if got := s.e.seqno.current - begin; got > 11*101 {
		t.Errorf("%d seqnos in 10 s", got)
	}
}

// A node whose forwarding table refuses at random still makes no loop and
// announces nothing that it has not.
func TestRouteFailed_AtRandom(t *testing.T) {
	w := newWorld(t, 5)
	randomMesh(w, 8, 6, always(Tunnel))
	for _, n := range w.nodes {
		n.reject = func(RouteChange) error {
			if w.rand.IntN(4) == 0 {
				return errors.New("no buffer space")
			}
			return nil
		}
	}
	w.storm(2*time.Minute, 0.1)
	for _, n := range w.nodes {
		n.reject = nil
	}
	for _, c := range w.cables {
		c.isCut, c.loss = false, 0
	}
	w.run(3 * time.Minute)
	if !w.allReach() {
		t.Error("not every pair is connected")
	}
	for _, n := range w.nodes {
		for p := range n.engine.entries.each() {
			want := p.wanted()
			route := p.routeBy(want)
			if got, ok := n.fib[p.key()]; ok != (want != 0) || ok && got != route {
				t.Errorf("node %d, %v: table %+v (%v), engine %+v (%v)", n.index, p.key(), got, ok, route, want)
			}
		}
	}
}
