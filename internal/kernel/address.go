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

// Address is an address of an interface.
type Address struct {
	netip.Prefix
	Index int
	// Usable is false while duplicate address detection runs, and for good where
	// it found one.
	Usable bool
	// Secondary addresses share the prefix of an earlier one; IPv6 has here those
	// that are temporary.
	Secondary bool
}

// parseAddress reads the body of RTM_NEWADDR or RTM_DELADDR. The local address
// of a link with a peer's has an attribute of its own.
func parseAddress(b []byte) (a Address, err error) {
	if len(b) < ifaddrmsgLen {
		return a, fmt.Errorf("%w: address of %d bytes", errMessage, len(b))
	}
	a.Index = int(native.Uint32(b[4:]))
	flags := uint32(b[2])
	var local netip.Addr
	hasLocal := false
	err = eachAttr(b[ifaddrmsgLen:], func(kind uint16, v []byte) (err error) {
		switch {
		case kind == unix.IFA_FLAGS:
			flags, err = uint32Of(v)
			return err
		case kind != unix.IFA_LOCAL && (kind != unix.IFA_ADDRESS || hasLocal):
			return nil
		}
		hasLocal = hasLocal || kind == unix.IFA_LOCAL
		var ok bool
		if local, ok = netip.AddrFromSlice(v); !ok {
			return fmt.Errorf("%w: address of %d bytes", errMessage, len(v))
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	a.Prefix = netip.PrefixFrom(local, int(b[1]))
	a.Usable = flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 || flags&unix.IFA_F_OPTIMISTIC != 0
	a.Secondary = flags&unix.IFA_F_SECONDARY != 0
	return a, nil
}

// AllAddresses lists the addresses of all interfaces, those of one in the
// kernel's order: its primary IPv4 address first.
func (h *Host) AllAddresses() ([]Address, error) {
	var all []Address
	request := newMessage(unix.RTM_GETADDR, 0, make([]byte, ifaddrmsgLen)...)
	err := h.socket.dump(request, func() { all = all[:0] }, func(kind uint16, body []byte) error {
		if kind != unix.RTM_NEWADDR {
			return nil
		}
		a, err := parseAddress(body)
		if err != nil {
			return err
		}
		all = append(all, a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	return all, nil
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
