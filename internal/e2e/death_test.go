package e2e

import (
	"testing"
	"time"

	"re6st/internal/lab"
)

// A relay in use dies, or stops in an orderly way: the others find other paths.
// The time without connectivity is reported, not asserted: the bounds on
// detection come with Hellos that follow traffic.
func TestRelayDeath(t *testing.T) {
	for _, how := range []struct {
		name string
		end  func(*testing.T, *lab.Node)
	}{
		// The whole host: kernel tunnels outlive their daemon, and go on relaying.
		{"killed", func(_ *testing.T, n *lab.Node) { n.Port.Link.Cut(); n.Kill() }},
		{"stopped", func(t *testing.T, n *lab.Node) {
			took, err := n.Stop()
			if err != nil {
				t.Error(err)
			}
			measured(t, "orderly stop of a relay: %v", took.Round(time.Millisecond))
		}},
	} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 6, Tunnels: 4, Refresh: 5 * time.Minute, Talk: ring(6)})
			m.Start()
			settle(m, 30*time.Second)
			relay, rest := m.Nodes[0], m.Nodes[1:]
			stream := m.Stream(50, rest...)
			pause(3 * time.Second)
			how.end(t, relay)
			r := m.AllPairs(45*time.Second, rest...)
			pause(3 * time.Second)
			flows := stream.Stop()
			lost, sent := lab.Lost(flows)
			interrupted := 0
			for _, f := range flows {
				if f.Gap > 200*time.Millisecond {
					interrupted++
				}
			}
			measured(t, "relay %s: %d of %d pairs interrupted, %d of %d packets lost, others whole again after %v; worst: %v",
				how.name, interrupted, len(flows), lost, sent, r.Took.Round(time.Millisecond), flows[0])
			if how.name == "killed" && interrupted == 0 {
				t.Error("no pair noticed the relay's death: it was no relay, and nothing was tested")
			}
			wantNoPanic(t, m)
			if how.name == "killed" {
				// What the kill left is gone after the next start and stop.
				relay.Port.Link.Restore()
				relay.Run()
				m.AwaitUp()
				m.AllPairs(30 * time.Second)
			}
			m.WantClean()
		})
	}
}
