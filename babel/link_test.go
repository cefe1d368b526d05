package babel

import (
	"testing"
	"time"

	"re6st/babel/wire"
)

// With 300 ms Hellos a dead tunnel is known within about a second.
func TestDesign5_ActiveTunnelDiesFast(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	c := w.connect(Tunnel, 10*time.Millisecond, a, b)
	w.run(10 * time.Second)
	for _, e := range c.ends {
		e.n.engine.SetIntervals(w.now, e.index, 300*time.Millisecond, 0)
		e.n.drain()
	}
	w.run(10 * time.Second)
	c.isCut = true
	took := w.await("the loss", 1200*time.Millisecond, func() bool { return a.fib[keyOf(b.prefix, nowhere)].Interface == 0 })
	t.Log("known after", took)
}

// 20 % loss does not make a tunnel flap: probes decide.
func TestF11_LossDoesNotFlapATunnel(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	c := w.connect(Tunnel, 10*time.Millisecond, a, b)
	for _, e := range c.ends {
		e.n.engine.SetIntervals(w.now, e.index, 300*time.Millisecond, 0)
		e.n.drain()
	}
	w.run(10 * time.Second)
	c.loss = 0.2
	a.events, b.events = nil, nil
	w.run(10 * time.Minute)
	for _, e := range append(a.events, b.events...) {
		if e.Kind == NeighbourDown {
			t.Errorf("neighbour down: %+v", e)
		}
	}
	n := a.engine.Snapshot(w.now).Neighbours[0]
	if n.Cost < 84+84/6 {
		t.Errorf("cost %d: loss costs nothing", n.Cost)
	}
}

// F-10: cut one way, both ends stop, the other one at the next IHU.
func TestF10_C048_OneWayCut(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.announce(prefixA, originA, 1, 10)
	s.idle(8*time.Second, a)
	a.seqno++
	a.say(&wire.Hello{Seqno: a.seqno, Interval: 400}, &wire.IHU{RxCost: Infinity, Interval: 1200, Address: self})
	s.wantUnreachable("it cannot hear us", prefixA)
	a.greet()
	s.wantRoute("it can again", prefixA, a)
	// Now it is silent: we say that we do not hear it, at once.
	s.heard = nil
	s.pass(11 * time.Second)
	found := false
	for _, u := range s.heard {
		ihu, ok := u.tlv.(*wire.IHU)
		found = found || ok && ihu.RxCost == Infinity
	}
	if !found {
		t.Error("no IHU says that the neighbour is not heard")
	}
}

// A neighbour that lost its Hello seqno has restarted: all that it told is void.
func TestC043_RestartedNeighbour(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	a.announce(prefixA, originA, 1, 10)
	s.wantRoute("before", prefixA, a)
	a.seqno += 1000
	a.greet()
	s.wantUnreachable("after", prefixA)
	a.announce(prefixA, originA, 1, 10)
	a.greet()
	s.wantRoute("told again", prefixA, a)
}

// Design, section 5: 4 + 4 per millisecond, at most 2,000.
func TestDesign5_TunnelCost(t *testing.T) {
	for _, v := range []struct {
		delay time.Duration
		want  uint16
	}{{0, 4}, {500 * time.Microsecond, 8}, {10 * time.Millisecond, 84}, {125 * time.Millisecond, 1004}, {400 * time.Millisecond, 2000}} {
		w := newWorld(t, 1)
		a, b := w.add(), w.add()
		w.connect(Tunnel, v.delay, a, b)
		w.run(30 * time.Second)
		n := a.engine.Snapshot(w.now).Neighbours[0]
		if n.Cost != v.want {
			t.Errorf("%v one way: cost %d, RTT %v, want %d", v.delay, n.Cost, n.RTT, v.want)
		}
	}
}

// A new tunnel carries routes at once, in the middle of quiet ones too.
func TestInterfaceUp_RoutesWithinASecond(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		a, b, c := w.add(), w.add(), w.add()
		w.connect(Tunnel, 20*time.Millisecond, a, b)
		w.run(10*time.Minute + time.Duration(w.rand.IntN(4000))*time.Millisecond)
		w.connect(Tunnel, 20*time.Millisecond, b, c)
		took := w.await("all pairs", time.Second, w.allReach)
		if seed == 0 {
			t.Log("all pairs after", took)
		}
	}
}

// A new tunnel that is the shorter way is taken as soon as that is measured: the
// cost that it had before was a guess, and to smooth it would take half a minute.
func TestInterfaceUp_ShorterWayWithinASecond(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		n := []*node{w.add(), w.add(), w.add(), w.add()}
		for i := range 3 {
			w.connect(Tunnel, 500*time.Microsecond, n[i], n[i+1])
		}
		w.run(2*time.Minute + time.Duration(w.rand.IntN(4000))*time.Millisecond)
		direct := w.connect(Tunnel, 500*time.Microsecond, n[0])
		w.run(time.Duration(w.rand.IntN(100)) * time.Millisecond)
		index := len(n[3].ports) + 1
		n[3].ports[index] = direct
		direct.ends = append(direct.ends, end{n[3], index})
		n[3].up(index)
		n[3].drain()
		took := w.await("one hop in both directions", time.Second, func() bool {
			return w.between(n[0], keyOf(n[3].prefix, nowhere)) == direct && w.between(n[3], keyOf(n[0].prefix, nowhere)) == direct
		})
		if seed == 0 {
			t.Log("one hop after", took)
		}
	}
}

// The two ends of a tunnel come up seconds apart.
func TestInterfaceUp_OneEndFirst(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	c := w.connect(Tunnel, 20*time.Millisecond, a)
	w.run(7 * time.Second)
	b.ports[1] = c
	c.ends = append(c.ends, end{b, 1})
	b.up(1)
	b.drain()
	t.Log("both know after", w.await("both know", time.Second, w.allReach))
}

// A relay in use is killed without a word; another way is there.
func TestRelayDeath(t *testing.T) {
	w := newWorld(t, 3)
	var n []*node
	for range 6 {
		n = append(n, w.add())
	}
	for _, e := range [][2]int{{0, 1}, {0, 2}, {1, 3}, {2, 3}, {3, 4}, {3, 5}} {
		w.connect(Tunnel, 10*time.Millisecond, n[e[0]], n[e[1]])
	}
	t.Log("all pairs after", w.await("all pairs", 2*time.Second, w.allReach))
	w.run(time.Minute)
	relay := n[0].hop(keyOf(n[4].prefix, nowhere))
	relay.kill()
	took := w.await("the rest is connected", 12*time.Second, w.allReach)
	t.Log("with Hellos each 4 s, healed after", took)
}

// Removing interfaces at both ends: the routes move at once.
func TestInterfaceDown_RetractsAtOnce(t *testing.T) {
	w := newWorld(t, 4)
	n := []*node{w.add(), w.add(), w.add(), w.add()}
	top := w.connect(Tunnel, 5*time.Millisecond, n[0], n[1])
	w.connect(Tunnel, 5*time.Millisecond, n[1], n[3])
	w.connect(Tunnel, 20*time.Millisecond, n[0], n[2])
	w.connect(Tunnel, 20*time.Millisecond, n[2], n[3])
	w.run(time.Minute)
	w.remove(top)
	t.Log("healed after", w.await("the other way", 500*time.Millisecond, w.allReach))
}

// The ring of the baselines: where babeld with split horizon makes black holes.
func TestNoBlackHoleAfterCarrierLoss(t *testing.T) {
	for seed := range uint64(12) {
		w := newWorld(t, seed)
		var n []*node
		for range 6 {
			n = append(n, w.add())
		}
		var cables []*cable
		for i := range n {
			cables = append(cables, w.connect(Tunnel, 2*time.Millisecond, n[i], n[(i+1)%6]))
		}
		w.run(time.Minute)
		w.remove(cables[w.rand.IntN(6)])
		w.await("the ring is a line", 500*time.Millisecond, w.allReach)
	}
}

// F-12: jitter of the path changes no route.
func TestF12_C132_JitterChangesNothing(t *testing.T) {
	w := newWorld(t, 1)
	n := []*node{w.add(), w.add(), w.add(), w.add()}
	cables := []*cable{
		w.connect(Tunnel, 20*time.Millisecond, n[0], n[1]), w.connect(Tunnel, 20*time.Millisecond, n[1], n[3]),
		w.connect(Tunnel, 21*time.Millisecond, n[0], n[2]), w.connect(Tunnel, 21*time.Millisecond, n[2], n[3]),
	}
	w.run(2 * time.Minute)
	changes := 0
	w.afterFIB = func(x *node, c RouteChange) {
		if x == n[0] && c.Prefix == n[3].prefix {
			changes++
		}
	}
	for range 600 {
		for i, c := range cables {
			c.delay = time.Duration(20+i/2)*time.Millisecond + time.Duration(w.rand.IntN(5000))*time.Microsecond
		}
		w.run(time.Second)
	}
	if changes > 1 {
		t.Errorf("%d route changes in 10 minutes", changes)
	}
}
