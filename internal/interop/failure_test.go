package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Networks with two ways. In the diamond, the first and the last node are the
// ends.
var networks = []struct {
	name, programs string
	cables         [][2]int
}{
	{"diamond", "ours P P ours", diamond},
	{"diamond", "P ours ours P", diamond},
	{"diamond", "ours ours P P", diamond},
	{"ring", "ours P ours P ours", ring(5)},
	{"ring", "P P ours P ours", ring(5)},
}

// around bounds the time until all routes lead around a failure, and until they
// are again what they were. It is for the slowest: bird detects a silent cut
// after five of sixteen Hellos.
const around = 15 * time.Second

// A link is cut in silence, and by loss of carrier; the neighbour at its end is
// killed, and ends in order. Each time the routes lead around, and back when it
// is mended.
func TestInteropFailures(t *testing.T) {
	for _, network := range networks {
		for _, peer := range peers {
			programs := strings.ReplaceAll(network.programs, "P", peer)
			t.Run(network.name+"/"+strings.ReplaceAll(programs, " ", "-"), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, programs, network.cables, noIPv4)
				w.configure(asPeersCan)
				w.start(around)
				w.awaitShortest("at the start")
				w.failures()
			})
		}
	}
}

// asPeersCan takes out of babeld what would take minutes: by default its split
// horizon swallows retractions, and a third of the carrier losses become black
// holes; and its smoothing keeps it on a longer way for half a minute.
func asPeersCan(n *node) {
	if n.program == "babeld" {
		n.config.Extra = []string{"link-detect true", "default split-horizon false", "smoothing-half-life 0"}
	}
}

// around is the bound for the world's timers.
func (w *world) around() time.Duration { return around * time.Duration(max(w.slower, 1)) }

func (w *world) failures() {
	w.TB.Helper()
	ends := [2]*node{w.nodes[0], w.nodes[len(w.nodes)-1]}
	if w.linkBetween(ends[0], ends[1]) != nil { // a ring
		ends[1] = w.nodes[len(w.nodes)/2]
	}

	w.cut = w.firstLink(ends[0], ends[1])
	w.cut.Cut()
	w.lead("cut in silence")
	w.cut.Restore()
	w.mended("restored")

	w.cut = w.firstLink(ends[0], ends[1])
	w.cut.Unplug()
	w.lead("carrier lost")
	w.cut.Plug()
	w.mended("plugged in again")

	w.dead = w.next(ends[0], ends[1])
	w.dead.router.Kill()
	w.lead("neighbour killed")
	w.dead.router.Start()
	w.mended("neighbour started again")

	w.dead = w.next(ends[0], ends[1])
	if err := w.dead.router.Stop(); err != nil {
		w.TB.Errorf("stopping %v: %v", w.dead.router, err)
	}
	w.lead("neighbour ended")
	w.dead.router.Start()
	w.mended("neighbour started again after its end")
	w.Await("metrics that agree", w.around(), w.metricsAgree)
}

// lead waits for routes around the failure.
func (w *world) lead(what string) {
	w.TB.Helper()
	var last error
	took := w.Await("routes around: "+what, w.around(), func() error {
		err := w.routesLead()
		if err != nil {
			last = err
		}
		return err
	})
	w.TB.Logf("measured: %s, routes lead around after %v; the last thing missing: %v", what, took.Round(10*time.Millisecond), last)
	w.pingAll()
}

// mended waits for the shortest ways.
func (w *world) mended(what string) {
	w.TB.Helper()
	w.cut, w.dead = nil, nil
	took := w.awaitShortest(what)
	w.TB.Logf("measured: %s, the shortest ways again after %v", what, took.Round(10*time.Millisecond))
	w.pingAll()
}

func (w *world) awaitShortest(what string) time.Duration {
	w.TB.Helper()
	return w.Await("the shortest ways, "+what, 2*w.around(), w.isShortest)
}

// isShortest says whether all ways are as short as they can be: all links cost
// the same.
func (w *world) isShortest() error {
	tables, err := w.tables()
	if err != nil {
		return err
	}
	return w.eachPair(func(from, to *node) error {
		way, err := w.walk(tables, from, to, to.prefix(), netip.Prefix{})
		if err != nil {
			return err
		}
		if least := from.distance(to); len(way)-1 != least {
			return fmt.Errorf("the way from %s to %s has %d hops, not %d", from.Name, to.Name, len(way)-1, least)
		}
		return nil
	})
}

// distance in hops.
func (n *node) distance(to *node) int {
	seen := map[*node]int{n: 0}
	for queue := []*node{n}; len(queue) > 0; queue = queue[1:] {
		for _, next := range queue[0].ports {
			if _, ok := seen[next]; !ok {
				seen[next] = seen[queue[0]] + 1
				queue = append(queue, next)
			}
		}
	}
	return seen[to]
}

// next is the first node on the way.
func (w *world) next(from, to *node) *node {
	w.TB.Helper()
	tables, err := w.tables()
	if err != nil {
		w.TB.Fatalf("%v", err)
	}
	way, err := w.walk(tables, from, to, to.prefix(), netip.Prefix{})
	if err != nil {
		w.TB.Fatalf("%v", err)
	}
	return way[1]
}

func (w *world) firstLink(from, to *node) *link { return w.linkBetween(from, w.next(from, to)) }

func (w *world) linkBetween(a, b *node) *link {
	for _, l := range w.links {
		if l.joins(a, b) {
			return l
		}
	}
	return nil
}
