package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"re6st/internal/kernel"
)

// socket speaks neighbour discovery on one interface. It is not the library's
// own: that one hears itself, so that the host would take its own advertisements
// for a router's.
type socket struct {
	pc    *ipv6.PacketConn
	index int
}

func listen(k kernel.Link) (conn, error) {
	c, err := openSocket(k)
	if err != nil {
		return nil, fmt.Errorf("opening a socket for router advertisements on %s: %w", k.Name, err)
	}
	return c, nil
}

func openSocket(k kernel.Link) (conn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), k.Name) })
		return errors.Join(err, failed)
	}}
	raw, err := config.ListenPacket(context.Background(), "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, err
	}
	s := &socket{pc: ipv6.NewPacketConn(raw), index: k.Index}
	if err := s.prepare(k); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return s, nil
}

func (s *socket) prepare(k kernel.Link) error {
	iface, err := net.InterfaceByIndex(k.Index)
	if err != nil {
		return err
	}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	const checksumOffset = 2
	for _, step := range []func() error{
		func() error { return s.pc.SetICMPFilter(&filter) },
		func() error { return s.pc.SetChecksum(true, checksumOffset) },
		func() error { return s.pc.SetHopLimit(hopLimitNDP) },
		func() error { return s.pc.SetMulticastHopLimit(hopLimitNDP) },
		func() error { return s.pc.SetMulticastInterface(iface) },
		func() error { return s.pc.SetMulticastLoopback(false) },
		func() error { return s.pc.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true) },
		func() error { return s.pc.JoinGroup(iface, &net.IPAddr{IP: allRouters.AsSlice()}) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) read(b []byte) (n int, from netip.Addr, hopLimit int, err error) {
	for {
		n, cm, src, err := s.pc.ReadFrom(b)
		if err != nil {
			return 0, netip.Addr{}, 0, err
		}
		ip, ok := src.(*net.IPAddr)
		if !ok || cm == nil || cm.IfIndex != s.index {
			continue
		}
		from, _ := netip.AddrFromSlice(ip.IP)
		return n, from, cm.HopLimit, nil
	}
}

// write leaves the choice of the source to the kernel: it is the link-local
// address of the interface, for a destination of that scope.
func (s *socket) write(b []byte, to netip.Addr) error {
	_, err := s.pc.WriteTo(b, &ipv6.ControlMessage{IfIndex: s.index, HopLimit: hopLimitNDP}, &net.IPAddr{IP: to.AsSlice()})
	return err
}

func (s *socket) close() error { return s.pc.Close() }
