package babel

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var seeds = flag.Uint64("seeds", 8, "random networks to try of each kind")

// randomMesh is a connected graph: a random tree and some more edges.
func randomMesh(w *world, size, extra int, kind func() Kind) {
	for range size {
		n := w.add()
		if n.index > 0 {
			w.connect(kind(), w.someDelay(), n, w.nodes[w.rand.IntN(n.index)])
		}
	}
	for range extra {
		a, b := w.nodes[w.rand.IntN(size)], w.nodes[w.rand.IntN(size)]
		if a != b {
			w.connect(kind(), w.someDelay(), a, b)
		}
	}
}

func (w *world) someDelay() time.Duration {
	return time.Duration(1+w.rand.IntN(20)) * time.Millisecond
}

func always(k Kind) func() Kind { return func() Kind { return k } }

// Loss, reordering, duplicates, flaps of links, timers that are all different; no loop at any instant; afterwards every
// node has the shortest path to every other.
func TestC062_NoLoopsAndShortestPaths(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel} {
		for seed := range *seeds {
			t.Run(fmt.Sprintf("%v/seed=%d", kind, seed), func(t *testing.T) {
				w := newWorld(t, seed)
				randomMesh(w, 8, 6, always(kind))
				w.storm(3*time.Minute, 0.2)
				for _, c := range w.cables {
					c.isCut, c.loss = false, 0
				}
				w.run(6 * time.Minute) // a periodic dump tells what was no news
				if !w.allReach() {
					t.Error("not every pair is connected after healing")
				}
				slack := 0.0
				if kind == Tunnel {
					slack = 0.2 // what is not worth telling adds up
				}
				w.checkShortest(slack)
			})
		}
	}
}

// storm breaks and heals links at random, and changes what they do to packets and
// how often their ends speak.
func (w *world) storm(d time.Duration, loss float64) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.run(time.Duration(w.rand.IntN(4000)) * time.Millisecond)
		c := w.cables[w.rand.IntN(len(w.cables))]
		c.isCut = w.rand.IntN(2) == 0
		c.loss = w.rand.Float64() * loss
		c.delay = w.someDelay()
		c.shuffle = time.Duration(w.rand.IntN(80)) * time.Millisecond
		for _, e := range c.ends {
			hello := time.Duration(200+w.rand.IntN(5000)) * time.Millisecond
			e.n.engine.SetIntervals(w.now, e.index, hello, time.Duration(4+w.rand.IntN(40))*hello)
			e.n.drain()
		}
	}
}

// The checks above would be worth nothing if they did not notice a router that
// believes everything.
func TestC062_PlantedFault_LoopsAreNoticed(t *testing.T) {
	loops := 0
	for seed := range uint64(8) {
		w := newWorld(t, seed)
		w.isQuiet = true
		randomMesh(w, 8, 6, always(Wired))
		for _, n := range w.nodes {
			n.engine.Fault = FaultFeasibility
		}
		w.storm(3*time.Minute, 0.2)
		loops += w.loops
	}
	if loops == 0 {
		t.Error("every route was feasible, and no loop was seen")
	}
}

// A shared link: everyone hears everyone, nobody is silenced by split horizon.
func TestSharedSegment(t *testing.T) {
	w := newWorld(t, 3)
	n := []*node{w.add(), w.add(), w.add(), w.add(), w.add()}
	w.connect(Wired, time.Millisecond, n[0], n[1], n[2], n[3])
	w.connect(Wired, time.Millisecond, n[3], n[4])
	t.Log("all pairs after", w.await("all pairs", 10*time.Second, w.allReach))
	w.run(time.Minute)
	w.checkShortest(0)
	n[3].engine.Stop(w.now)
	n[3].drain()
	w.await("the one behind it is lost", time.Second, func() bool { return !w.reaches(n[0], n[4]) && w.reaches(n[0], n[2]) })
}

// Twenty nodes that all start at once, with ten tunnels each.
func TestMesh_TwentyNodes(t *testing.T) {
	w := newWorld(t, 20)
	randomMesh(w, 20, 80, always(Tunnel))
	t.Log("all pairs after", w.await("all pairs", 5*time.Second, w.allReach))
	w.run(5 * time.Minute)
	w.checkShortest(0.2)
	before := w.bytes
	w.run(10 * time.Minute)
	t.Logf("at rest %.0f octets/s a node", float64(w.bytes-before)/600/20)
}

// Eight of twenty die without a word: 2.5 Hello intervals, and what it takes to
// find the other ways (reliability, section 3.2), seqno requests included.
func TestMesh_EightOfTwentyDie(t *testing.T) {
	var longest time.Duration
	for seed := range *seeds {
		w := newWorld(t, seed)
		randomMesh(w, 20, 80, always(Tunnel))
		w.run(2 * time.Minute)
		for _, n := range w.nodes[:8] {
			n.kill()
		}
		longest = max(longest, w.await("the survivors reach each other", 13*time.Second, w.allReach))
	}
	t.Log("longest", longest)
}
