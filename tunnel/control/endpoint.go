package control

import "net/netip"

// Usable returns the endpoints that may be dialled, in their order, without duplicates, at most MaxEndpoints, IPv4
// addresses in their own form. An endpoint inside one of networks is never offered, accepted or dialled: the outer
// packets of a tunnel would run through the mesh, that is through themselves.
func Usable(endpoints []netip.AddrPort, networks []netip.Prefix) []netip.AddrPort {
	var out []netip.AddrPort
	seen := make(map[netip.AddrPort]bool, len(endpoints))
	for _, e := range endpoints {
		e = unmapped(e)
		if seen[e] || !IsUsable(e, networks) {
			continue
		}
		seen[e] = true
		if out = append(out, e); len(out) == MaxEndpoints {
			break
		}
	}
	return out
}

// IsUsable is false of endpoints that name no host or no port, that mean the one who reads them (loopback), a group,
// or a link (a link-local address says nothing without its zone, which is local), and of those inside networks.
func IsUsable(e netip.AddrPort, networks []netip.Prefix) bool {
	a := e.Addr().Unmap()
	switch {
	case !a.IsValid(), e.Port() == 0, a.Zone() != "",
		a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast():
		return false
	case a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240):
		return false // "this network" (RFC 1122, section 3.2.1.3), class E and broadcast
	}
	for _, n := range networks {
		if n.Contains(a) {
			return false
		}
	}
	return true
}

func unmapped(e netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
}
