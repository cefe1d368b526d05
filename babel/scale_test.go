package babel

import (
	"fmt"
	"hash/fnv"
	"testing"
	"time"
)

// A source with 10,000 prefixes appears: learned within a second, the next node
// full 2 s later, at most 1.1 times the table's bytes on each link (baselines 8).
func TestBurst_TenThousandRoutes(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.add(), w.add(), w.add()
	const size = 10000
	for i := range size {
		a.engine.Originate(w.now, nodePrefix(i+100), nowhere, 0)
	}
	ab := w.connect(Tunnel, 5*time.Millisecond, a, b)
	bc := w.connect(Tunnel, 5*time.Millisecond, b, c)
	learned := w.await("b knows all", time.Second, func() bool { return len(b.fib) >= size+2 })
	passed := w.await("c knows all", 2*time.Second, func() bool { return len(c.fib) >= size+2 })
	t.Log("b after", learned, "c after", learned+passed)
	w.run(10 * time.Second)
	for _, cable := range []*cable{ab, bc} {
		// Both directions, acknowledgments and Hellos included.
		if cable.count > 2*110+100 {
			t.Errorf("%d packets", cable.count)
		}
	}
	if got, most := w.bytes, 2*size*14*11/10; got > most {
		t.Errorf("%d octets, want at most %d", got, most)
	}
	if n := len(b.engine.sortedEntries()); n != size+3 {
		t.Errorf("%d entries", n)
	}

	// And it goes: retracted everywhere within two seconds, and forgotten.
	w.remove(ab)
	gone := w.await("all retracted", 2*time.Second, func() bool {
		for _, r := range c.fib {
			if !r.Unreachable && r.Prefix != b.prefix {
				return false
			}
		}
		return true
	})
	t.Log("retracted after", gone)
	w.run(40 * time.Minute)
	if n := c.engine.entries.count + b.engine.entries.count; n != 4 || len(c.fib) != 1 {
		t.Errorf("%d entries left, %d routes", n, len(c.fib))
	}
}

// The same seed gives the same trace.
func TestDeterminism(t *testing.T) {
	run := func() string {
		w := newWorld(t, 42)
		h := fnv.New64a()
		w.trace = func(format string, args ...any) { _, _ = fmt.Fprintf(h, format, args...) }
		randomMesh(w, 8, 6, always(Tunnel))
		w.storm(time.Minute, 0.2)
		return fmt.Sprintf("%x %d %d", h.Sum64(), w.packets, w.bytes)
	}
	if a, b := run(), run(); a != b {
		t.Errorf("%s and %s", a, b)
	}
}

// Sizes return to the baseline: nothing that came stays.
func TestNoGrowth(t *testing.T) {
	w := newWorld(t, 9)
	randomMesh(w, 6, 4, always(Tunnel))
	w.storm(5*time.Minute, 0.3)
	for _, c := range w.cables {
		c.isCut, c.loss = false, 0
	}
	w.run(45 * time.Minute)
	w.await("no dump is on its way", time.Minute, func() bool {
		for _, n := range w.nodes {
			if x := n.engine.Sizes(); x.Flights+x.Queued > 0 {
				return false
			}
		}
		return true
	})
	for _, n := range w.nodes {
		e := n.engine
		timers := len(e.timers)
		flights, requests, jobs := 0, 0, 0
		for _, l := range e.links {
			flights += len(l.flights)
			jobs += len(l.jobs) + len(l.dirty[urgentNews]) + len(l.dirty[news])
		}
		for p := range e.entries.each() {
			requests += len(p.requests())
		}
		if e.entries.count != 6 || flights+requests+jobs > 0 || timers > 6+len(e.links)*2 {
			t.Errorf("node %d: %d entries, %d flights, %d requests, %d jobs, %d timers", n.index, e.entries.count, flights, requests, jobs, timers)
		}
	}
}

// What an idle tunnel costs.
func TestIdleTunnelTraffic(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	w.connect(Tunnel, 5*time.Millisecond, a, b)
	w.run(time.Minute)
	before := w.bytes
	w.run(10 * time.Minute)
	perSecond := float64(w.bytes-before) / 600 / 2
	t.Logf("%.1f octets/s each way", perSecond)
	if perSecond > 21 {
		t.Error("more than babeld")
	}
}
