package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"re6st/babel"
	"re6st/internal/sim"
)

func planted(name string) (babel.Fault, error) {
	for f := babel.FaultNone; f <= babel.FaultSeqno; f++ {
		if f.String() == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("no fault %q to plant", name)
}

// group is a row of the table.
type group struct {
	name                    string
	runs, failed, packets   int
	restartLoops            int
	virtual                 time.Duration
	converge, heal, longest []time.Duration
	stretch                 float64
}

func (g *group) add(r sim.Result) {
	g.runs++
	if len(r.Failures) > 0 {
		g.failed++
	}
	g.packets += r.Packets
	g.restartLoops += r.RestartLoops
	g.virtual += r.Virtual
	g.converge, g.heal, g.longest = append(g.converge, r.Converge), append(g.heal, r.Heal), append(g.longest, r.Longest)
	g.stretch = max(g.stretch, r.Stretch.Worst)
}

// report prints the table, then what failed.
func report(results []sim.Result, isVerbose bool, took time.Duration) bool {
	all := &group{name: "all"}
	groups := map[string]*group{}
	for _, r := range results {
		if isVerbose {
			fmt.Printf("seed %d: %s, %s, %d nodes, %d links, diameter %d: converged %v, healed %v, single changes %v, stretch %.2f, %v simulated, hash %016x\n",
				r.Trial.Seed, r.Trial.Topology, r.Trial.Kind, r.Trial.Nodes, r.Links, r.Diameter, r.Converge, r.Heal, r.Longest,
				r.Stretch.Worst, r.Virtual.Round(time.Second), r.Hash)
		}
		g := groups[r.Trial.Topology]
		if g == nil {
			g = &group{name: r.Trial.Topology}
			groups[r.Trial.Topology] = g
		}
		g.add(r)
		all.add(r)
	}
	fmt.Printf("%-10s %5s %6s %10s  %-19s %-19s %-19s %8s\n",
		"topology", "seeds", "failed", "virtual", "converged p50/max", "healed p50/max", "changed p50/max", "stretch")
	for _, name := range append(slices.Clone(sim.Topologies), "all") {
		g := groups[name]
		if name == "all" {
			g = all
		}
		if g != nil {
			fmt.Printf("%-10s %5d %6d %9.0fh  %-19s %-19s %-19s %8.2f\n", g.name, g.runs, g.failed, g.virtual.Hours(),
				spread(g.converge), spread(g.heal), spread(g.longest), g.stretch)
		}
	}
	fmt.Printf("%d packets, %.0f virtual hours in %.1f s; %d loops through routers that had just restarted, unnoticed\n",
		all.packets, all.virtual.Hours(), took.Seconds(), all.restartLoops)
	for _, r := range results {
		if len(r.Failures) == 0 {
			continue
		}
		fmt.Printf("FAILED: %s\n", r.Trial.Command())
		for _, what := range r.Failures[:min(len(r.Failures), 5)] {
			fmt.Println("   ", what)
		}
	}
	return all.failed == 0
}

func spread(all []time.Duration) string {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	return fmt.Sprintf("%.2f/%.2f s", all[len(all)/2].Seconds(), all[len(all)-1].Seconds())
}
