package node

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// tunnelPrefix begins the names of all interfaces of ours.
const tunnelPrefix = "re6st-"

// maxEndpoints bounds what a node tells of itself.
const maxEndpoints = 16

// ownEndpoints are where peers may reach the control API: what the operator
// gave, then the addresses of the host's own interfaces. An address of the mesh
// is never one: tunnels would run inside tunnels.
func ownEndpoints(given []netip.AddrPort, port uint16, networks []netip.Prefix) []netip.AddrPort {
	all := outsideOf(given, networks)
	interfaces, _ := net.Interfaces() // none where the kernel does not tell
	// Another VPN's address works too, but a tunnel inside a tunnel is slow.
	slices.SortStableFunc(interfaces, func(a, b net.Interface) int {
		return int(a.Flags&net.FlagPointToPoint) - int(b.Flags&net.FlagPointToPoint)
	})
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || strings.HasPrefix(i.Name, tunnelPrefix) {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			addr := prefix.Addr().Unmap()
			if isUnderlay(addr, networks) {
				all = append(all, netip.AddrPortFrom(addr, port))
			}
		}
	}
	all = slices.Compact(all)
	return all[:min(len(all), maxEndpoints)]
}

// outsideOf leaves out what lies in the networks.
func outsideOf(endpoints []netip.AddrPort, networks []netip.Prefix) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(endpoints), func(e netip.AddrPort) bool {
		return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(e.Addr()) })
	})
}

func isUnderlay(addr netip.Addr, networks []netip.Prefix) bool {
	if !addr.IsGlobalUnicast() {
		return false
	}
	return !slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}
