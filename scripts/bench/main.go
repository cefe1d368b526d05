// Command bench measures what docs/benchmarks.md reports: throughput of one hop
// and of a path over one relay beside the bare link and stock wireguard-go in
// the same run, what an idle node costs, how soon a mesh is whole, and how long
// a relay's end is felt. It needs root and iperf3, and leaves nothing behind.
//
//	make bench
//	RE6ST_BIN=bin go run ./scripts/bench -only throughput -rounds 7 -json bench.json
//
// The machine's own speed is in every absolute figure; the ratios are what to
// compare. Nothing is asserted but that the measurement worked.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// config says how thoroughly to measure.
type config struct {
	Rounds  int
	Seconds int           // of each transfer
	Idle    time.Duration // over which CPU time is counted
	Sizes   []int         // of meshes
	WG      string        // path of stock wireguard-go
}

// parts are what can be measured, in the order of the report.
var parts = []struct {
	name    string
	measure func(lab.TB, config, *report)
}{
	{"throughput", throughput},
	{"idle", idle},
	{"start", start},
	{"outage", outage},
}

func main() {
	c := config{Sizes: []int{6, 20}}
	flag.IntVar(&c.Rounds, "rounds", 5, "repetitions of each transfer, in turn with the others")
	flag.IntVar(&c.Seconds, "seconds", 4, "length of each transfer")
	flag.DurationVar(&c.Idle, "idle", 60*time.Second, "time over which an idle node's CPU is counted")
	only := flag.String("only", "", "comma-separated parts to measure: "+strings.Join(names(), ", ")+"; all unless told")
	out := flag.String("json", "", "file to write the figures to, for machines")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: bench [-only PART,...] [-rounds N] [-seconds N] [-idle DURATION] [-json FILE]")
		flag.PrintDefaults()
	}
	os.Exit(lab.Main(func() int {
		flag.Parse()
		chosen, err := choose(*only)
		if err != nil || flag.NArg() > 0 || c.Rounds < 1 || c.Seconds < 1 {
			flag.Usage()
			return 2
		}
		return run(c, chosen, *out)
	}))
}

func names() []string {
	var out []string
	for _, p := range parts {
		out = append(out, p.name)
	}
	return out
}

func choose(only string) ([]string, error) {
	if only == "" {
		return names(), nil
	}
	chosen := strings.Split(only, ",")
	for _, name := range chosen {
		if !slices.Contains(names(), name) {
			return nil, fmt.Errorf("part %q: want one of %v", name, names())
		}
	}
	return chosen, nil
}

func run(c config, chosen []string, out string) int {
	dir, err := os.MkdirTemp("", "re6st-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if c.WG, err = measure.BuildWireGuard(dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	r := &report{SchemaVersion: 1, Host: measure.ThisHost(), Backend: lab.Backend()}
	ok := true
	for _, p := range parts {
		if !slices.Contains(chosen, p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s ...\n", p.name)
		ok = lab.Standalone("bench-"+p.name, os.Stderr, func(t lab.TB) { p.measure(t, c, r) }) && ok
	}
	r.markdown(os.Stdout)
	if out != "" {
		if err := measure.WriteJSON(out, r); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
	}
	if !ok {
		fmt.Fprintln(os.Stderr, "bench: a part has FAILED, see above")
		return 1
	}
	return 0
}
