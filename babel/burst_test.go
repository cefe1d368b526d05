package babel

import (
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

// burst makes a neighbour of the node, played by the test, say a whole table in one
// moment. It returns the octets that it needed.
func (w *world) burst(n *node, kind Kind, size int) (octets int) {
	const index = 99
	addr := netip.MustParseAddr("fe80::99")
	n.engine.InterfaceUp(w.now, InterfaceConfig{Index: index, Name: "source", LinkLocal: n.address, MTU: 1420, Kind: kind})
	say := func(enc *wire.Encoder) {
		octets += len(enc.Bytes())
		n.engine.Receive(w.now, index, netip.AddrPortFrom(addr, wire.Port), wire.Group(), enc.Bytes())
		n.drain()
		enc.Reset()
	}
	enc := wire.NewEncoder(1372)
	for i := range 2 {
		enc.Add(&wire.Hello{Seqno: uint16(i), Interval: 60000})
		enc.Add(&wire.IHU{RxCost: 96, Interval: 60000, Address: n.address})
		say(enc)
	}
	octets = 0
	for i := range size {
		u := wire.Update{Prefix: nodePrefix(i + 100), Interval: 60000, Seqno: 1, Metric: 10, RouterID: originA}
		if !enc.AddUpdate(&u) {
			say(enc)
			enc.AddUpdate(&u)
		}
	}
	say(enc)
	return octets
}

// A source sends its table in one burst: our peers have it within two seconds, and
// it took hardly more octets than the table has. "To beat" 8.
func TestBeat8_Burst(t *testing.T) {
	for _, v := range []struct {
		size  int
		most  time.Duration
		kinds []Kind
	}{{10000, time.Second, []Kind{Tunnel, Wired}}, {50000, 2 * time.Second, []Kind{Tunnel}}} {
		for _, kind := range v.kinds {
			w := newWorld(t, 1)
			a, b := w.add(), w.add()
			c := w.connect(kind, 5*time.Millisecond, a, b)
			w.run(10 * time.Second)
			sent := func() int { return int(a.engine.Interfaces()[0].BytesOut) }
			before := sent()
			table := w.burst(a, kind, v.size)
			took := w.await("the peer is full", v.most, func() bool { return len(b.fib) > v.size })
			w.run(2 * time.Second)
			t.Logf("%v, %d routes: peer full after %v, %.2f times the table, %.2f octets a route, %d packets",
				kind, v.size, took, float64(sent()-before)/float64(table), float64(sent()-before)/float64(v.size), c.count)
			if got := sent() - before; float64(got) > 1.1*float64(table) {
				t.Errorf("%v, %d routes: %d octets for a table of %d", kind, v.size, got, table)
			}
		}
	}
}

// The same over a peer that loses a tenth of the packets: nothing is missing, and
// nothing waits for the periodic dump.
func TestBurst_NothingIsLostForGood(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	c := w.connect(Tunnel, 50*time.Millisecond, a, b)
	w.run(10 * time.Second)
	c.loss = 0.1
	w.burst(a, Tunnel, 20000)
	t.Log("full after", w.await("the peer is full", 30*time.Second, func() bool { return len(b.fib) > 20000 }))
	if l := a.engine.link(1); len(l.jobs) > 1 {
		t.Errorf("%d jobs left", len(l.jobs))
	}
}

// A peer that says nothing stops what is not urgent, and nothing is forgotten.
func TestBackPressure(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	c := w.connect(Tunnel, 5*time.Millisecond, a, b)
	w.run(10 * time.Second)
	c.isCut = true
	sent := c.count
	w.burst(a, Tunnel, 50000)
	w.run(2 * time.Second)
	if n := c.count - sent; n > 4*windowMax {
		t.Errorf("%d packets into the void", n)
	}
	c.isCut = false
	t.Log("full after", w.await("the peer is full", 10*time.Second, func() bool { return len(b.fib) > 50000 }))
}

// Retractions, Hellos, IHUs and Acks overtake a dump that is on its way.
func TestC012_UrgentOvertakesADump(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.add(), w.add(), w.add()
	w.connect(Tunnel, 5*time.Millisecond, a, b)
	other := w.connect(Tunnel, 5*time.Millisecond, a, c)
	w.run(10 * time.Second)
	w.burst(a, Tunnel, 50000)
	w.run(300 * time.Millisecond)
	if n := len(b.fib); n > 30000 {
		t.Fatalf("%d routes already: there is no dump to overtake", n)
	}
	k := keyOf(c.prefix, nowhere)
	if b.fib[k].NextHop != a.address {
		t.Fatal("no route to lose")
	}
	w.remove(other)
	took := w.await("the retraction arrives", 200*time.Millisecond, func() bool { return b.fib[k].NextHop != a.address })
	t.Log("retracted after", took, "with", len(b.fib), "of 50000 told")
}

// All of it goes within two seconds as well. "To beat" 3.
func TestBeat3_RetractAll(t *testing.T) {
	for _, kind := range []Kind{Wired} {
		w := newWorld(t, 1)
		a, b := w.add(), w.add()
		w.connect(kind, 5*time.Millisecond, a, b)
		w.run(10 * time.Second)
		w.burst(a, kind, 50000)
		w.await("the peer is full", 3*time.Second, func() bool { return len(b.fib) > 50000 })
		a.engine.InterfaceDown(w.now, 99)
		a.drain()
		took := w.await("all is retracted", 2*time.Second, func() bool {
			n := 0
			for _, r := range b.fib {
				if !r.Unreachable {
					n++
				}
			}
			return n == 1
		})
		held := w.await("and forgotten", 4*time.Second, func() bool { return len(b.fib) == 1 && len(a.fib) == 1 })
		t.Log(kind, "retracted after", took, "forgotten after", took+held)
	}
}
