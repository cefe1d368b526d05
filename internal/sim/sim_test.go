package sim

import (
	"testing"
	"time"
)

func TestRing(t *testing.T) {
	w := New(Config{Seed: 1})
	Ring(w, 8, Tunnels)
	d, ok := w.Await(10*time.Second, w.AllReach)
	t.Log(d, ok, w.Unreached())
	w.Run(time.Minute)
	t.Log(w.Stretch(), w.Violations(), w.fib.version)
	w.Link(0).Cut(true)
	d, ok = w.Await(30*time.Second, w.AllReach)
	t.Log(d, ok, w.Unreached())
}
