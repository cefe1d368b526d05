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
	offsetAnnounced = 4    // lookup T suppress_prefixlength 0
	offsetLast      = 6800 // not fwmark M lookup T: behind main, 32800 by default

	// priorityGuard makes a route the last choice, priorityOnLink the first. The
	// routes of the mesh lie between.
	priorityGuard  = math.MaxUint32
	priorityOnLink = 1
)

// Plan is what a node wants from the kernel beside the routes of the mesh.
type Plan struct {
	Networks     []netip.Prefix // NET: the network's own prefixes
	Address      netip.Addr     // the node's address
	Interface    string         // that carries it
	Table        uint32         // T: the table of the mesh
	Mark         uint32         // M: on every packet towards the underlay
	RulePriority uint32         // the first of the rules' priorities
	Gateway      bool           // mesh traffic may leave by this host's own default route
	InstanceID   string         // hash of the state directory: tells ours from another instance's

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
	if p.Table == unix.RT_TABLE_LOCAL || p.Table == unix.RT_TABLE_DEFAULT {
		return fmt.Errorf("table %d is the kernel's", p.Table)
	}
	if p.isLone() {
		return p.checkLone()
	}
	// The last rule must lie behind main, all others before it.
	if p.RulePriority+offsetLast <= priorityMain+1 || p.RulePriority+offsetAnnounced >= priorityMain {
		return fmt.Errorf("rule priority %d: want one from %d to %d", p.RulePriority, priorityMain+2-offsetLast, priorityMain-offsetAnnounced-1)
	}
	if len(p.Networks) == 0 {
		return errors.New("no network prefix")
	}
	return nil
}

func (p Plan) checkLone() error {
	if len(p.Networks) > 0 || p.RulePriority != 0 || p.Address.IsValid() {
		return errors.New("a lone router has no network, address or rules")
	}
	return nil
}

// families are those in which the network has a prefix: in the others there is
// nothing to route, and the host's rules are left alone.
func (p Plan) families() []uint8 {
	if p.isLone() {
		return []uint8{unix.AF_INET, unix.AF_INET6} // it routes whatever it learns
	}
	var all []uint8
	for _, n := range p.Networks {
		if f := family(n.Addr()); !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	slices.Sort(all)
	return all
}

// guards are the routes of T that do not depend on others: nothing addressed to
// the network leaves by a default route, and nothing from it either unless this
// node is a gateway.
func (p Plan) guards() []Route {
	var routes []Route
	for _, n := range p.Networks {
		guard := Route{Dst: n, Type: Unreachable, Priority: priorityGuard, Table: p.Table, Protocol: Protocol}
		routes = append(routes, guard)
		if p.Gateway {
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
	return routes
}

func defaultLike(n netip.Prefix) netip.Prefix {
	if n.Addr().Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// throws sends packets for on-link prefixes inside the network back to the main
// table: a LAN that is numbered from the mesh would disappear behind NET.
func (p Plan) throws(onLink []netip.Prefix) []Route {
	var routes []Route
	for _, l := range onLink {
		if p.inside(l) {
			routes = append(routes, Route{Dst: l, Type: Throw, Priority: priorityOnLink, Table: p.Table, Protocol: Protocol})
		}
	}
	return routes
}

// inside: a prefix longer than one of the network's, and part of it.
func (p Plan) inside(l netip.Prefix) bool {
	return slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool {
		return l.Bits() > n.Bits() && n.Contains(l.Addr())
	})
}

// rules in the order in which the kernel tries them. announced names the
// families in which the mesh has prefixes beside NET.
func (p Plan) rules(announced []uint8) []rule {
	var all []rule
	if p.isLone() {
		return nil
	}
	for _, fam := range p.families() {
		at := func(offset uint32) rule {
			return rule{family: fam, priority: p.RulePriority + offset, protocol: Protocol, table: p.Table}
		}
		marked := at(offsetMark)
		marked.mark, marked.jump, marked.table = p.Mark, priorityMain, 0
		all = append(all, marked)
		for _, n := range p.Networks {
			if family(n.Addr()) != fam {
				continue
			}
			to, from := at(offsetTo), at(offsetFrom)
			to.to, from.from = n, n
			all = append(all, to, from)
		}
		if slices.Contains(announced, fam) {
			// The host's own routes, but its default, win over announced prefixes.
			own, mesh := at(offsetMain), at(offsetAnnounced)
			own.table, own.suppress, mesh.suppress = tableMain, true, true
			all = append(all, own, mesh)
		}
		last := at(offsetLast)
		last.mark, last.invert = p.Mark, true
		all = append(all, last)
	}
	return all
}

// isOurs says whether a rule of protocol 42 at this priority is this instance's.
func (p Plan) isOurs(priority uint32) bool {
	if p.RulePriority == 0 {
		return false
	}
	return (priority >= p.RulePriority && priority <= p.RulePriority+offsetAnnounced) || priority == p.RulePriority+offsetLast
}
