package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// A prefix that its router takes back is gone everywhere, whoever is between, and
// comes back when it is announced again: nobody keeps it for having believed in a
// better one, nobody refuses it for having held it unreachable.
func TestInteropWithdrawal(t *testing.T) {
	for _, programs := range []string{"babeld ours babeld", "bird ours bird", "babeld ours ours", "bird ours ours", "bird ours babeld"} {
		t.Run(strings.ReplaceAll(programs, " ", "-"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, programs, chain(3), noIPv4)
			first := w.nodes[0]
			extra := netip.MustParsePrefix("2001:db8:1:7::/64")
			first.config.Announce = append(first.config.Announce, extra)
			w.start(plainWithin)
			w.Await("the prefix everywhere", around, w.isKnown(extra, true))
			for range 2 {
				first.announce(t, extra, false)
				// babeld takes up to 10 s to see it in the kernel.
				took := w.Await("nobody to have it", around, w.isKnown(extra, false))
				first.announce(t, extra, true)
				again := w.Await("the prefix everywhere again", around, w.isKnown(extra, true))
				t.Logf("measured: gone after %v, back after %v", took.Round(10*time.Millisecond), again.Round(10*time.Millisecond))
			}
		})
	}
}

// announce begins or ends to announce a prefix while the router runs.
func (n *node) announce(t *testing.T, p netip.Prefix, does bool) {
	t.Helper()
	verb := "add"
	if !does {
		verb = "del"
	}
	if n.program == "babeld" { // it follows the kernel
		n.IP(fmt.Sprintf("route %s unreachable %v proto 44", verb, p))
		return
	}
	c := &n.router.Config
	c.Announce = slices.DeleteFunc(slices.Clone(c.Announce), func(x netip.Prefix) bool { return x == p })
	if does {
		c.Announce = append(c.Announce, p)
	}
	if err := n.router.Reload(); err != nil {
		t.Fatal(err)
	}
}

// isKnown says whether all others can, or cannot, reach the first node's prefix.
func (w *world) isKnown(p netip.Prefix, want bool) func() error {
	return func() error {
		tables, err := w.tables()
		if err != nil {
			return err
		}
		for _, n := range w.nodes[1:] {
			found := slices.ContainsFunc(tables[n], func(r lab.KernelRoute) bool { return r.Prefix == p && !r.Unreachable })
			if found != want {
				return fmt.Errorf("%v: route to %v in the kernel: %v", n.router, p, found)
			}
		}
		return nil
	}
}
