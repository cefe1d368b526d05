package kernel

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// What is used where a Plan says nothing.
const (
	DefaultTable        = 326
	DefaultMark         = 0x6e36
	DefaultRulePriority = 26000
	DefaultInterface    = "lo"
)

const (
	tableMain    = unix.RT_TABLE_MAIN
	priorityMain = 32766 // the kernel's rule "lookup main"

	// The priorities of our rules, counted from Plan.RulePriority.
	offsetMark      = 0    // fwmark M goto main
	offsetTo        = 1    // to NET lookup T
	offsetFrom      = 2    // from NET lookup T
	offsetMain      = 3    // lookup main suppress_prefixlength 0
	offsetAnnounced = 4    // lookup T suppress_prefixlength 0; IPv4: to P lookup T
	offsetOf        = 5    // from P lookup T; to O unreachable
	offsetLast      = 6800 // not fwmark M lookup T: behind main, 32800 by default

	// priorityGuard makes a route the last choice, priorityOnLink the first. The
	// routes of the mesh lie between.
	priorityGuard  = math.MaxUint32
	priorityOnLink = 1
)

// Plan is what a node wants from the kernel beside the routes of the mesh.
type Plan struct {
	Networks     []netip.Prefix // NET: the network's own prefixes
	Own          []netip.Prefix // of those, what is this node's: its prefix, its IPv4 subnet
	Address      netip.Addr     // the node's address
	Address4     netip.Addr     // the node's IPv4 address; zero: none
	Interface    string         // that carries them
	Table        uint32         // T: the table of the mesh
	Mark         uint32         // M: on every packet towards the underlay
	RulePriority uint32         // the first of the rules' priorities
	InstanceID   string         // hash of the state directory: tells ours from another instance's
	// Forward4: IPv4 is forwarded though the network has none, as for NAT64.
	Forward4 bool

	// RoutePriority makes it the plan of a lone router, which has no network, no
	// rules and no table of its own: this is the kernel's metric of its routes,
	// and with protocol 42 it tells them from those of others in the table.
	RoutePriority uint32
}

func (p Plan) isLone() bool { return p.RoutePriority != 0 }

// marks says by what the routes of the plan are known.
func (p Plan) marks() marks { return marks{p.Table, p.RoutePriority} }

func (p Plan) withDefaults() Plan {
	if p.Table == 0 {
		p.Table = DefaultTable
	}
	if p.Mark == 0 {
		p.Mark = DefaultMark
	}
	if p.RulePriority == 0 && !p.isLone() {
		p.RulePriority = DefaultRulePriority
	}
	if p.Interface == "" {
		p.Interface = DefaultInterface
	}
	p.Networks = slices.Clone(p.Networks)
	for i, n := range p.Networks {
		p.Networks[i] = n.Masked()
	}
	return p
}

func (p Plan) check() error {
	for _, n := range p.Networks {
		if !n.IsValid() || n.Bits() == 0 {
			return fmt.Errorf("network prefix %v: not usable", n)
		}
	}
	if p.Address.IsValid() && (!p.Address.Is6() || p.Address.Is4In6() || p.Address.Zone() != "") {
		return fmt.Errorf("node address %v: not an IPv6 address", p.Address)
	}
	if p.Address4.IsValid() && !p.Address4.Is4() {
		return fmt.Errorf("node address %v: not an IPv4 address", p.Address4)
	}
	if p.Table == unix.RT_TABLE_LOCAL || p.Table == unix.RT_TABLE_DEFAULT {
		return fmt.Errorf("table %d is the kernel's", p.Table)
	}
	if p.isLone() {
		return p.checkLone()
	}
	// The last rule must lie behind main, all others before it.
	if p.RulePriority+offsetLast <= priorityMain+1 || p.RulePriority+offsetOf >= priorityMain {
		return fmt.Errorf("rule priority %d: want one from %d to %d", p.RulePriority, priorityMain+2-offsetLast, priorityMain-offsetOf-1)
	}
	if len(p.Networks) == 0 {
		return errors.New("no network prefix")
	}
	return nil
}

func (p Plan) checkLone() error {
	if len(p.Networks) > 0 || p.RulePriority != 0 || p.Address.IsValid() || p.Address4.IsValid() {
		return errors.New("a lone router has no network, address or rules")
	}
	return nil
}

// beside is what the mesh carries beside NET, and what this host does with it. It
// changes while the node runs.
type beside struct {
	gateway   [2]bool        // IPv4, IPv6: mesh traffic may leave by this host's own default route
	announced []netip.Prefix // P: those of others, in use
	origins   []netip.Prefix // O: those that this node announces
}

func (b beside) equal(o beside) bool {
	return b.gateway == o.gateway && slices.Equal(b.announced, o.announced) && slices.Equal(b.origins, o.origins)
}

// AnnouncedMax bounds the rules: the kernel walks them for each new flow. What is
// beyond it still has its routes; in IPv4 they lead there from NET alone.
const AnnouncedMax = 256

// bounded is the set in one order, so that it is the same prefixes which are
// left out each time.
func bounded(prefixes []netip.Prefix) []netip.Prefix {
	set := slices.SortedFunc(slices.Values(prefixes), netip.Prefix.Compare)
	set = slices.DeleteFunc(slices.Compact(set), func(p netip.Prefix) bool { return !p.IsValid() || p.Bits() == 0 })
	return set[:min(len(set), AnnouncedMax)]
}

// families are those in which the mesh has a prefix: in the others there is
// nothing to route, and the host's rules are left alone.
func (p Plan) families(b beside) []uint8 {
	if p.isLone() {
		return []uint8{unix.AF_INET, unix.AF_INET6} // it routes whatever it learns
	}
	var all []uint8
	for _, n := range slices.Concat(p.Networks, b.announced, b.origins) {
		if f := family(n.Addr()); !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	slices.Sort(all)
	return all
}

// guards are the routes of T that do not depend on others: nothing addressed to
// the network leaves by a default route, and nothing from it either unless this
// node is a gateway of the family. What is for a prefix of this node's own goes
// to the host's own routes.
func (p Plan) guards(b beside) []Route {
	var routes []Route
	for _, n := range p.Networks {
		guard := Route{Dst: n, Type: Unreachable, Priority: priorityGuard, Table: p.Table, Protocol: Protocol}
		routes = append(routes, guard)
		if b.isGateway(n.Addr()) {
			continue
		}
		guard.Dst = defaultLike(n)
		if n.Addr().Is6() {
			guard.Src = n
		}
		if !slices.Contains(routes, guard) {
			routes = append(routes, guard)
		}
	}
	for _, o := range b.origins {
		routes = append(routes, p.throw(o))
	}
	return routes
}

func (b beside) isGateway(a netip.Addr) bool {
	if a.Is4() {
		return b.gateway[0]
	}
	return b.gateway[1]
}

func (p Plan) throw(dst netip.Prefix) Route {
	return Route{Dst: dst, Type: Throw, Priority: priorityOnLink, Table: p.Table, Protocol: Protocol}
}

func defaultLike(n netip.Prefix) netip.Prefix {
	if n.Addr().Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// throws sends packets for on-link prefixes inside the network, or inside an
// announced prefix, back to the main table: a LAN that is numbered from the mesh
// would disappear behind it. What a router on such a LAN has of this node's own
// prefix is the same.
func (p Plan) throws(onLink []netip.Prefix, b beside) []Route {
	var routes []Route
	for _, l := range onLink {
		if p.inside(l, b) && !slices.Contains(b.origins, l) && len(routes) < throwsMax {
			routes = append(routes, p.throw(l))
		}
	}
	return routes
}

// throwsMax is more LANs than a host has.
const throwsMax = 1024

// inside: a prefix longer than one of the network's, and part of it; or part of
// an announced one.
func (p Plan) inside(l netip.Prefix, b beside) bool {
	part := func(n netip.Prefix) bool { return l.Bits() >= n.Bits() && n.Contains(l.Addr()) }
	return slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return part(n) && l.Bits() > n.Bits() }) ||
		slices.ContainsFunc(b.announced, part)
}

// rules in the order in which the kernel tries them.
func (p Plan) rules(b beside) []rule {
	if p.isLone() {
		return nil
	}
	var all []rule
	for _, fam := range p.families(b) {
		marked := p.ruleAt(fam, offsetMark)
		marked.mark, marked.jump, marked.table = p.Mark, priorityMain, 0
		all = append(all, marked)
		for _, n := range ofFamily(p.Networks, fam) {
			to, from := p.ruleAt(fam, offsetTo), p.ruleAt(fam, offsetFrom)
			to.to, from.from = n, n
			all = append(all, to, from)
		}
		all = append(all, p.besideRules(fam, b)...)
		last := p.ruleAt(fam, offsetLast)
		last.mark, last.invert = p.Mark, true
		all = append(all, last)
	}
	return all
}

func (p Plan) ruleAt(fam uint8, offset uint32) rule {
	return rule{family: fam, priority: p.RulePriority + offset, protocol: Protocol, table: p.Table}
}

// besideRules lead to what is announced: behind the host's own routes, but before
// its default. What is for a prefix of this node's own and has no route here must
// not leave by that default either: whoever is there may send it back. What comes
// from such a prefix leaves by the host's own default, as it did before us, and by
// the mesh's where there is none.
//
// IPv6 has one rule for all prefixes, which does not see default routes. In IPv4
// it would see the guard: an unreachable default is an error to the kernel, and
// suppress_prefixlength spares routes alone.
func (p Plan) besideRules(fam uint8, b beside) []rule {
	announced, origins := ofFamily(b.announced, fam), ofFamily(b.origins, fam)
	if len(announced)+len(origins) == 0 {
		return nil
	}
	own := p.ruleAt(fam, offsetMain)
	own.table, own.suppress = tableMain, true
	all := []rule{own}
	if fam == unix.AF_INET6 {
		mesh := p.ruleAt(fam, offsetAnnounced)
		mesh.suppress = true
		all = append(all, mesh)
	}
	for _, a := range announced {
		to, from := p.ruleAt(fam, offsetAnnounced), p.ruleAt(fam, offsetOf)
		to.to, from.from = a, a
		if fam == unix.AF_INET {
			all = append(all, to)
		}
		all = append(all, from)
	}
	for _, o := range origins {
		to := p.ruleAt(fam, offsetOf)
		to.to, to.table, to.unreachable = o, 0, true
		all = append(all, to)
	}
	return all
}

func ofFamily(prefixes []netip.Prefix, fam uint8) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return family(p.Addr()) != fam })
}

// isOurs says whether a rule of protocol 42 at this priority is this instance's.
func (p Plan) isOurs(priority uint32) bool {
	if p.RulePriority == 0 {
		return false
	}
	return (priority >= p.RulePriority && priority <= p.RulePriority+offsetOf) || priority == p.RulePriority+offsetLast
}
