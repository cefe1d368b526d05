package sim

import (
	"syscall"
	"testing"
	"time"
)

// diamond is A, B, C, D: two ways from A to D, by B and by C, with these round
// trips on each link.
func diamond(w *World, b, c time.Duration, f func(*LinkConfig)) []*Node {
	return Diamond(w, 4, LinkMaker(func(_ *World, x, y int) LinkConfig {
		if x == 1 || y == 1 {
			return Tunnel(b / 2)
		}
		return Tunnel(c / 2)
	}).With(f))
}

func plain(*LinkConfig) {}

func TestA1_LowestLatencyPath(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for seed := range count(10, 3, 200) {
		w := New(Config{Seed: uint64(seed)})
		n := diamond(w, 20*ms, 60*ms, plain)
		to := PrefixOf(3)
		w.Run(time.Minute)
		if w.NextHop(n[0], to) != 1 {
			t.Fatalf("A sends to node %d, want B", w.NextHop(n[0], to))
		}
		for _, l := range w.Links()[:2] {
			l.Set(Path{Latency: 100 * ms})
		}
		took := await(t, w, "A turns to C", 30*time.Second, func() bool { return w.NextHop(n[0], to) == 2 })
		for _, l := range w.Links() {
			p := l.Path(0, 1)
			p.Jitter = 5 * ms // each way: the round trip varies by 10 ms
			l.Set(p)
		}
		w.Run(time.Minute)
		changes := 0
		w.OnRoute(func(r RouteChange) {
			if r.Node == 0 && r.Prefix == to {
				changes++
			}
		})
		w.Run(10 * time.Minute)
		if changes > 1 {
			t.Errorf("seed %d: %d route changes in 10 minutes of jitter", seed, changes)
		}
		if seed == 0 {
			t.Logf("turned to C after %v; %d route changes in 10 minutes of jitter", took, changes)
		}
		noViolations(t, w)
	}
}

// Ten per cent of loss on the faster way, whose links carry traffic: their Hellos
// come every 300 ms.
func TestA2_AvoidsLossyLinks(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	var left, back durations
	for seed := range count(10, 3, 200) {
		w := New(Config{Seed: uint64(seed)})
		n := diamond(w, 20*ms, 22*ms, func(c *LinkConfig) { c.Interface.HelloInterval = 300 * ms })
		to := PrefixOf(3)
		await(t, w, "B at first", time.Minute, func() bool { return w.NextHop(n[0], to) == 1 })
		w.Run(time.Minute)
		set := func(loss float64) {
			for _, l := range w.Links()[:2] {
				p := l.Path(0, 1)
				p.Loss = loss
				l.Set(p)
			}
		}
		set(0.1)
		left = append(left, await(t, w, "the lossy way is left", time.Minute, func() bool { return w.NextHop(n[0], to) == 2 }))
		w.Run(2 * time.Minute)
		set(0)
		back = append(back, await(t, w, "and taken again", 2*time.Minute, func() bool { return w.NextHop(n[0], to) == 1 }))

		// A slow link carries no transit while there is another, and does when there
		// is none.
		n[0].SetExtraCost(w.Link(0), 1000)
		await(t, w, "not by the slow one", time.Minute, func() bool { return w.NextHop(n[0], to) == 2 })
		w.Link(2).Remove()
		await(t, w, "by the slow one", 30*time.Second, func() bool { return w.NextHop(n[0], to) == 1 && w.AllReach() })
		noViolations(t, w)
	}
	t.Logf("left after %v at most, back after %v", left.quantile(1), back.quantile(1))
}

// The steady control traffic of a mesh, and what a dead node leaves.
//
//re6st:reduced 60 of 200 nodes; full in make soak
func TestA3_ControlTraffic(t *testing.T) {
	t.Parallel()
	size := count(60, 24, 200)
	w := New(Config{Seed: 3, Workers: 2})
	Random(w, size, 20, Measured(excerpt(t)))
	await(t, w, "all reach", 20*time.Second, w.AllReach)
	w.Run(3 * time.Minute)
	before := w.Total().Bytes
	const window = 10 * time.Minute
	w.Run(window)
	perTunnel := float64(w.Total().Bytes-before) / window.Seconds() / float64(len(w.links)) / 2
	// The whole table every second: a prefix, a router-id and what belongs to them.
	table := float64(size * 24)
	t.Logf("%d nodes, %d tunnels: %.1f octets a second and direction of a tunnel, the table every second is %.0f", size, len(w.links), perTunnel, table)
	if perTunnel > table/10 {
		t.Errorf("more than a tenth")
	}
	dead := w.Node(w.rand.IntN(size))
	dead.Kill()
	took := await(t, w, "no route points to the dead node", 15*time.Second, func() bool { return !w.PointsTo(dead) })
	t.Logf("no route points to a dead node after %v", took)
	noViolations(t, w)
}

// An hour of 490 nodes on measured latencies, twice.
//
//re6st:reduced 40 of 490 nodes; full in make soak
func TestA20_Simulator490NodesOneHour(t *testing.T) {
	size, m := 40, Latencies(nil)
	if isSoak() {
		size, m = 490, measured(t, "planetlab490_rtt.csv")
	} else {
		m = excerpt(t)
	}
	var hashes [2]uint64
	for i := range hashes {
		begin := cpuTime(t)
		w := New(Config{Seed: 20, Workers: i + 1})
		Random(w, size, 20, Measured(m))
		w.Run(time.Duration(count(60, 10, 60)) * time.Minute)
		hashes[i] = w.Hash()
		s := w.Stretch()
		t.Logf("%d nodes, %v: %v of CPU (asked for: 60 s), %d packets, stretch %.3f in the mean, %.2f at most",
			size, w.Now(), cpuTime(t)-begin, w.Total().Packets, s.Mean, s.Worst)
		if !w.AllReach() {
			t.Error(w.Unreached())
		}
		noViolations(t, w)
	}
	if hashes[0] != hashes[1] {
		t.Errorf("hashes %016x and %016x of one seed", hashes[0], hashes[1])
	}
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Nodes die at random phases of their Hellos; others live on lossy links.
func TestR1_FailureDetection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what     string
		interval time.Duration
		p99      time.Duration
	}{
		{"default", 0, hello * 7 / 2},
		{"fast", 200 * time.Millisecond, time.Second},
	} {
		// 200 pairs, each a network of its own.
		w := New(Config{Seed: 1})
		m := LinkMaker(Tunnels).With(func(l *LinkConfig) { l.Interface.HelloInterval = c.interval })
		const pairs = 200
		for range pairs {
			w.join(m, w.Add(), w.Add())
		}
		w.Run(2 * time.Minute)
		died, back := make(durations, pairs), make(durations, pairs)
		var found, alive durations
		w.OnRoute(func(r RouteChange) {
			i := r.Node / 2
			switch {
			case r.Node%2 != 0 || r.Prefix != PrefixOf(2*i+1):
			case r.Was >= 0 && r.Is < 0 && died[i] > 0 && back[i] == 0:
				found = append(found, r.At-died[i])
			case r.Is >= 0 && back[i] > 0:
				alive = append(alive, r.At-back[i])
			}
		})
		for i := range pairs {
			at := w.someTime(10 * hello)
			w.After(at, func() { died[i] = w.Now(); w.Node(2*i + 1).Kill() })
			w.After(at+time.Minute, func() { back[i] = w.Now(); w.Node(2*i + 1).Start() })
		}
		w.Run(3 * time.Minute)
		if len(found) != pairs || len(alive) != pairs {
			t.Fatalf("%s: %d deaths and %d returns noticed of %d", c.what, len(found), len(alive), pairs)
		}
		interval := max(c.interval, hello*time.Duration(b2i(c.interval == 0)))
		t.Logf("%s: dead after %v (p50), %v (p99); alive again after %v at most", c.what, found.quantile(0.5), found.quantile(0.99), alive.quantile(1))
		if p := found.quantile(0.99); p > c.p99 {
			t.Errorf("%s: p99 is %v, want %v", c.what, p, c.p99)
		}
		if p := alive.quantile(1); p > 2*max(interval, time.Second) {
			t.Errorf("%s: alive again after %v, want two intervals", c.what, p)
		}
	}
	w := New(Config{Seed: 2})
	m := LinkMaker(Tunnels).With(func(l *LinkConfig) { l.Loss = 0.05 })
	for range count(100, 20, 400) {
		w.join(m, w.Add(), w.Add())
	}
	w.Run(10 * time.Second) // a link of a second's age may be lost again
	before := w.Total().Downs
	w.Run(time.Hour)
	if n := w.Total().Downs - before; n > 0 {
		t.Errorf("%d false deaths of %d links in an hour at 5 %% loss", n, len(w.links))
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Reliability, section 3.2: a silent cut with a feasible alternative, and one
// that needs a newer seqno.
func TestSilentCut(t *testing.T) {
	t.Parallel()
	seeds := count(40, 8, 1000)
	var feasible, seqno durations
	for seed := range seeds {
		w := New(Config{Seed: uint64(seed)})
		n := diamond(w, 20*time.Millisecond, 30*time.Millisecond, plain)
		w.Run(2*time.Minute + w.someTime(hello))
		w.Link(0).Cut(true) // A-B: C's metric to D is below A's
		most := hello*5/2 + 2*200*time.Millisecond + 500*time.Millisecond
		feasible = append(feasible, await(t, w, "by C", most, func() bool { return w.Reaches(n[0], PrefixOf(3)) }))
		noViolations(t, w)

		w = New(Config{Seed: uint64(seed)})
		Ring(w, 6, Tunnels)
		w.Run(2*time.Minute + w.someTime(hello))
		w.Link(w.rand.IntN(6)).Cut(true)
		most = hello*5/2 + 5*200*time.Millisecond + 500*time.Millisecond
		seqno = append(seqno, await(t, w, "the long way round", most+14*time.Second, w.AllReach))
		noViolations(t, w)
	}
	usual := hello*5/2 + 5*200*time.Millisecond + 2500*time.Millisecond
	t.Logf("feasible alternative: %v at most; newer seqno: %v (p95), %v at most", feasible.quantile(1), seqno.quantile(0.95), seqno.quantile(1))
	if share := seqno.within(usual); share < 0.95 {
		t.Errorf("%.0f %% within %v only", 100*share, usual)
	}
}
