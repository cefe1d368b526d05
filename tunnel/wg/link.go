package wg

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"re6st/internal/kernel"
	"re6st/tunnel/wg/userspace"
)

const (
	addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE
	queueLength     = 1000
	// linkLocalBits: the multicast and link-local routes of an interface come
	// with a /64 (RFC 4291, section 2.5.6).
	linkLocalBits = 64
)

// links configures interfaces of either backend.
type links struct{ handle *netlink.Handle }

func openLinks() (links, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return links{}, fmt.Errorf("opening a netlink handle: %w", err)
	}
	return links{handle: h}, nil
}

func (l links) close() { l.handle.Close() }

// checkName looks where a device of either backend would show.
func (l links) checkName(name string) error {
	_, err := l.handle.LinkByName(name)
	if err == nil {
		return fmt.Errorf("interface %s: %w", name, ErrNameTaken)
	}
	if !errors.As(err, &netlink.LinkNotFoundError{}) {
		return fmt.Errorf("looking for interface %s: %w", name, err)
	}
	if isServed(userspace.SocketPath(name)) {
		return fmt.Errorf("control socket %s: %w", userspace.SocketPath(name), ErrNameTaken)
	}
	return nil
}

// isServed says whether someone answers on a Unix socket.
func isServed(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// setUp does what both backends need before the interface comes up. What an
// interface says on its own (a random address, solicitations from it) and what
// it would believe from its other end is switched off first.
func (l links) setUp(link netlink.Link, c Config) error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"naming its peer", func() error { return l.handle.LinkSetAlias(link, c.Alias) }},
		{"putting it into its group", func() error { return l.handle.LinkSetGroup(link, int(c.Group)) }},
		{"taking its sysctls", func() error { return setSysctls(c.Name) }},
		{"switching its own addresses off", func() error { return l.handle.LinkSetIP6AddrGenMode(link, addrGenModeNone) }},
		{"setting its MTU", func() error { return l.handle.LinkSetMTU(link, c.MTU) }},
		{"setting its queue", func() error { return l.handle.LinkSetTxQLen(link, queueLength) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: interface %s: %w", step.what, c.Name, err)
		}
	}
	return nil
}

// start brings it up and gives it its address.
func (l links) start(link netlink.Link, c Config) error {
	if err := l.handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing interface %s up: %w", c.Name, err)
	}
	address := &netlink.Addr{
		IPNet: &net.IPNet{IP: c.LinkLocal.WithZone("").AsSlice(), Mask: net.CIDRMask(linkLocalBits, 128)},
		Flags: unix.IFA_F_NODAD, // there is no one else on it
		Scope: unix.RT_SCOPE_LINK,
	}
	if err := l.handle.AddrAdd(link, address); err != nil {
		return fmt.Errorf("adding %v to interface %s: %w", c.LinkLocal, c.Name, err)
	}
	return l.addDummy(link, c.Name)
}

// setSysctls: the other end is a member, not our router. It must not number us,
// set our default route or redirect us. Where /proc/sys is read-only (containers)
// that rests on forwarding alone: a router heeds neither advertisements nor
// redirects.
func setSysctls(name string) error {
	v6 := "net/ipv6/conf/" + name + "/"
	for _, s := range []struct{ name, value string }{
		{"disable_ipv6", "0"}, // hosts that switch it off mean their own interfaces
		{"accept_ra", "0"},
		{"autoconf", "0"},
		{"accept_redirects", "0"},
	} {
		if err := kernel.SetSysctl(v6+s.name, s.value); err != nil && !errors.Is(err, unix.EROFS) {
			return err
		}
	}
	if err := loosenReversePath(name); err != nil && !errors.Is(err, unix.EROFS) {
		return err
	}
	return nil
}

// loosenReversePath: paths in a mesh are not symmetric. The kernel takes the
// larger one of the host's value and the interface's, which most distributions
// give to new interfaces. Where the host's own is 0 the interface's becomes so;
// elsewhere 2 (loose) is larger than 1 (strict), and nothing of the host's is
// changed.
func loosenReversePath(name string) error {
	all, own, err := reversePath(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil // a kernel without IPv4
	case err != nil:
		return err
	case all == unfiltered && own != unfiltered:
		return kernel.SetSysctl(rpFilterOf(name), unfiltered)
	case all == strict || own == strict:
		return kernel.SetSysctl(rpFilterOf(name), loose)
	}
	return nil
}

// Values of rp_filter.
const unfiltered, strict, loose = "0", "1", "2"

func rpFilterOf(name string) string { return "net/ipv4/conf/" + name + "/rp_filter" }

func reversePath(name string) (all, own string, err error) {
	if all, err = kernel.Sysctl(rpFilterOf("all")); err == nil {
		own, err = kernel.Sysctl(rpFilterOf(name))
	}
	return all, own, err
}

// addDummy gives a filtered interface the IPv4 dummy address (RFC 7600, section
// 4.8). On one without any address Linux drops also in loose mode whatever has
// its way back elsewhere (fib_validate_source). With that scope nothing that
// leaves the host has it as its source.
func (l links) addDummy(link netlink.Link, name string) error {
	all, own, err := reversePath(name)
	if err != nil || all == unfiltered && own == unfiltered {
		return nil // no IPv4, or nothing to be allowed
	}
	address := &netlink.Addr{
		IPNet: &net.IPNet{IP: net.IPv4(192, 0, 0, 8).To4(), Mask: net.CIDRMask(32, 32)},
		Scope: unix.RT_SCOPE_HOST,
	}
	if err := l.handle.AddrAdd(link, address); err != nil {
		return fmt.Errorf("adding %v to interface %s: %w", address.IPNet, name, err)
	}
	return nil
}
