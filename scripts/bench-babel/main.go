// Command bench-babel measures our Babel beside babeld and BIRD, all in one run
// and against the same neighbours: what a table costs to take in, to have in
// the kernel, to pass on, to keep and to retract; what is lost of a table that
// comes in a burst; how long the end of a link is felt. It needs root, babeld
// and bird, and leaves nothing behind.
//
//	make bench-babel
//	RE6ST_BIN=bin go run ./scripts/bench-babel -only cost -prefixes 10000 -json babel.json
//
// The machine's own speed is in every absolute figure; what to compare are the
// daemons of one run. Nothing is asserted but that the measurement worked.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// config says what to measure.
type config struct {
	daemons  []daemon
	prefixes []int
	rest     time.Duration
	rounds   int
	cuts     int
	hellos   []time.Duration
}

var parts = []struct {
	name    string
	measure func(config, *report)
}{
	{"cost", costs},
	{"idle", idles},
	{"burst", bursts},
	{"cut", cuts},
	{"loss", losses},
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "peer" {
		fmt.Fprintln(os.Stderr, "bench-babel:", runPeer(os.Args[2]))
		os.Exit(1)
	}
	os.Exit(lab.Main(run))
}

func run() int {
	var c config
	only := flag.String("only", "", "comma-separated parts of cost, idle, burst, cut, loss; all unless told")
	names := flag.String("daemons", "ours,babeld,bird", "comma-separated daemons to measure")
	sizes := flag.String("prefixes", "1000,10000,50000", "comma-separated sizes of tables")
	flag.DurationVar(&c.rest, "rest", 60*time.Second, "time over which a daemon at rest is measured")
	flag.IntVar(&c.rounds, "rounds", 3, "repetitions of the costs, the daemons in turn")
	flag.IntVar(&c.cuts, "cuts", 6, "how often each link is cut")
	hellos := flag.String("hellos", "4s,1s,200ms", "comma-separated Hello intervals with which links are cut")
	out := flag.String("json", "", "file to write the figures to, for machines")
	flag.Parse()
	if err := c.choose(*names, *sizes, *hellos); err != nil || flag.NArg() > 0 || c.rounds < 1 || c.cuts < 1 {
		fmt.Fprintln(os.Stderr, "bench-babel: want known daemons and sizes, at least one round and cut:", err)
		flag.Usage()
		return 2
	}
	r := &report{}
	for _, p := range parts {
		if *only == "" || slices.Contains(strings.Split(*only, ","), p.name) {
			fmt.Fprintf(os.Stderr, "bench-babel: %s ...\n", p.name)
			p.measure(c, r)
		}
	}
	r.markdown(os.Stdout)
	if *out != "" {
		if err := measure.WriteJSON(*out, r); err != nil {
			fmt.Fprintln(os.Stderr, "bench-babel:", err)
			return 1
		}
	}
	if r.Failed > 0 {
		fmt.Fprintf(os.Stderr, "bench-babel: %d measurements have FAILED, see above\n", r.Failed)
		return 1
	}
	return 0
}

func (c *config) choose(names, sizes, hellos string) error {
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(daemons, func(d daemon) bool { return d.name == name })
		if i < 0 {
			return fmt.Errorf("daemon %q is unknown", name)
		}
		c.daemons = append(c.daemons, daemons[i])
	}
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 || n > 1<<24 {
			return fmt.Errorf("size %q: want a number of prefixes", size)
		}
		c.prefixes = append(c.prefixes, n)
	}
	for hello := range strings.SplitSeq(hellos, ",") {
		d, err := time.ParseDuration(hello)
		if err != nil || d <= 0 {
			return fmt.Errorf("interval %q of Hellos: want a duration", hello)
		}
		c.hellos = append(c.hellos, d)
	}
	return nil
}

// costs takes the daemons in turn, so that the machine's moods meet all.
func costs(c config, r *report) {
	for _, n := range c.prefixes {
		for round := range c.rounds {
			// At rest nothing changes from round to round.
			rest := c.rest
			if round > 0 {
				rest = 0
			}
			for _, d := range c.daemons {
				r.measure("cost", d, func(t lab.TB) { r.Costs = append(r.Costs, measureCost(t, d, n, rest)) })
			}
		}
	}
}

func idles(c config, r *report) {
	for _, d := range c.daemons {
		r.measure("idle", d, func(t lab.TB) { r.Idles = append(r.Idles, measureIdle(t, d, c.rest)) })
	}
}

func bursts(c config, r *report) {
	for _, n := range c.prefixes {
		for _, d := range c.daemons {
			r.measure("burst", d, func(t lab.TB) { r.Bursts = append(r.Bursts, measureBurst(t, d, n)) })
		}
	}
}

// cuts waits more than it works: the daemons are measured side by side.
func cuts(c config, r *report) {
	for _, hello := range c.hellos {
		tm := timers{hello}
		if hello == helloDefault {
			tm = timers{} // not a word about intervals
		}
		var wg sync.WaitGroup
		for _, topology := range []string{"diamond", "ring"} {
			for manner := range manners {
				for _, d := range c.daemons {
					wg.Go(func() {
						r.measure("cut", d, func(t lab.TB) {
							o := measureCuts(t, d, tm, topology, manner, c.cuts)
							r.add(func() { r.Outages = append(r.Outages, o) })
						})
					})
				}
			}
		}
		wg.Wait()
	}
}

func losses(c config, r *report) {
	var wg sync.WaitGroup
	for _, d := range c.daemons {
		wg.Go(func() {
			r.measure("loss", d, func(t lab.TB) {
				o := measureLoss(t, d)
				r.add(func() { r.Losses = append(r.Losses, o) })
			})
		})
	}
	wg.Wait()
}
