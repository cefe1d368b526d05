package main

import (
	"fmt"
	"runtime"
	"syscall"
	"time"

	"re6st/internal/sim"
)

// scale converges one large network from nothing and says what that costs. The
// time is that of this machine; nothing is asserted.
func scale(t sim.Trial) error {
	t = t.Filled()
	begin := time.Now()
	w := sim.New(sim.Config{Seed: t.Seed, Workers: t.Workers, Fault: t.Planted})
	if err := t.Build(w); err != nil {
		return err
	}
	var peak uint64
	var stats runtime.MemStats
	for !w.AllReach() && w.Now() < 10*time.Minute {
		w.Run(250 * time.Millisecond)
		runtime.ReadMemStats(&stats)
		peak = max(peak, stats.HeapInuse)
	}
	took := time.Since(begin)
	routes := 0
	for _, n := range w.Nodes() {
		routes += n.Engine().Sizes().Routes
	}
	runtime.GC()
	runtime.ReadMemStats(&stats)
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return fmt.Errorf("reading resource usage: %w", err)
	}
	s := w.Stretch()
	fmt.Printf("%d nodes, %d links: connected after %v of virtual time\n", len(w.Nodes()), len(w.Links()), w.Now())
	fmt.Printf("%.1f s real, %.1f s CPU, %d workers\n", took.Seconds(),
		time.Duration(usage.Utime.Nano()+usage.Stime.Nano()).Seconds(), t.Workers)
	fmt.Printf("heap at most %.0f MiB, largest resident size %.0f MiB\n", float64(peak)/(1<<20), float64(usage.Maxrss)/(1<<10))
	fmt.Printf("%d route entries, %.0f live octets each\n", routes, float64(stats.HeapAlloc)/float64(max(routes, 1)))
	fmt.Printf("%d violations, stretch %.2f at most, %.3f in the mean, hash %016x\n",
		len(w.Violations()), s.Worst, s.Mean, w.Hash())
	return nil
}
