package sim

import (
	"testing"
	"time"
)

// A link dies in one direction: both ends stop using it, within the time that
// the Hello interval gives, and nothing is lost afterwards.
//
//re6st:reduced 24 of 1000 cuts; full in make soak
func TestF10_OneWayCut(t *testing.T) {
	t.Parallel()
	for _, m := range []LinkMaker{Tunnels, Wires} {
		var deaf, other durations
		for seed := range count(12, 4, 500) {
			w := New(Config{Seed: uint64(seed)})
			Ring(w, 6, m)
			w.Run(2*time.Minute + w.someTime(hello))
			l := w.Link(w.rand.IntN(6))
			a, b := l.Ends()[0], l.Ends()[1]
			l.CutOneWay(0, 1, true)
			begin := w.Now()
			// The side that hears nothing, then the one that is told so.
			most := hello*5/2 + 500*time.Millisecond
			await(t, w, "the deaf side", most, func() bool { return !b.Uses(l) })
			deaf = append(deaf, w.Now()-begin)
			await(t, w, "the other side", most-(w.Now()-begin)+500*time.Millisecond, func() bool { return !a.Uses(l) })
			other = append(other, w.Now()-begin)
			await(t, w, "all reach", 16*time.Second, w.AllReach)
			w.Run(2 * time.Minute)
			if s := w.Unreached(); s != "" {
				t.Error("black hole:", s)
			}
			noViolations(t, w)
		}
		t.Logf("deaf side at most %v, other side at most %v; 2.5 H is %v", deaf.quantile(1), other.quantile(1), hello*5/2)
	}
}

// Uniform loss on every link: up to 20 % routes hardly change, and at 40 % nodes
// still reach each other.
//
//re6st:reduced 20 of 60 minutes, one network; full in make soak
func TestF11_Loss(t *testing.T) {
	t.Parallel()
	minutes := count(20, 6, 60)
	for _, loss := range []float64{0.01, 0.05, 0.2, 0.4} {
		w := New(Config{Seed: 11})
		Random(w, 12, 5, LinkMaker(Tunnels).With(func(c *LinkConfig) { c.Loss = loss }))
		w.Run(5 * time.Minute)
		turns := w.countTurns()
		up := 0
		for range minutes * 6 {
			w.Run(10 * time.Second)
			if w.AllReach() {
				up++
			}
		}
		most, mean := turns.perMinute(w, minutes)
		t.Logf("loss %.0f %%: %.2f route changes a minute and prefix at most, %.3f in the mean; %d links lost; all reach in %d of %d looks",
			loss*100, most, mean, w.Total().Downs, up, minutes*6)
		if loss <= 0.2 && (mean > 1 || up < minutes*6) {
			t.Errorf("loss %.0f %%: %.2f route changes a minute and prefix, all reach in %d of %d looks", loss*100, mean, up, minutes*6)
		}
		if up < minutes*6*9/10 {
			t.Errorf("loss %.0f %%: all reach in %d of %d looks only", loss*100, up, minutes*6)
		}
		noViolations(t, w)
	}
}

// Stationary delay, jitter, reordering and duplicates: paths stay, and no link is
// taken for dead.
//
//re6st:reduced 30 of 600 minutes; full in make soak
func TestF12_DelayJitterReorderDuplicate(t *testing.T) {
	t.Parallel()
	w := New(Config{Seed: 12})
	Random(w, 12, 5, func(w *World, _, _ int) LinkConfig {
		c := Tunnel(time.Millisecond + w.someTime(149*time.Millisecond))
		c.Jitter, c.Reorder, c.Duplicate = 5*time.Millisecond, 0.25, 0.05
		return c
	})
	w.Run(10 * time.Minute)
	downs := w.Total().Downs
	minutes := count(30, 10, 600)
	turns := w.countTurns()
	w.Run(time.Duration(minutes) * time.Minute)
	most, mean := turns.perMinute(w, minutes)
	t.Logf("%.2f path changes in 10 minutes at most, %.3f in the mean", 10*most, 10*mean)
	if 10*mean > 1 {
		t.Errorf("%.2f path changes of a pair in 10 minutes", 10*mean)
	}
	if d := w.Total().Downs - downs; d > 0 {
		t.Errorf("%d links were taken for dead", d)
	}
	noViolations(t, w)
}

// turns counts changes of next hops by node and prefix.
type turns struct {
	by   map[[2]string]int
	most int
	all  int
}

func (w *World) countTurns() *turns {
	c := &turns{by: map[[2]string]int{}}
	w.OnRoute(func(r RouteChange) {
		k := [2]string{string(rune(r.Node)), r.Prefix.String()}
		c.by[k]++
		c.most = max(c.most, c.by[k])
		c.all++
	})
	return c
}

func (c *turns) perMinute(w *World, minutes int) (most, mean float64) {
	pairs := len(w.nodes) * (len(w.nodes) - 1)
	return float64(c.most) / float64(minutes), float64(c.all) / float64(pairs*minutes)
}

// Half of the network is cut off for a minute, an hour, in soak a day and an
// hour, and comes back. What the heal may cost is a multiple of what the network
// costs at rest with the RFC's intervals; with the rare updates of tunnels it
// costs a fraction of that.
//
//re6st:reduced 2 of 3 partitions; full in make soak
func TestF15_PartitionHeal(t *testing.T) {
	t.Parallel()
	times := []time.Duration{time.Minute, time.Hour}
	if isSoak() {
		times = append(times, 25*time.Hour)
	}
	const healTrafficMax = 3
	for _, d := range times {
		usual := healPartition(t, Wires, d)
		tunnels := healPartition(t, Tunnels, d)
		for _, h := range []heal{usual, tunnels} {
			t.Logf("after %v: healed in %v; octets a second of all nodes: steady %.0f, in the 30 s of the heal %.0f (%.1f times), then %.0f",
				d, h.took, h.steady, h.storm, h.storm/h.steady, h.later)
			if h.later > 1.2*h.steady {
				t.Errorf("control traffic stays at %.1f times", h.later/h.steady)
			}
			if h.storm > healTrafficMax*usual.steady {
				t.Errorf("control traffic at the heal is %.1f times the steady", h.storm/usual.steady)
			}
		}
	}
}

// heal is what a heal took and cost, in octets a second of all nodes.
type heal struct {
	took                 time.Duration
	steady, storm, later float64
}

func healPartition(t *testing.T, m LinkMaker, d time.Duration) heal {
	t.Helper()
	w := New(Config{Seed: 15})
	Random(w, 24, 8, m)
	w.Run(5 * time.Minute)
	rate := func(d time.Duration) float64 {
		before := w.Total().Bytes
		w.Run(d)
		return float64(w.Total().Bytes-before) / d.Seconds()
	}
	h := heal{steady: rate(20 * time.Minute)}
	isLeft := func(n *Node) bool { return n.Index%2 == 0 }
	w.Partition(isLeft, true)
	w.Run(d)
	if s := w.Unreached(); s != "" {
		t.Error("a half does not work:", s)
	}
	w.Partition(isLeft, false)
	begin, before := w.Now(), w.Total().Bytes
	h.took = await(t, w, "heal", 3*hello+5*time.Second, w.AllReach)
	w.Run(30*time.Second - (w.Now() - begin))
	h.storm = float64(w.Total().Bytes-before) / 30
	h.later = rate(20 * time.Minute)
	noViolations(t, w)
	return h
}

// The clock of one node jumps: nothing goes round, it is back in time, and does
// not make up for what it missed.
func TestF17_ClockSteps(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, by := range []time.Duration{time.Minute, 10 * time.Minute, 8 * time.Hour, day, 400 * day} {
		w := New(Config{Seed: 17})
		Random(w, 10, 4, Tunnels)
		w.Run(5 * time.Minute)
		n := w.Node(w.rand.IntN(10))
		before := n.Counters().Packets
		n.StepClock(by)
		w.Run(time.Second)
		sent := n.Counters().Packets - before
		took := await(t, w, "resume", 3*hello, w.AllReach)
		t.Logf("%v: %d packets in the first second over %d links, all reach after %v", by, sent, len(n.ports), took+time.Second)
		// Two of each kind to each neighbour: Hellos, updates, requests,
		// acknowledgments; and six probes where it looks dead.
		if most := 14 * len(n.ports); sent > most {
			t.Errorf("%v: %d packets in the first second, want %d", by, sent, most)
		}
		w.Run(time.Hour)
		if s := w.Unreached(); s != "" {
			t.Error(s)
		}
		noViolations(t, w)
	}
}
