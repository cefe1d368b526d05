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

// Loss, flaps and restarts of links; no loop at any instant; afterwards every
// node has the shortest path to every other.
func TestSection2_4_NoLoopsAndShortestPaths(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel} {
		for seed := range *seeds {
			t.Run(fmt.Sprintf("%v/seed=%d", kind, seed), func(t *testing.T) {
				w := newWorld(t, seed)
				randomMesh(w, 8, 6, always(kind))
				w.storm(3*time.Minute, 0.2)
				for _, c := range w.cables {
					c.isCut, c.loss = false, 0
				}
				w.run(3 * time.Minute)
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

// storm breaks and heals links at random.
func (w *world) storm(d time.Duration, loss float64) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.run(time.Duration(w.rand.IntN(4000)) * time.Millisecond)
		c := w.cables[w.rand.IntN(len(w.cables))]
		c.isCut = w.rand.IntN(2) == 0
		c.loss = w.rand.Float64() * loss
		c.delay = w.someDelay()
	}
}

// The checks above would be worth nothing if they did not notice a router that
// believes everything.
func TestPlantedFault_LoopsAreNoticed(t *testing.T) {
	loops := 0
	for seed := range uint64(8) {
		w := newWorld(t, seed)
		w.isQuiet = true
		randomMesh(w, 8, 6, always(Wired))
		for _, n := range w.nodes {
			n.engine.isGullible = true
		}
		w.storm(3*time.Minute, 0.2)
		loops += w.loops
	}
	if loops == 0 {
		t.Error("every route was feasible, and no loop was seen")
	}
}
