package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"re6st/internal/lab"
)

// residents tells the resident set sizes of the nodes' processes.
func residents(m *lab.Mesh) string {
	return residentOf(m.Running()...)
}

func residentOf(nodes ...*lab.Node) string {
	var kB []int
	for _, n := range nodes {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.Proc.PID))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			var v int
			if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &v); err == nil {
				kB = append(kB, v)
			}
		}
	}
	if len(kB) == 0 {
		return "unknown"
	}
	slices.Sort(kB)
	return fmt.Sprintf("median %.1f MB, largest %.1f MB", float64(kB[len(kB)/2])/1024, float64(kB[len(kB)-1])/1024)
}
