package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// assigned is an address that a local network's interface has from us. The
// interface is known by its index while it lives, also under another name, and
// by its name where it was made anew.
type assigned struct {
	Index     int          `json:"index"`
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix"` // address and length
}

// linkAddress is the address with a route to its prefix. Without duplicate
// detection, as its owner is proved by certificate.
func linkAddress(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		Flags: unix.IFA_F_NODAD,
		Scope: unix.RT_SCOPE_UNIVERSE,
	}
}

// Assign gives an interface of a local network an address, with the route to its
// prefix. It does nothing where the interface has the address. What it gave is
// taken back by Unassign, Remove and Cleanup; an address that was there before
// is the operator's and stays.
func (i *Installed) Assign(link Link, p netip.Prefix) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.removed {
		return nil
	}
	present, err := i.host.Addresses(link.Index)
	if err != nil {
		return err
	}
	for _, a := range present {
		switch {
		case a == p:
			return nil
		case a.Addr() == p.Addr():
			return fmt.Errorf("adding address %v to %s: it is there as %v", p, link.Name, a)
		}
	}
	a := assigned{Index: link.Index, Interface: link.Name, Prefix: p}
	if !slices.Contains(i.undo.Assigned, a) {
		i.undo.Assigned = append(i.undo.Assigned, a)
		if err := i.undo.write(i.undoFile); err != nil {
			return err
		}
	}
	err = i.host.handle.AddrAdd(linkOf(link.Index), linkAddress(p))
	switch {
	case err == nil || errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("adding address %v to %s: %w (IPv6 is disabled there: sysctl net.ipv6.conf.%s.disable_ipv6=0)", p, link.Name, err, link.Name)
	}
	return fmt.Errorf("adding address %v to %s: %w", p, link.Name, err)
}

// Unassign takes back what Assign gave this interface; an interface that is gone
// has nothing left.
func (i *Installed) Unassign(link Link, p netip.Prefix) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := slices.IndexFunc(i.undo.Assigned, func(a assigned) bool { return a.Index == link.Index && a.Prefix == p })
	if n < 0 || i.removed {
		return nil
	}
	if err := i.undo.Assigned[n].remove(i.host); err != nil {
		return err
	}
	i.undo.Assigned = slices.Delete(i.undo.Assigned, n, n+1)
	return i.undo.write(i.undoFile)
}

// remove looks for the interface under its index and under its name: it may have
// been renamed, or another made under the name.
func (a assigned) remove(h *Host) error {
	links, err := h.Links()
	if err != nil {
		return err
	}
	var failures []error
	for _, l := range links {
		if l.Index != a.Index && l.Name != a.Interface {
			continue
		}
		err := h.handle.AddrDel(linkOf(l.Index), linkAddress(a.Prefix))
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
			failures = append(failures, fmt.Errorf("removing address %v from %s: %w", a.Prefix, l.Name, err))
		}
	}
	return errors.Join(failures...)
}
