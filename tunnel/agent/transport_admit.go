package agent

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// gate decides who may begin a handshake. It sees source addresses only, after they were proved to be reachable (TCP's
// own handshake, QUIC's Retry), so nobody can use up another's share by spoofing.
type gate struct {
	limits transportLimits

	mu        sync.Mutex // guards all below
	open      int
	strangers *rate.Limiter
	known     *rate.Limiter
	sources   *lru[netip.Prefix, *source]
}

// source is what is remembered of one network that connections come from.
type source struct {
	open       int
	handshakes *rate.Limiter
	proved     time.Time // when a node from there last showed a valid certificate
}

// provedTime is how long a source that showed a valid certificate counts as known.
const provedTime = 10 * time.Minute

func newGate(l transportLimits) *gate {
	limiter := func(r float64) *rate.Limiter { return rate.NewLimiter(rate.Limit(r), int(2*r)+1) }
	return &gate{
		limits: l, strangers: limiter(l.Handshakes), known: limiter(l.KnownHandshakes),
		sources: newLRU[netip.Prefix, *source](l.Sources),
	}
}

// sourceOf is the unit of the limits by source: whoever has one address of an IPv6 /56 has them all.
func sourceOf(a netip.Addr) netip.Prefix {
	bits := 56
	if a = a.Unmap(); a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// admit takes a connection in, or not. release must be called once when it has ended.
func (g *gate) admit(now time.Time, from netip.Addr) (release func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sourceLocked(sourceOf(from))
	if g.open >= g.limits.Connections || s.open >= g.limits.SourceConnections {
		return nil, false
	}
	global := g.strangers
	if now.Sub(s.proved) < provedTime {
		global = g.known
	}
	if !s.handshakes.AllowN(now, 1) || !global.AllowN(now, 1) {
		return nil, false
	}
	g.open++
	s.open++
	var once sync.Once
	return func() {
		once.Do(func() {
			g.mu.Lock()
			g.open--
			s.open--
			g.mu.Unlock()
		})
	}, true
}

// prove notes that a node with a valid certificate calls from there.
func (g *gate) prove(now time.Time, from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sourceLocked(sourceOf(from)).proved = now
}

func (g *gate) sourceLocked(p netip.Prefix) *source {
	if s, ok := g.sources.get(p); ok {
		return s
	}
	l := g.limits.SourceHandshakes
	s := &source{handshakes: rate.NewLimiter(rate.Limit(l), int(3*l)+1)}
	g.sources.put(p, s)
	return s
}

// quota is what each node may ask for once it is known who it is.
type quota struct {
	limits transportLimits

	mu       sync.Mutex // guards all below
	requests *lru[netip.Prefix, *rate.Limiter]
}

func newQuota(l transportLimits) *quota {
	return &quota{limits: l, requests: newLRU[netip.Prefix, *rate.Limiter](l.Peers)}
}

// allow counts one request of a node. If it is one too many, it says how long to wait.
func (q *quota) allow(now time.Time, peer netip.Prefix) (wait time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l, found := q.requests.get(peer)
	if !found {
		l = rate.NewLimiter(rate.Limit(q.limits.PeerRequests), q.limits.PeerBurst)
		q.requests.put(peer, l)
	}
	if l.AllowN(now, 1) {
		return 0, true
	}
	return time.Duration(float64(time.Second) / q.limits.PeerRequests), false
}

// guests are the open connections from other nodes, by node.
type guests struct {
	limit int

	mu     sync.Mutex // guards all below
	byNode map[netip.Prefix][]*guest
}

type guest struct{ close func() }

func newGuests(limit int) *guests {
	return &guests{limit: limit, byNode: make(map[netip.Prefix][]*guest)}
}

// enter notes a connection. A node that has too many loses its oldest: after a crash the dead ones are the oldest.
func (g *guests) enter(node netip.Prefix, closeConn func()) (leave func()) {
	me := &guest{close: closeConn}
	g.mu.Lock()
	var oldest *guest
	if have := g.byNode[node]; len(have) >= g.limit {
		oldest, g.byNode[node] = have[0], have[1:]
	}
	g.byNode[node] = append(g.byNode[node], me)
	g.mu.Unlock()
	if oldest != nil {
		oldest.close()
	}
	return func() { g.leave(node, me) }
}

func (g *guests) leave(node netip.Prefix, who *guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	have := g.byNode[node]
	for i, other := range have {
		if other == who {
			have = append(have[:i:i], have[i+1:]...)
			break
		}
	}
	if g.byNode[node] = have; len(have) == 0 {
		delete(g.byNode, node)
	}
}

// expel closes all connections from a node.
func (g *guests) expel(node netip.Prefix) {
	g.mu.Lock()
	have := g.byNode[node]
	delete(g.byNode, node)
	g.mu.Unlock()
	for _, who := range have {
		who.close()
	}
}
