package e2e

import (
	"fmt"
	"testing"
	"time"

	"re6st/internal/lab"
)

// Two dual-stack nodes between which IPv4 is dead: the tunnel comes up over
// IPv6 within 3 s, and the other way round.
func TestA21_DeadEndpointDoesNotDelay(t *testing.T) {
	for _, dead := range []lab.Family{lab.IPv4, lab.IPv6} {
		t.Run("dead "+map[lab.Family]string{lab.IPv4: "IPv4", lab.IPv6: "IPv6"}[dead], func(t *testing.T) {
			m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 2, Tunnels: 1, Refresh: 5 * time.Minute})
			m.Net.DenyFamily(m.Nodes[0].Port, m.Nodes[1].Port, dead)
			a, b := m.Nodes[0], m.Nodes[1]
			a.Run()
			m.Lab.Await("the first node to have told the registry where it is", 20*time.Second, func() error {
				s, err := a.Status()
				if err == nil && s.Registry.LastContact == nil {
					err = fmt.Errorf("no contact yet")
				}
				return err
			})
			start := time.Now()
			b.Run()
			m.Lab.Await("a tunnel", 20*time.Second, func() error {
				up, err := b.Up()
				if err == nil && len(up) == 0 {
					err = fmt.Errorf("none is up")
				}
				return err
			})
			took := time.Since(start)
			measured(t, "tunnel up %v after the node's start, with %v dead", took.Round(time.Millisecond), t.Name())
			if took > lab.Slow(3*time.Second) {
				t.Errorf("the tunnel took %v, want 3 s", took)
			}
			m.AllPairs(10 * time.Second)
			m.WantClean()
		})
	}
}
