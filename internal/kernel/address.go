package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}

// ifaddrmsgLen: family, prefix length, flags, scope, u32 index.
const ifaddrmsgLen = unix.SizeofIfAddrmsg

// parseAddress reads the body of RTM_NEWADDR or RTM_DELADDR. The local address
// of a link with a peer's has an attribute of its own.
func parseAddress(b []byte) (local netip.Addr, err error) {
	if len(b) < ifaddrmsgLen {
		return local, fmt.Errorf("%w: address of %d bytes", errMessage, len(b))
	}
	hasLocal := false
	err = eachAttr(b[ifaddrmsgLen:], func(kind uint16, v []byte) error {
		if kind != unix.IFA_LOCAL && (kind != unix.IFA_ADDRESS || hasLocal) {
			return nil
		}
		hasLocal = hasLocal || kind == unix.IFA_LOCAL
		var ok bool
		if local, ok = netip.AddrFromSlice(v); !ok {
			return fmt.Errorf("%w: address of %d bytes", errMessage, len(v))
		}
		return nil
	})
	return local, err
}

// hostAddress is the address as one that needs no duplicate detection (its
// owner is proved by certificate, and tentative it could not be bound) and puts
// no route into the main table.
func hostAddress(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())},
		Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE,
		Scope: unix.RT_SCOPE_UNIVERSE,
	}
}

// hasAddress says whether the interface has the address, with any prefix length.
func (h *Host) hasAddress(iface string, a netip.Addr) (bool, error) {
	l, err := h.LinkByName(iface)
	if err != nil {
		return false, err
	}
	all, err := h.Addresses(l.Index)
	if err != nil {
		return false, err
	}
	for _, p := range all {
		if p.Addr() == a {
			return true, nil
		}
	}
	return false, nil
}

func (h *Host) addAddress(iface string, a netip.Addr) error {
	l, err := h.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("adding the node's address: %w", err)
	}
	err = h.handle.AddrAdd(linkOf(l.Index), hostAddress(a))
	switch {
	case err == nil || errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("adding address %v to %s: %w (IPv6 is disabled there: sysctl net.ipv6.conf.%s.disable_ipv6=0)", a, iface, err, iface)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("adding address %v to %s: %w (this needs root, or CAP_NET_ADMIN)", a, iface, err)
	}
	return fmt.Errorf("adding address %v to %s: %w", a, iface, err)
}

func (h *Host) deleteAddress(iface string, a netip.Addr) error {
	l, err := h.LinkByName(iface)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	err = h.handle.AddrDel(linkOf(l.Index), hostAddress(a))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing address %v from %s: %w", a, iface, err)
	}
	return nil
}

// linkOf names an interface to the library, which looks at the index alone.
func linkOf(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}
