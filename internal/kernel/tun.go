package kernel

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addrGenModeNone keeps the kernel from giving a link a random address of its own.
const addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE

// SetUpTUN brings a TUN device of ours up, with an IPv4 address and the route to
// its prefix. All of it goes with the device, which goes with its owner's last
// file: a SIGKILL leaves nothing.
func (h *Host) SetUpTUN(name, alias string, address netip.Prefix) (index int, err error) {
	l, err := h.LinkByName(name)
	if err != nil {
		return 0, err
	}
	link := linkOf(l.Index)
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"naming its owner", func() error { return h.handle.LinkSetAlias(link, alias) }},
		{"switching IPv6 on", func() error { return SetSysctl(conf6+"/"+name+"/disable_ipv6", "0") }},
		{"switching its own addresses off", func() error { return h.handle.LinkSetIP6AddrGenMode(link, addrGenModeNone) }},
		{"bringing it up", func() error { return h.handle.LinkSetUp(link) }},
		{"adding its address", func() error {
			return h.handle.AddrAdd(link, &netlink.Addr{
				IPNet: &net.IPNet{IP: address.Addr().AsSlice(), Mask: net.CIDRMask(address.Bits(), address.Addr().BitLen())},
				Scope: unix.RT_SCOPE_HOST, // nothing that leaves the host has it as its source
			})
		}},
	} {
		if err := step.do(); err != nil {
			return 0, fmt.Errorf("%s: interface %s: %w", step.what, name, err)
		}
	}
	return l.Index, nil
}
