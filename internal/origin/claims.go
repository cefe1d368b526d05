package origin

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"

	"re6st/addressing"
	"re6st/internal/identity"
)

// nodesMax bounds the set. Only the CA can make entries, so it is generous: such
// a set has some 100 MB.
const nodesMax = 1 << 16

// Config says in which mesh the claims are made.
type Config struct {
	Networks []netip.Prefix // of both families
	NAT64    netip.Prefix   // for the whole network (RFC 6052); invalid: none
	NodesMax int            // zero: 65536
}

// Claims are the certificates at hand, one for each router-id. It is not for
// concurrent use.
type Claims struct {
	networks []netip.Prefix
	nat64    netip.Prefix
	nodesMax int

	nodes     map[addressing.RouterID]identity.Node
	names     map[string]addressing.RouterID
	addresses bart.Table[addressing.RouterID] // own prefixes and IPv4 subnets
	announced map[netip.Prefix]int            // by how many nodes
}

// NewClaims makes an empty set.
func NewClaims(c Config) *Claims {
	s := &Claims{
		nodesMax: c.NodesMax, nat64: c.NAT64,
		nodes: map[addressing.RouterID]identity.Node{}, names: map[string]addressing.RouterID{}, announced: map[netip.Prefix]int{},
	}
	if s.nodesMax == 0 {
		s.nodesMax = nodesMax
	}
	for _, n := range c.Networks {
		s.networks = append(s.networks, n.Masked())
	}
	return s
}

// SetNAT64 changes the network's prefix for NAT64; it reports whether it did.
func (c *Claims) SetNAT64(p netip.Prefix) bool {
	if c.nat64 == p {
		return false
	}
	c.nat64 = p
	return true
}

// Add takes a verified certificate in. Of two for one router-id the later one
// stays: its rights are what the registry thinks now. It reports whether the set
// has changed.
func (c *Claims) Add(n identity.Node) bool {
	old, isKnown := c.nodes[n.RouterID]
	if isKnown && !later(n, old) || !isKnown && len(c.nodes) >= c.nodesMax {
		return false
	}
	if isKnown {
		c.remove(old)
	}
	c.nodes[n.RouterID] = n
	for _, p := range own(n) {
		c.addresses.Insert(p, n.RouterID)
	}
	for _, p := range n.Rights.Announce {
		c.announced[p]++
	}
	c.name(n)
	return true
}

// later decides by the certificates alone, so that all nodes decide alike.
func later(a, b identity.Node) bool {
	return cmp.Or(a.NotBefore.Compare(b.NotBefore), a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Serial, b.Serial), bytes.Compare(a.Raw, b.Raw)) > 0
}

func own(n identity.Node) []netip.Prefix {
	if n.IPv4.IsValid() {
		return []netip.Prefix{n.Prefix, n.IPv4}
	}
	return []netip.Prefix{n.Prefix}
}

// name: a machine that lost its key enrols again under its name, and the other
// certificate is valid for a while yet.
func (c *Claims) name(n identity.Node) {
	if holder, ok := c.names[n.Name]; !ok || later(n, c.nodes[holder]) {
		c.names[n.Name] = n.RouterID
	}
}

// Remove takes a certificate out.
func (c *Claims) Remove(id addressing.RouterID) bool {
	n, ok := c.nodes[id]
	if ok {
		c.remove(n)
		c.rename(n.Name)
	}
	return ok
}

func (c *Claims) remove(n identity.Node) {
	delete(c.nodes, n.RouterID)
	for _, p := range own(n) {
		if id, ok := c.addresses.Get(p); ok && id == n.RouterID {
			c.addresses.Delete(p)
		}
	}
	for _, p := range n.Rights.Announce {
		if c.announced[p]--; c.announced[p] == 0 {
			delete(c.announced, p)
		}
	}
	if c.names[n.Name] == n.RouterID {
		delete(c.names, n.Name)
	}
}

// rename gives names that became free to the others that bear them.
func (c *Claims) rename(names ...string) {
	for _, n := range c.nodes {
		if slices.Contains(names, n.Name) {
			c.name(n)
		}
	}
}

// Expire takes out what has ended by now, and returns it.
func (c *Claims) Expire(now time.Time) []identity.Node {
	var out []identity.Node
	var names []string
	for _, n := range c.nodes {
		if now.After(n.NotAfter) {
			out, names = append(out, n), append(names, n.Name)
		}
	}
	for _, n := range out {
		c.remove(n)
	}
	if len(out) > 0 {
		c.rename(names...)
	}
	slices.SortFunc(out, byRouterID)
	return out
}

// NextExpiry is when Expire next has something to do; zero: never.
func (c *Claims) NextExpiry() time.Time {
	var first time.Time
	for _, n := range c.nodes {
		if first.IsZero() || n.NotAfter.Before(first) {
			first = n.NotAfter
		}
	}
	return first
}

// Len is the number of nodes.
func (c *Claims) Len() int { return len(c.nodes) }

// Owner is the node of a router-id.
func (c *Claims) Owner(id addressing.RouterID) (identity.Node, bool) {
	n, ok := c.nodes[id]
	return n, ok
}

// ByName is the node of a name.
func (c *Claims) ByName(name string) (identity.Node, bool) {
	id, ok := c.names[name]
	if !ok {
		return identity.Node{}, false
	}
	return c.nodes[id], true
}

// OwnerOf is the node whose own prefix or IPv4 subnet holds an address: of
// several, that of the longest. Prefixes that a node merely announces do not
// count: several may announce one.
func (c *Claims) OwnerOf(a netip.Addr) (identity.Node, bool) {
	id, ok := c.addresses.Lookup(a.WithZone(""))
	if !ok {
		return identity.Node{}, false
	}
	return c.nodes[id], true
}

// All are the nodes, in the order of their router-ids.
func (c *Claims) All() iter.Seq[identity.Node] {
	return slices.Values(slices.SortedFunc(maps.Values(c.nodes), byRouterID))
}

func byRouterID(a, b identity.Node) int { return bytes.Compare(a.RouterID[:], b.RouterID[:]) }
