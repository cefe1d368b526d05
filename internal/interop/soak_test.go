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

// Over links that lose a tenth of all packets, routes are missing no more often
// with ours between two of the peers, or around one, than among peers alone: two
// Hellos of three are lost often.
func TestInteropLoss(t *testing.T) {
	if os.Getenv("RE6ST_SOAK") == "" {
		t.Skip("minutes: only with RE6ST_SOAK=1")
	}
	for _, peer := range peers {
		t.Run(peer, func(t *testing.T) {
			t.Parallel()
			patterns := []string{"P P P", "ours P ours", "P ours P"}
			missing := make([]int, len(patterns))
			t.Run("side by side", func(t *testing.T) {
				for i, pattern := range patterns {
					programs := strings.ReplaceAll(pattern, "P", peer)
					t.Run(strings.ReplaceAll(programs, " ", "-"), func(t *testing.T) {
						t.Parallel()
						missing[i] = missingInAMinute(t, programs)
					})
				}
			})
			t.Logf("measured: of %d looks, with a route missing: %v of chains %q", looks, missing, patterns)
			for i, n := range missing[1:] {
				if n > missing[0]*3/2+looks/20 {
					t.Errorf("%q: in %d of %d looks a route was missing, in %d without ours", patterns[i+1], n, looks, missing[0])
				}
			}
		})
	}
}

const looks = 300

func missingInAMinute(t *testing.T, programs string) (missing int) {
	t.Helper()
	w := newWorld(t, programs, nil, noIPv4)
	for i := range w.nodes[1:] {
		w.relay(w.nodes[i], w.nodes[i+1], lab.Weather{Loss: 0.1, Delay: 5 * time.Millisecond})
	}
	w.start(2 * around)
	for range looks {
		<-time.After(200 * time.Millisecond)
		if w.routesLead() != nil {
			missing++
		}
	}
	return missing
}
