package speaker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"

	"re6st/babel"
)

// Whatever comes and goes: each destination with a source has both halves of its
// route without one, or the route that is really from that half; no other has.
func TestC118_C121_Halves(t *testing.T) {
	var (
		destinations = []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/48"), netip.MustParsePrefix("2001:db8:2::/48"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("10.0.0.0/8")}
		sources      = []netip.Prefix{{}, {}, netip.MustParsePrefix("2001:db8:7::/48"), netip.MustParsePrefix("2001:db8:8::/48"), bothHalves[0]}
		r            = rand.New(rand.NewPCG(1, 1))
	)
	type key struct{ prefix, from netip.Prefix }
	var h halves
	wanted, written := map[key]int{}, map[key]int{}
	for step := range 20000 {
		c := babel.RouteChange{Delete: r.IntN(2) == 0}
		c.Prefix, c.From, c.Interface = destinations[r.IntN(len(destinations))], sources[r.IntN(len(sources))], step
		if c.Prefix.Addr().Is4() {
			c.From = netip.Prefix{}
		}
		k := key{c.Prefix, c.From}
		if _, ok := wanted[k]; !ok && c.Delete {
			continue
		}
		if c.Delete {
			delete(wanted, k)
		} else {
			wanted[k] = step
		}
		plain := func(p netip.Prefix) (babel.Route, bool) {
			i, ok := wanted[key{prefix: p}]
			return babel.Route{Prefix: p, Interface: i}, ok
		}
		for _, x := range h.expand(nil, c, plain) {
			if k := (key{x.Prefix, h.origin(x.Route).From}); !x.Delete {
				if _, ok := wanted[k]; !ok {
					t.Fatalf("step %d: %+v stands for %v, which is not wanted", step, x, k)
				}
			}
			if k := (key{x.Prefix, x.From}); x.Delete {
				delete(written, k)
			} else {
				written[k] = x.Interface
			}
		}
		want := maps.Clone(wanted)
		for k := range wanted {
			plain, isThere := wanted[key{prefix: k.prefix}]
			if k.from.IsValid() && isThere && k.prefix.Bits() > 0 {
				for _, half := range bothHalves {
					if _, isReal := wanted[key{k.prefix, half}]; !isReal {
						want[key{k.prefix, half}] = plain
					}
				}
			}
		}
		if !maps.Equal(written, want) {
			t.Fatalf("step %d, %+v:\n%s\nwant\n%s", step, c, fmt.Sprint(written), fmt.Sprint(want))
		}
	}
	if len(h.sources) > len(destinations) {
		t.Errorf("%d destinations are remembered", len(h.sources))
	}
}
