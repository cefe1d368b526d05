package server

import (
	"net/netip"
	"sync"
	"time"
)

// Questions a second and at once. Ours are many behind one address: a resolver on
// this host. Strangers can forge their address, and have others flooded.
const (
	oursRate      = 2000
	oursBurst     = 4000
	strangerRate  = 20
	strangerBurst = 40
	// sourcesMax bounds a generation of those that are remembered.
	sourcesMax = 4096
	// sourceBits: whoever has a /64 has all its addresses.
	sourceBits = 64
)

// sourceOf is what counts as one client.
func sourceOf(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(sourceBits); err == nil {
			return p.Addr()
		}
	}
	return a
}

// A bucket has tokens, which come back with time.
type bucket struct {
	tokens float64
	at     time.Time
}

// limits remembers sources in two generations: when the new one is full it
// becomes the old one, and that is forgotten.
type limits struct {
	mu       sync.Mutex
	now, old map[netip.Addr]bucket
}

func newLimits() *limits { return &limits{now: make(map[netip.Addr]bucket)} }

// allow says whether a source may have one more answer.
func (l *limits) allow(now time.Time, a netip.Addr, isOurs bool) bool {
	rate, burst := float64(strangerRate), float64(strangerBurst)
	if isOurs {
		rate, burst = oursRate, oursBurst
	}
	source := sourceOf(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.now[source]
	if !ok {
		if b, ok = l.old[source]; !ok {
			b = bucket{tokens: burst, at: now}
		}
		if len(l.now) >= sourcesMax {
			l.now, l.old = make(map[netip.Addr]bucket), l.now
		}
	}
	b.tokens = min(burst, b.tokens+max(0, now.Sub(b.at).Seconds())*rate)
	b.at = now
	allowed := b.tokens >= 1
	if allowed {
		b.tokens--
	}
	l.now[source] = b
	return allowed
}
