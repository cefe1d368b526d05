package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A table of some size goes through the chain whole, in either direction, signed
// and not, and goes away whole when its router ends.
func TestInteropTable(t *testing.T) {
	const size = 2000
	for _, c := range []struct {
		programs string
		keys     []string
	}{
		{"ours babeld ours", nil},
		{"ours bird ours", []string{keySHA256}},
		{"babeld ours babeld", []string{keyBLAKE2s}},
		{"bird ours bird", nil},
	} {
		t.Run(strings.ReplaceAll(c.programs, " ", "-"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.programs, chain(3), noIPv4)
			w.configure(withKeys(c.keys...))
			first := w.nodes[0]
			for i := range size {
				first.config.Announce = append(first.config.Announce, netip.MustParsePrefix(fmt.Sprintf("2001:db8:f000:%x::/64", i)))
			}
			w.start(macWithin)
			took := w.Await("the whole table", around, w.holds(size))
			if err := first.router.Stop(); err != nil {
				t.Error(err)
			}
			gone := w.Await("none of it", around, w.holds(0))
			t.Logf("measured: %d prefixes learned after %v more, gone %v after the end of their router", size, took.Round(10*time.Millisecond), gone.Round(10*time.Millisecond))
		})
	}
}

// holds says whether both others have so many routes to the table.
func (w *world) holds(want int) func() error {
	table := netip.MustParsePrefix("2001:db8:f000::/48")
	return func() error {
		for _, n := range w.nodes[1:] {
			routes, err := n.KernelRoutes()
			if err != nil {
				return err
			}
			found := 0
			for _, r := range routes {
				if table.Contains(r.Prefix.Addr()) && !r.Unreachable {
					found++
				}
			}
			if found != want {
				return fmt.Errorf("%v has %d of the table's routes in the kernel, want %d", n.router, found, want)
			}
		}
		return nil
	}
}
