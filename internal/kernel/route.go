package kernel

import (
	"fmt"
	"net/netip"
	"strings"
)

// Protocol is the number by which our routes and rules are known in the kernel:
// RTPROT_BABEL of linux/rtnetlink.h.
const Protocol = 42

// RouteType says what becomes of a packet that matches a route.
type RouteType uint8

const (
	// Unicast forwards to the gateway, or on the link where there is none.
	Unicast RouteType = iota
	// Unreachable answers with an ICMP error and ends the lookup.
	Unreachable
	// Throw ends the lookup in this table: the next rule is tried.
	Throw
)

func (t RouteType) String() string {
	switch t {
	case Unicast:
		return "unicast"
	case Unreachable:
		return "unreachable"
	case Throw:
		return "throw"
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Route is one entry of a forwarding table. It is comparable, and two equal
// values are the same entry. Dst is never zero: a default route has ::/0 or
// 0.0.0.0/0. An IPv4 Dst with an IPv6 Gateway is a v4-via-v6 route (RFC 9229).
type Route struct {
	Dst      netip.Prefix
	Src      netip.Prefix // zero: from anywhere; IPv6 only (RFC 9079)
	Gateway  netip.Addr   // zero: on the link, or Type has none
	Ifindex  int          // 0 unless Unicast
	Type     RouteType
	Priority uint32 // the kernel's metric; zero means 1024, as for IPv6 it does in the kernel
	Table    uint32
	Protocol uint8 // zero means Protocol
	// PrefSrc is the source address of packets that this host itself sends by
	// the route from an unbound socket; zero: the kernel's choice (RFC 6724),
	// which prefers a temporary address of the underlay to the mesh's.
	PrefSrc netip.Addr
}

// RouteChange adds or replaces the route that has the same key (table,
// destination, source, priority), or deletes it. What a deletion's Gateway,
// Ifindex and Type say does not matter.
type RouteChange struct {
	Route  Route
	Delete bool
}

// String writes the route the way iproute2 does, interface by number.
func (r Route) String() string {
	var b strings.Builder
	if r.Type != Unicast {
		b.WriteString(r.Type.String() + " ")
	}
	b.WriteString(r.Dst.String())
	if r.Src.IsValid() {
		b.WriteString(" from " + r.Src.String())
	}
	if r.Gateway.IsValid() {
		b.WriteString(" via " + r.Gateway.String())
	}
	if r.Ifindex != 0 {
		fmt.Fprintf(&b, " dev %d", r.Ifindex)
	}
	fmt.Fprintf(&b, " table %d", r.Table)
	if r.Priority != 0 {
		fmt.Fprintf(&b, " metric %d", r.Priority)
	}
	if r.Protocol != 0 {
		fmt.Fprintf(&b, " proto %d", r.Protocol)
	}
	if r.PrefSrc.IsValid() {
		b.WriteString(" src " + r.PrefSrc.String())
	}
	return b.String()
}

func (c RouteChange) String() string {
	if c.Delete {
		return "del " + c.Route.String()
	}
	return "add " + c.Route.String()
}

// routeKey is what the kernel compares to find the entry to replace or delete.
type routeKey struct {
	dst, src netip.Prefix
	priority uint32
	table    uint32
}

func (r Route) key() routeKey {
	return routeKey{dst: r.Dst, src: r.Src, priority: r.Priority, table: r.Table}
}

// defaultPriority is IP6_RT_PRIO_USER: what the kernel takes for an IPv6 route
// without a metric, and says in its dumps. IPv4 gets the same, so that a throw
// route of priority 1 wins in both families.
const defaultPriority = 1024

// normal is the route as the kernel will say it in a dump, so that wanted and
// found routes compare equal.
func (r Route) normal() Route {
	r.Dst = r.Dst.Masked()
	if r.Src.IsValid() {
		r.Src = r.Src.Masked()
		if r.Src.Bits() == 0 {
			r.Src = netip.Prefix{}
		}
	}
	if r.Priority == 0 {
		r.Priority = defaultPriority
	}
	if r.Protocol == 0 {
		r.Protocol = Protocol
	}
	r.Gateway = r.Gateway.WithZone("")
	if r.Type != Unicast {
		r.Gateway, r.Ifindex, r.PrefSrc = netip.Addr{}, 0, netip.Addr{}
	}
	return r
}

func (r Route) check() error {
	switch {
	case !r.Dst.IsValid():
		return fmt.Errorf("route without destination")
	case r.Src.IsValid() && (r.Src.Addr().Is4() || r.Dst.Addr().Is4()):
		return fmt.Errorf("route %v: source-specific routes are IPv6 only", r)
	case r.Dst.Addr().Is6() && r.Gateway.Is4():
		return fmt.Errorf("route %v: IPv6 route with an IPv4 gateway", r)
	case r.PrefSrc.IsValid() && r.PrefSrc.Is4() != r.Dst.Addr().Is4():
		return fmt.Errorf("route %v: source address of another family", r)
	case r.Type > Throw:
		return fmt.Errorf("route %v: unknown type", r)
	case r.Type == Unicast && r.Ifindex <= 0:
		return fmt.Errorf("route %v: no interface", r)
	}
	return nil
}
