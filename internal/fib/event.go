package fib

import "net/netip"

// Event says what the kernel has, or has no more.
type Event interface{ event() }

// Route is one entry of the table that decides. Two routes of the same RouteKey
// replace each other.
type Route struct {
	RouteKey
	// Ordinary: a unicast route with one next hop and nothing special about it, no
	// encapsulation nor metrics of its own. Whatever else matches is the stack's
	// affair, with two exceptions: see Throw.
	Ordinary bool
	// Throw ends the lookup in this table: the next rule is tried.
	Throw     bool
	Interface int
	Gateway   netip.Addr // zero: the destination is on the link
}

// RouteKey tells the entries of a table apart.
type RouteKey struct {
	Dst      netip.Prefix
	Src      netip.Prefix // zero: from anywhere; IPv6 only
	Priority uint32       // the kernel's metric: the least one counts
	TOS      uint8        // IPv4 only
}

// Local is a prefix of the kernel's local table: addresses of this host, of
// broadcast, multicast and anycast.
type Local struct{ Prefix netip.Prefix }

// Kind says what a packet on a link begins with.
type Kind uint8

const (
	// Other links are never sent to.
	Other Kind = iota
	// Raw links carry IP packets without anything before them: tunnels.
	Raw
	// Ethernet links need a neighbour's address.
	Ethernet
)

// Link is an interface of the host.
type Link struct {
	Index int
	Kind  Kind
	Up    bool
	MTU   int
	MTU6  int // for IPv6, where it is another; zero: MTU
}

// Rule is a policy rule as far as it concerns packets in transit without a mark:
// those that they never match are left out.
type Rule struct {
	// IPv4 says of which family it is, as a rule for everything has no prefix.
	IPv4     bool
	To, From netip.Prefix // zero: any
	// Lookup: the rule asks the table whose routes we have. Any other ends what is
	// known here.
	Lookup bool
}

type (
	// RouteAdded adds or replaces.
	RouteAdded struct{ Route }
	// RouteRemoved removes.
	RouteRemoved struct{ RouteKey }
	// LocalAdded and LocalRemoved count: the same prefix may be there for several
	// links.
	LocalAdded   struct{ Local }
	LocalRemoved struct{ Local }
	// LinkChanged adds or replaces.
	LinkChanged struct{ Link }
	// LinkRemoved takes its routes with it.
	LinkRemoved struct{ Index int }
	// RulesChanged brings all rules of both families, in the order in which the
	// kernel tries them.
	RulesChanged struct{ Rules []Rule }
	// Snapshot replaces everything.
	Snapshot struct {
		Routes []Route
		Locals []Local
		Links  []Link
		Rules  []Rule
	}
)

func (RouteAdded) event()   {}
func (RouteRemoved) event() {}
func (LocalAdded) event()   {}
func (LocalRemoved) event() {}
func (LinkChanged) event()  {}
func (LinkRemoved) event()  {}
func (RulesChanged) event() {}
func (Snapshot) event()     {}
