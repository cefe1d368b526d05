// Command bench-go runs the Go benchmarks of what a node does most (lookup, update,
// sign and verify, relay) and compares them with those that are stored. It reports:
// however the figures are, its status is 0. It fails where a benchmark is missing or
// does not run, so that the list stays true.
//
//	go run ./scripts/bench-go           compare with docs/benches.json
//	go run ./scripts/bench-go -write    store
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"re6st/internal/measure"
)

// benches are what is run: a pattern as go test takes it, and under which subject it is
// shown.
var benches = []struct{ subject, pkg, name string }{
	{"lookup", "./internal/fib", "Lookup$"},
	{"relay", "./tunnel/wg/userspace", "Decide$"},
	{"update", "./internal/fib", "Update$"},
	{"update", "./babel", "Repeat$"},
	{"sign", "./registry/ca", "Issue$"},
	{"sign", "./babel/mac", "Seal$/^hmac-sha256,keys=1"},
	{"verify", "./internal/identity", "Node$"},
	{"verify", "./babel/mac", "Verify$/^hmac-sha256,keys=1"},
	{"relay", "./tunnel/wg/userspace/device", "Throughput$"},
}

// stored is the file.
type stored struct {
	Host    measure.Host                  `json:"host"`
	Figures map[string]map[string]float64 `json:"figures"` // by subject, package and name; by unit
}

func main() {
	file := flag.String("file", "docs/benches.json", "where the figures are stored")
	write := flag.Bool("write", false, "store the figures instead of comparing them")
	length := flag.String("benchtime", "0.2s", "time of each run; the best of three counts")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*file, *length, *write); err != nil {
		fmt.Fprintln(os.Stderr, "bench-go:", err)
		os.Exit(1)
	}
}

func run(file, length string, write bool) error {
	now := stored{Host: measure.ThisHost(), Figures: map[string]map[string]float64{}}
	for _, b := range benches {
		out, err := exec.Command("go", "test", "-run", "^$", "-bench", "^Benchmark"+b.name, "-benchmem", "-benchtime", length, "-count", "3", b.pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("running %s of %s: %w\n%s", b.name, b.pkg, err, out)
		}
		found := measure.ParseBench(string(out))
		if len(found) == 0 {
			return fmt.Errorf("%s has no benchmark %s", b.pkg, b.name)
		}
		for _, f := range found {
			now.Figures[b.subject+": "+strings.TrimPrefix(b.pkg, "./")+"."+f.Name] = f.Figures
		}
	}
	if write {
		return measure.WriteJSON(file, now)
	}
	var before stored
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &before)
	}
	if err != nil {
		return fmt.Errorf("reading the stored figures: %w; -write makes them", err)
	}
	compare(os.Stdout, before, now)
	return nil
}

// compare prints what was and what is; a figure that is not in both stands alone.
func compare(w io.Writer, before, now stored) {
	fmt.Fprintf(w, "stored: %v\nnow:    %v\n\n", before.Host, now.Host)
	measure.Table(w, "", "ns/op stored", "now", "ratio", "allocs/op stored", "now")
	var ratios []float64
	worst, which := 0.0, ""
	for _, name := range slices.Sorted(maps.Keys(now.Figures)) {
		was, is := before.Figures[name], now.Figures[name]
		allocs := "-"
		if v, ok := was["allocs/op"]; ok {
			allocs = fmt.Sprintf("%.0f", v)
		}
		ratio := measure.Ratio(is["ns/op"], was["ns/op"])
		if ratio > 0 {
			ratios = append(ratios, ratio)
		}
		if ratio > worst {
			worst, which = ratio, name
		}
		measure.Row(w, name, measure.Number("%.1f", was["ns/op"]), fmt.Sprintf("%.1f", is["ns/op"]),
			measure.Number("%.2f", ratio), allocs, fmt.Sprintf("%.0f", is["allocs/op"]))
	}
	// The last line is the one that CI shows.
	fmt.Fprintf(w, "\n%d benchmarks, times to those stored: median %.2f, greatest %.2f (%s); a report, no verdict\n",
		len(ratios), measure.Median(ratios), worst, which)
}
