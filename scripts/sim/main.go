// Command sim runs many networks of Babel engines in virtual time, each through
// a storm of faults that its seed decides, and prints what came out. A seed that
// fails is printed as the command that repeats it with a trace.
//
//	go run ./scripts/sim                      300 seeds, everything random
//	go run ./scripts/sim -seed 17 -trace      one of them, told in full
//	go run ./scripts/sim -nodes 1000 -degree 10 -topology random -converge
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"

	"re6st/internal/sim"
)

func main() {
	ok, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func run() (ok bool, err error) {
	var t sim.Trial
	seeds := flag.Int("seeds", 300, "how many, from -seed or 1 on; 1 if -seed is given")
	flag.Uint64Var(&t.Seed, "seed", 1, "the first seed")
	flag.StringVar(&t.Topology, "topology", "", fmt.Sprintf("one of %v; empty: the seed decides", sim.Topologies))
	flag.StringVar(&t.Kind, "kind", "", fmt.Sprintf("of the links, one of %v; empty: the seed decides", sim.Kinds))
	flag.IntVar(&t.Nodes, "nodes", 0, "how many; 0: the seed decides")
	flag.IntVar(&t.Degree, "degree", 0, "links of a node, or nodes of a segment; 0: the seed decides")
	flag.DurationVar(&t.Hello, "hello", 0, "Hello interval; 0: the default")
	flag.DurationVar(&t.Storm, "storm", 0, "how long; 0: three minutes")
	flag.IntVar(&t.Changes, "changes", 0, "single changes after the storm, with rests between; 0: four")
	faults := flag.String("faults", "all", "which, by commas: "+sim.AllFaults.String()+"; or all, or links")
	plant := flag.String("plant", "none", "a fault in every engine: feasibility, retraction, seqno")
	isTraced := flag.Bool("trace", false, "tell everything")
	isVerbose := flag.Bool("v", false, "a line for every seed")
	workers := flag.Int("workers", runtime.NumCPU(), "processors")
	isScale := flag.Bool("converge", false, "only converge from nothing, and say what that costs")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	flag.Parse()
	if *profile != "" {
		stop, err := startProfile(*profile)
		if err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	if t.Faults, err = sim.ParseFaults(*faults); err != nil {
		return false, err
	}
	if t.Planted, err = planted(*plant); err != nil {
		return false, err
	}
	if isSet("seed") && !isSet("seeds") {
		*seeds = 1
	}
	if *isScale {
		t.Workers = *workers
		return true, scale(t)
	}
	if *isTraced {
		out := bufio.NewWriterSize(os.Stdout, 1<<16)
		defer func() { err = out.Flush() }()
		t.Trace = out
		*isVerbose = true
	}
	return many(t, *seeds, *workers, *isVerbose)
}

func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// many runs one seed after another, on several processors: each is a world of
// its own.
func many(t sim.Trial, seeds, workers int, isVerbose bool) (bool, error) {
	results := make([]sim.Result, seeds)
	errs := make([]error, seeds)
	next := make(chan int)
	var done sync.WaitGroup
	for range min(workers, seeds) {
		done.Go(func() {
			for i := range next {
				t := t
				t.Seed += uint64(i)
				results[i], errs[i] = t.Run()
			}
		})
	}
	begin := time.Now()
	for i := range seeds {
		next <- i
	}
	close(next)
	done.Wait()
	for _, err := range errs {
		if err != nil {
			return false, err
		}
	}
	return report(results, isVerbose, time.Since(begin)), nil
}

func startProfile(name string) (stop func() error, err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("creating the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, fmt.Errorf("starting the profile: %w", err)
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}
