package main

import (
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// forwardBenches are those of package ebpf that compare a packet's cost in the kernel's
// forwarding, with conntrack, and with the shortcut: they load programs, which nobody
// else may.
const forwardBenches = "^Benchmark(Shortcut|Transit)"

// forwarding runs them.
func forwarding(t lab.TB, _ config, r *report) {
	out, err := exec.Command("go", "test", "-run", "^$", "-bench", forwardBenches, "-benchtime", "1x", "./ebpf").CombinedOutput()
	if err != nil {
		t.Fatalf("forwarding: %v\n%s", err, out)
	}
	r.Forward = measure.ParseBench(string(out))
	if len(r.Forward) == 0 {
		t.Errorf("forwarding: package ebpf has no benchmark %s", forwardBenches)
	}
}

func (r *report) forwardTable(w io.Writer) {
	if len(r.Forward) == 0 {
		return
	}
	fmt.Fprint(w, "\nForwarding alone: sender, relay and receiver on one CPU\n\n")
	units := map[string]bool{}
	for _, b := range r.Forward {
		for unit := range b.Figures {
			units[unit] = units[unit] || b.Figures[unit] != 0
		}
	}
	maps.DeleteFunc(units, func(_ string, used bool) bool { return !used })
	columns := slices.Sorted(maps.Keys(units))
	measure.Table(w, append([]string{""}, columns...)...)
	for _, b := range r.Forward {
		cells := []string{b.Name}
		for _, unit := range columns {
			format := "%.2f"
			if b.Figures[unit] >= 100 {
				format = "%.0f"
			}
			cells = append(cells, measure.Number(format, b.Figures[unit]))
		}
		measure.Row(w, cells...)
	}
}
