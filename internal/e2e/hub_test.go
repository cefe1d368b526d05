package e2e

import (
	"testing"
	"time"

	"re6st/internal/lab"
)

// What a node with ten tunnels in all holds in memory, on whichever backend runs.
func TestHubWithTenTunnels(t *testing.T) {
	star := func(i, j int) bool { return i == 0 || j == 0 }
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 11, Tunnels: 10, Refresh: 5 * time.Minute, Talk: star})
	m.Start()
	hub := m.Nodes[0]
	m.AllPairs(60 * time.Second)
	up, err := hub.Up()
	if err != nil {
		t.Fatal(err)
	}
	if len(up) != 10 {
		t.Errorf("the hub has %d tunnels, want 10", len(up))
	}
	measured(t, "hub with %d tunnels: RSS %s", len(up), residentOf(hub))
	m.WantClean()
}
