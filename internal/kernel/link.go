package kernel

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is one network interface.
type Link struct {
	Index    int
	Name     string
	Alias    string // ifalias
	MTU      int
	Up       bool // administratively up, and with a carrier
	Loopback bool
	// PointToPoint: WireGuard, TUN, PPP and other tunnels.
	PointToPoint bool
}

func (l Link) String() string {
	state := "down"
	if l.Up {
		state = "up"
	}
	return fmt.Sprintf("%d %s %s mtu %d", l.Index, l.Name, state, l.MTU)
}

// LinkEvent says the present state of a link, or that it is gone. One that says
// nothing new of the link tells that its addresses changed.
type LinkEvent struct {
	Link    Link
	Removed bool
}

// ifinfomsgLen: u8 family, pad, u16 type, i32 index, u32 flags, u32 change.
const ifinfomsgLen = unix.SizeofIfInfomsg

// parseLink reads the body of RTM_NEWLINK or RTM_DELLINK.
func parseLink(b []byte) (Link, error) {
	if len(b) < ifinfomsgLen {
		return Link{}, fmt.Errorf("%w: link of %d bytes", errMessage, len(b))
	}
	flags := native.Uint32(b[8:])
	const up = unix.IFF_UP | unix.IFF_LOWER_UP
	l := Link{
		Index: int(int32(native.Uint32(b[4:]))), Up: flags&up == up,
		Loopback: flags&unix.IFF_LOOPBACK != 0, PointToPoint: flags&unix.IFF_POINTOPOINT != 0,
	}
	err := eachAttr(b[ifinfomsgLen:], func(kind uint16, v []byte) error {
		switch kind {
		case unix.IFLA_IFNAME:
			l.Name = cString(v)
		case unix.IFLA_IFALIAS:
			l.Alias = cString(v)
		case unix.IFLA_MTU:
			n, err := uint32Of(v)
			l.MTU = int(n)
			return err
		}
		return nil
	})
	return l, err
}

// Links lists all interfaces.
func (h *Host) Links() ([]Link, error) {
	var links []Link
	request := newMessage(unix.RTM_GETLINK, 0, make([]byte, ifinfomsgLen)...)
	err := h.socket.dump(request, func() { links = links[:0] }, func(kind uint16, body []byte) error {
		if kind != unix.RTM_NEWLINK {
			return nil
		}
		l, err := parseLink(body)
		if err != nil {
			return err
		}
		links = append(links, l)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	return links, nil
}

// LinkByName finds one interface; os.ErrNotExist is wrapped where it is absent.
func (h *Host) LinkByName(name string) (Link, error) {
	links, err := h.Links()
	if err != nil {
		return Link{}, err
	}
	for _, l := range links {
		if l.Name == name {
			return l, nil
		}
	}
	return Link{}, fmt.Errorf("interface %q: %w", name, unix.ENOENT)
}

// Addresses lists the addresses of an interface with their prefix lengths.
func (h *Host) Addresses(index int) ([]netip.Prefix, error) {
	found, err := h.handle.AddrList(linkOf(index), netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing addresses of interface %d: %w", index, err)
	}
	var all []netip.Prefix
	for _, a := range found {
		if p, ok := prefixOf(a.IPNet); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// LinkLocal is the IPv6 link-local address of an interface, where it has one.
func (h *Host) LinkLocal(index int) (netip.Addr, error) {
	all, err := h.Addresses(index)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, p := range all {
		if p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("interface %d has no link-local address: %w", index, unix.ENOENT)
}
