package node

import (
	"context"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"time"

	"re6st/addressing"
	"re6st/internal/identity"
	"re6st/internal/origin"
)

// claims are the certificates that this node has, for all parts of the daemon at
// once: Babel's import filter, names, the gateway, what people are shown.
type claims struct {
	mu      sync.RWMutex // guards the fields below
	set     *origin.Claims
	changed chan struct{} // closed at the next change, and replaced
}

func newClaims(networks []netip.Prefix, nat64 netip.Prefix) *claims {
	return &claims{set: origin.NewClaims(origin.Config{Networks: networks, NAT64: nat64}), changed: make(chan struct{})}
}

// makeClaims comes before the parts that use it; keepCertificates joins them.
func (d *daemon) makeClaims() {
	d.claims = newClaims(d.networks, d.member.document.Parameters.NAT64)
	d.claims.Add(d.member.self)
	store := certificateStore{d.state, d.member.authority}
	d.keeper = newKeeper(d.claims, d.member.self.RouterID, store, d.log)
	for _, n := range store.load(time.Now()) {
		d.claims.Add(n)
	}
}

// keepCertificates runs when all other parts are made.
func (d *daemon) keepCertificates(ctx context.Context) error {
	d.keeper.fetch, d.keeper.tunnels = d.agent.FetchCertificates, d.tunnels
	d.keeper.destinations, d.keeper.rejudge = d.speaker.Destinations, d.speaker.FilterChanged
	return d.keeper.run(ctx)
}

// Add takes a verified certificate in; it reports whether that changed anything.
func (c *claims) Add(n identity.Node) bool {
	return c.change(func(s *origin.Claims) bool { return s.Add(n) })
}

// Expire takes out what has ended by now, and returns it.
func (c *claims) Expire(now time.Time) (gone []identity.Node) {
	c.change(func(s *origin.Claims) bool {
		gone = s.Expire(now)
		return len(gone) > 0
	})
	return gone
}

// SetNAT64 tells the network's prefix for NAT64; invalid: none.
func (c *claims) SetNAT64(p netip.Prefix) bool {
	return c.change(func(s *origin.Claims) bool { return s.SetNAT64(p) })
}

func (c *claims) change(f func(*origin.Claims) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f(c.set) {
		return false
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

// Changed is closed at the next change. Who waits asks for it before it looks,
// and anew for each change.
func (c *claims) Changed() <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed
}

// The rest is as in origin.Claims.

func (c *claims) Owner(id addressing.RouterID) (identity.Node, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.set.Owner(id)
}

func (c *claims) ByName(name string) (identity.Node, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.set.ByName(name)
}

func (c *claims) OwnerOf(a netip.Addr) (identity.Node, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.set.OwnerOf(a)
}

// All are the nodes of this moment.
func (c *claims) All() iter.Seq[identity.Node] {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Values(slices.Collect(c.set.All()))
}

func (c *claims) Check(prefix, from netip.Prefix, id addressing.RouterID) origin.Verdict {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.set.Check(prefix, from, id)
}

func (c *claims) why(prefix, from netip.Prefix, id addressing.RouterID) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.set.Why(prefix, from, id)
}

func (c *claims) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.set.Len()
}

func (c *claims) nextExpiry() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.set.NextExpiry()
}
