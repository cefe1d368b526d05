package interop

import (
	"os"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// With the timers that everybody has by default: Hellos of 4 s.
func TestInteropDefaultTimers(t *testing.T) {
	if os.Getenv("RE6ST_SOAK") == "" {
		t.Skip("minutes: only with RE6ST_SOAK=1")
	}
	const slower = 8
	for _, network := range networks {
		for _, peer := range peers {
			programs := strings.ReplaceAll(network.programs, "P", peer)
			t.Run(network.name+"/"+strings.ReplaceAll(programs, " ", "-"), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, programs, network.cables, noIPv4)
				w.slower = slower
				w.configure(func(n *node) { n.config.Hello, n.config.Update = 0, 0 })
				w.configure(asPeersCan)
				w.start(slower * plainWithin)
				w.awaitShortest("at the start")
				w.failures()
			})
		}
	}
}

// A link that loses a tenth of all packets is a link still: routes stay, whoever
// is at its ends.
func TestInteropLoss(t *testing.T) {
	if os.Getenv("RE6ST_SOAK") == "" {
		t.Skip("minutes: only with RE6ST_SOAK=1")
	}
	for _, programs := range []string{"ours babeld ours", "ours bird ours"} {
		t.Run(strings.ReplaceAll(programs, " ", "-"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, programs, nil, noIPv4)
			for i := range w.nodes[1:] {
				w.relay(w.nodes[i], w.nodes[i+1], lab.Weather{Loss: 0.1, Delay: 5 * time.Millisecond})
			}
			w.start(around)
			missing := 0
			const looks = 300
			for range looks {
				<-time.After(200 * time.Millisecond)
				if w.routesLead() != nil {
					missing++
				}
			}
			t.Logf("measured: of %d looks in a minute, %d found a route missing", looks, missing)
			if missing > looks/10 {
				t.Errorf("in %d of %d looks a route was missing", missing, looks)
			}
		})
	}
}
