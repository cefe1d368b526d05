package babel

import (
	"testing"
	"time"

	"re6st/babel/mac"
)

var (
	keyA = mac.Key{Algorithm: mac.HMACSHA256, Secret: []byte("0123456789abcdef0123456789abcdef")}
	keyB = mac.Key{Algorithm: mac.BLAKE2s128, Secret: []byte("fedcba9876543210")}
)

// connectKeyed is connect with keys.
func (w *world) connectKeyed(kind Kind, keys []mac.Key, nodes ...*node) *cable {
	c := w.connect(kind, time.Millisecond, nodes...)
	c.keys = keys
	for _, e := range c.ends {
		e.n.engine.SetKeys(w.now, e.index, keys, false)
		e.n.drain()
	}
	return c
}

func TestAuthSharedLinkConverges(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.add(), w.add(), w.add()
	w.connectKeyed(Wired, []mac.Key{keyA, keyB}, a, b, c)
	t.Log(w.await("convergence", 5*time.Second, w.allReach))
}
