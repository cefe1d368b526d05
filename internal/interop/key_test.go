package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// Three keys that follow one another.
var keysInTime = []string{
	"hmac-sha256:" + strings.Repeat("a1", 32),
	"blake2s128:" + strings.Repeat("b2", 32),
	"hmac-sha256:" + strings.Repeat("c3", 32),
}

// All routers get a second key, and then lose the first, one router after the
// other while they run: no packet is lost, and no route.
func TestInteropKeyRotation(t *testing.T) {
	for _, programs := range []string{"ours bird ours", "bird ours bird"} {
		t.Run(strings.ReplaceAll(programs, " ", "-"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, programs, chain(count(programs)), noIPv4)
			w.configure(withKeys(keysInTime[0]))
			w.start(macWithin)
			var ends []lab.End
			for _, n := range w.nodes {
				ends = append(ends, lab.End{Host: n.Host, Addr: n.address()})
			}
			stream := w.Stream(50, ends, nil)
			for i := range keysInTime[1:] {
				w.rekey(keysInTime[i], keysInTime[i+1])
				w.rekey(keysInTime[i+1])
			}
			for _, f := range stream.Stop() {
				if f.Lost > 0 {
					t.Errorf("%v", f)
				}
			}
			w.Await("metrics that agree", settle, w.metricsAgree)
		})
	}
}

// rekey gives all routers these keys, and lets some Hellos pass with them: were
// they refused, neighbours would be lost.
func (w *world) rekey(keys ...string) {
	w.TB.Helper()
	for _, n := range w.nodes {
		n.config.Keys = keys
		n.router.Config.Keys = keys
		if err := n.router.Reload(); err != nil {
			w.TB.Fatalf("%v", err)
		}
	}
	<-time.After(3 * hello)
}

// babeld has one key an interface, and cannot change it while it runs: ours takes
// both keys while babeld is started again with the new one, and of two keys that
// sign each packet babeld finds its own.
func TestInteropKeyChangeOfBabeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ours babeld ours", chain(3), noIPv4)
	w.configure(withKeys(keysInTime[0]))
	w.start(macWithin)
	old, next := keysInTime[0], keysInTime[1]
	reload := func(keys ...string) {
		for _, n := range []*node{w.nodes[0], w.nodes[2]} {
			n.router.Config.Keys = keys
			if err := n.router.Reload(); err != nil {
				t.Fatal(err)
			}
		}
	}
	reload(old, next)
	b := w.nodes[1].router
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	b.Config.Keys = []string{next}
	b.Start()
	w.awaitRoutes("routes with the new key", 2*macWithin)
	reload(next)
	w.pingAll()
	// The old key has no use any more.
	w.dead = w.nodes[1]
	b.Kill()
	b.Config.Keys = []string{old}
	b.Start()
	w.Await("ours to do without it", around, func() error {
		for _, n := range []*node{w.nodes[0], w.nodes[2]} {
			neighbours, err := n.router.Neighbours()
			if err != nil {
				return err
			}
			for _, x := range neighbours {
				if x.Cost < 0xffff {
					return fmt.Errorf("%v has a neighbour that signs with the old key: %+v", n.router, x)
				}
			}
		}
		return nil
	})
}

// Keys come to a network one router after the other: those that have one sign,
// and take what is unsigned.
func TestInteropKeysIntroduced(t *testing.T) {
	for _, programs := range []string{"ours babeld ours", "babeld ours babeld", "ours bird ours", "bird ours bird"} {
		t.Run(strings.ReplaceAll(programs, " ", "-"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, programs, chain(count(programs)), noIPv4)
			w.configure(withKeys(keySHA256))
			w.configure(func(n *node) { n.config.AcceptUnsigned = true })
			w.nodes[1].config.Keys, w.nodes[1].config.AcceptUnsigned = nil, false
			w.start(macWithin)
			w.pingAll()
		})
	}
}
