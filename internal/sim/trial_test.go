package sim

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"re6st/babel"
)

// Everything against many small networks: storms of all faults, then rests in
// which sources are forgotten, and single changes between them.
func TestStorms(t *testing.T) {
	t.Parallel()
	for _, f := range []Faults{AllFaults, LinkFaults} {
		for seed := range count(24, 6, 400) {
			tryTrial(t, Trial{Seed: uint64(seed) + 1, Faults: f, Changes: 2})
		}
	}
}

// A clock steps by a quarter of an hour: the router forgets its neighbour, and the
// neighbour notices nothing. What changes elsewhere in the same seconds is more
// than the router remembers to have been told, and two prefixes were missing until
// the next dump, three minutes later.
func TestClockStepAmongNews(t *testing.T) {
	t.Parallel()
	tryTrial(t, Trial{
		Seed: 207, Topology: "line", Kind: "tunnel", Nodes: 14, Degree: 6, Storm: 3 * time.Minute, Changes: 4, Faults: AllFaults,
	})
}

func tryTrial(t *testing.T, trial Trial) Result {
	t.Helper()
	r, err := trial.Run()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failures) > 0 {
		t.Errorf("%s\n\t%s", r.Trial.Command(), strings.Join(r.Failures[:min(len(r.Failures), 5)], "\n\t"))
	}
	return r
}

// The same seed gives the same trace, on any number of processors.
func TestSameSeedSameTrace(t *testing.T) {
	trial := Trial{Seed: 5, Topology: "random", Kind: "mixed", Nodes: 24, Degree: 6, Storm: time.Minute, Changes: 1}
	first := tryTrial(t, trial)
	trial.Workers = 4
	for _, procs := range []int{1, 2, 8} {
		was := runtime.GOMAXPROCS(procs)
		again := tryTrial(t, trial)
		runtime.GOMAXPROCS(was)
		if again.Hash != first.Hash || again.Packets != first.Packets {
			t.Errorf("%d processors: hash %016x of %d packets, then %016x of %d",
				procs, first.Hash, first.Packets, again.Hash, again.Packets)
		}
	}
	trial.Seed++
	if other := tryTrial(t, trial); other.Hash == first.Hash {
		t.Errorf("another seed has the same hash %016x", other.Hash)
	}
}

// The positive controls: an engine with a fault is noticed, and by the oracle
// that is there for it.
func TestPlantedFault(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  babel.Fault
		notice string
	}{
		{babel.FaultFeasibility, "loop for"},
		{babel.FaultRetraction, "not connected within"},
		{babel.FaultSeqno, "not connected within"},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			noticed, told := 0, ""
			const seeds = 6
			for seed := range uint64(seeds) {
				trial := Trial{Seed: seed, Topology: "random", Nodes: 10, Degree: 3, Faults: LinkFaults, Changes: 3, Planted: c.fault}
				r, err := trial.Run()
				if err != nil {
					t.Fatal(err)
				}
				for _, what := range r.Failures {
					if strings.Contains(what, c.notice) {
						noticed++
						told = what
						break
					}
				}
			}
			t.Logf("noticed in %d of %d networks: %s", noticed, seeds, told)
			if noticed == 0 {
				t.Error("planted, and not noticed")
			}
		})
	}
}

// Source-specific routes from two gateways and a plain default route: packets
// take the most specific that is there, and never go round, whatever links are
// lost. Not so when a router restarts that others still send to: it has forgotten
// that a prefix was there, and uses the default route. Where that matters the
// forwarding table has an unreachable route for the whole network.
func TestSourceSpecificStorms(t *testing.T) {
	t.Parallel()
	for seed := range count(8, 2, 200) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w := New(Config{Seed: uint64(seed)})
			n := Random(w, 10, 4, Tunnels)
			for i, o := range gatewayOrigins() {
				n[i%3].Announce(o)
			}
			await(t, w, "all reach", 20*time.Second, w.AllReach)
			// Not both at a time: a slow kernel takes the prefix out at once here, and
			// the engine's unreachable route later.
			faults := LinkFaults | WithdrawPrefixes
			if seed%2 == 1 {
				faults = LinkFaults | SlowFIBs
			}
			w.Storm(2*time.Minute, 3*time.Second, faults)
			await(t, w, "all reach after the storm", 3*hello+17*time.Second, w.AllReach)
			w.Run(time.Hour)
			if s := w.Unreached(); s != "" {
				t.Error(s)
			}
			noViolations(t, w)
		})
	}
}
