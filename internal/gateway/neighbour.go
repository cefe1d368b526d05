package gateway

import (
	"net/netip"

	"github.com/vishvananda/netlink"
)

// hears says whether the kernel has just heard the neighbour, or has no means to
// find out. ask makes it ask the neighbour now, on the link (RFC 4861, section
// 7.3): many routers answer no echoes, all answer this. The answer is seen at
// the next call.
func hears(ifindex int, a netip.Addr, wasAsked, ask bool) (heard bool) {
	family := netlink.FAMILY_V4
	if a.Is6() {
		family = netlink.FAMILY_V6
	}
	all, err := netlink.NeighList(ifindex, family)
	if err != nil {
		return false
	}
	for _, n := range all {
		if found, ok := netip.AddrFromSlice(n.IP); !ok || found.Unmap() != a.WithZone("") {
			continue
		}
		switch {
		case n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0:
			return true
		case n.State&netlink.NUD_REACHABLE != 0 && wasAsked:
			return true
		case ask && n.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY) != 0:
			n.State = netlink.NUD_PROBE
			_ = netlink.NeighSet(&n) // if not now, then at the next probe
		}
		return false
	}
	return false // the echo that is sent besides makes the kernel look for it
}
