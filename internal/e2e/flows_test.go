package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"re6st/internal/lab"
)

// However many flows there are between two hosts, sender, relay and receiver have
// no memory of any.
//
//re6st:reduced 20000 of 100000 flows; full in make soak
func TestN1_ManyFlowsCostNoMemory(t *testing.T) {
	t.Parallel()
	// 0 - 1 - 2: what 0 and 2 send each other is carried by 1.
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 3, Tunnels: 2, Refresh: 5 * time.Minute, Talk: inLine})
	m.Start()
	settle(m, 30*time.Second)
	flows := 20_000
	if soak() {
		flows = 100_000
	}
	from, to := m.Nodes[0], m.Nodes[2]
	// As many packets of one flow: what the traffic itself takes.
	one := lab.FlowsArgs{To: to.Address, Flows: 1, Rounds: flows, Every: 100 * time.Microsecond}
	from.Host.Flows(one)
	from.Host.Flows(one)
	before := residentKB(t, m)
	many := one
	many.Flows, many.Rounds = flows, 1
	from.Host.Flows(many)
	for i, after := range residentKB(t, m) {
		grown := after - before[i]
		measured(t, "%s: %d kB, %+d kB by %d flows", m.Nodes[i].Name, after, grown, flows)
		if grown > 5*1024 {
			t.Errorf("%s has grown by %d kB through %d flows", m.Nodes[i].Name, grown, flows)
		}
	}
}

// inLine lets nodes talk to the one before and the one after.
func inLine(i, j int) bool { return i-j == 1 || j-i == 1 }

// residentKB is the memory of each node, in kB.
func residentKB(t *testing.T, m *lab.Mesh) []int {
	t.Helper()
	var all []int
	for _, n := range m.Nodes {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.Proc.PID))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
		kb, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, kb)
	}
	return all
}
