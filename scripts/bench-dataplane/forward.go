package main

import (
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// forwardBenches are those of package ebpf that compare a packet's cost in the kernel's
// forwarding, with conntrack, and with the shortcut: they load programs, which nobody
// else may.
const forwardBenches = "^BenchmarkShortcut$"

// forwarding runs them.
func forwarding(t lab.TB, _ config, r *report) {
	out, err := exec.Command("go", "test", "-run", "^$", "-bench", forwardBenches, "-benchtime", "1x", "re6st/ebpf").CombinedOutput()
	if err != nil {
		t.Fatalf("forwarding: %v\n%s", err, out)
	}
	r.Forward = measure.ParseBench(string(out))
	if len(r.Forward) == 0 {
		t.Errorf("forwarding: package ebpf has no benchmark %s", forwardBenches)
	}
}

// forwardTable has a line for each load and number of routes, and a column for each way.
// The names are Shortcut/ROUTES/LOAD/WAY.
func (r *report) forwardTable(w io.Writer) {
	if len(r.Forward) == 0 {
		return
	}
	var loads, ways []string
	figures := map[[2]string]measure.Bench{}
	for _, b := range r.Forward {
		path, way, _ := cutLast(strings.TrimPrefix(b.Name, "Shortcut/"))
		if !slices.Contains(loads, path) {
			loads = append(loads, path)
		}
		if !slices.Contains(ways, way) {
			ways = append(ways, way)
		}
		figures[[2]string{path, way}] = b
	}
	fmt.Fprint(w, "\nForwarding alone, ns of CPU a packet with its write (× the stack's); of a GSO packet for all of its 40 segments\n\n")
	measure.Table(w, append(append([]string{""}, ways...), "packets/s of a CPU, "+ways[0], ways[len(ways)-1])...)
	for _, load := range loads {
		cells := []string{load}
		for _, way := range ways {
			b := figures[[2]string{load, way}].Figures
			cells = append(cells, fmt.Sprintf("%.0f (%.2f)", b["ns/packet"], b["times-stack"]))
		}
		for _, way := range []string{ways[0], ways[len(ways)-1]} {
			cells = append(cells, fmt.Sprintf("%.0f", figures[[2]string{load, way}].Figures["packets/s"]))
		}
		measure.Row(w, cells...)
	}
}

func cutLast(name string) (before, after string, found bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}
