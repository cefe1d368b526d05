package e2e

import (
	"testing"
	"time"

	"re6st/internal/lab"
)

// Whatever way a node ends, its host is as it was: after an orderly stop at
// once, after SIGKILL when it was started and stopped again, or started and
// killed again and again before.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 3, Tunnels: 2, Refresh: 5 * time.Minute})
	n := m.Nodes[0]
	before := m.Lab.Census(n.Host)
	m.Start()
	settle(m, 30*time.Second)
	if len(before.Diff(m.Lab.Census(n.Host))) == 0 {
		t.Fatal("a running node leaves no trace in the census: nothing would be tested")
	}
	if took, err := n.Stop(); err != nil {
		t.Error(err)
	} else {
		measured(t, "orderly stop: %v", took.Round(time.Millisecond))
	}
	m.Lab.WantClean(before, n.Host)

	for range 3 {
		n.Run()
		m.AwaitUp() // kernel tunnels of the killed one answer by themselves
		m.AllPairs(30 * time.Second)
		n.Kill()
	}
	n.Run()
	m.AwaitUp()
	settle(m, 30*time.Second)
	if _, err := n.Stop(); err != nil {
		t.Error(err)
	}
	m.Lab.WantClean(before, n.Host)
	wantNoPanic(t, m)
	m.WantClean()
}
