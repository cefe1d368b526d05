package e2e

import (
	"fmt"
	"testing"
	"time"

	"re6st/internal/lab"
)

// The registry and the node on its host are killed; the others go on, rotate
// their tunnels, and one that is restarted finds the mesh from what it kept on
// disk.
//
//re6st:reduced 3 of 30 minutes and 5 of 12 nodes, loss reported; full in make soak, when rotation loses nothing
func TestZ3_F07_RegistryDown(t *testing.T) {
	t.Parallel()
	nodes, refresh, minutes := 5, 10*time.Second, 2.5
	if soak() {
		nodes, refresh, minutes = 11, 30*time.Second, 30
	}
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: nodes, Tunnels: 2, Refresh: refresh, RegistryNode: true})
	hub, rest := m.Nodes[nodes], m.Nodes[:nodes]
	m.Start()
	settle(m, 30*time.Second)
	was := tunnelsOf(t, rest)
	began := time.Now()

	m.Registry.Kill()
	hub.Kill()
	m.AllPairs(45*time.Second, rest...)
	stream := m.Stream(20, rest...)
	pause(60 * time.Second)

	// One node less in the stream's report: its own flows are cut by us.
	restarted := rest[0]
	for i, kill := range []func(){restarted.Kill, func() {
		if _, err := restarted.Stop(); err != nil {
			t.Error(err)
		}
	}} {
		kill()
		start := time.Now()
		restarted.Run()
		m.AwaitUp()
		m.AllPairs(30*time.Second, rest...)
		how := []string{"SIGKILL", "SIGTERM"}[i]
		measured(t, "after %s, with the registry down: %s has rejoined by its cache after %v", how, restarted.Name, time.Since(start).Round(time.Millisecond))
		pause(40 * time.Second)
	}
	pause(time.Until(began.Add(time.Duration(minutes * float64(time.Minute)))))
	flows := stream.Stop()
	var others []lab.Flow
	for _, f := range flows {
		if f.From != restarted.Host.Name && f.To != restarted.Host.Name {
			others = append(others, f)
		}
	}
	lost, sent := lab.Lost(others)
	new := rotated(was, tunnelsOf(t, rest))
	measured(t, "registry down for %v at refresh %v: %d new tunnels, %d of %d packets lost between the nodes that were not restarted; worst: %v",
		time.Since(began).Round(time.Second), refresh, new, lost, sent, others[0])
	if new == 0 {
		t.Error("no tunnel was rotated while the registry was down")
	}
	if lost*10 > sent {
		t.Errorf("%d of %d packets lost: the mesh does not live without the registry", lost, sent)
	}
	m.AllPairs(15*time.Second, rest...)

	// And the registry comes back to a mesh that has not missed it.
	m.Registry.Serve()
	hub.Run()
	m.AllPairs(45 * time.Second)
	wantNoPanic(t, m)
	m.WantClean()
}

func tunnelsOf(t *testing.T, nodes []*lab.Node) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, n := range nodes {
		up, err := n.Up()
		if err != nil {
			t.Error(err)
		}
		for _, tunnel := range up {
			all[fmt.Sprintf("%s %s", n.Name, tunnel.ID)] = true
		}
	}
	return all
}

// rotated counts what is only in the second set.
func rotated(before, after map[string]bool) int {
	n := 0
	for id := range after {
		if !before[id] {
			n++
		}
	}
	return n
}
