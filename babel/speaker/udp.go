package speaker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"re6st/babel"
	"re6st/babel/wire"
)

// receiveBuffer holds a full table of 50,000 routes: the kernel's default holds
// 92 datagrams, and what does not fit comes again with the next periodic dump.
const receiveBuffer = 8 << 20

// udpSocket is the real socket.
type udpSocket struct {
	conn *net.UDPConn
	v6   *ipv6.PacketConn
	zone string
	// source is the control message that says from which address: the MAC covers
	// it, neighbours know us by it, and a device may have several.
	source []byte
}

// listen opens port 6696 on one device. Others on the host (another network's
// node, another router) may do the same on theirs: the socket is bound to the
// device, and the port is shared.
func listen(config babel.InterfaceConfig) (socket, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return control(c, config.Name)
	}}
	pc, err := lc.ListenPacket(context.Background(), "udp6", fmt.Sprintf("[::]:%d", wire.Port))
	if err != nil {
		return nil, err
	}
	s := &udpSocket{conn: pc.(*net.UDPConn), v6: ipv6.NewPacketConn(pc), zone: config.Name}
	if a := config.LinkLocal; a.Is6() {
		s.source = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.As16(), Ifindex: uint32(config.Index)})
	}
	if err := s.prepare(config); err != nil {
		_ = pc.Close() // the first error says more
		return nil, err
	}
	return s, nil
}

func control(c syscall.RawConn, device string) error {
	var err error
	callErr := c.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return
		}
		if err = unix.BindToDevice(int(fd), device); err != nil {
			err = fmt.Errorf("binding to the device: %w", err)
			return
		}
		// Beyond the system's limit if we may.
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
	})
	if callErr != nil {
		return callErr
	}
	return err
}

// prepare: hop limit 1 (RFC 8966, section 4), own packets not looped back, the
// destination of what arrives, the group.
func (s *udpSocket) prepare(config babel.InterfaceConfig) error {
	device := &net.Interface{Index: config.Index, Name: config.Name}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"unicast hop limit", func() error { return s.v6.SetHopLimit(1) }},
		{"multicast hop limit", func() error { return s.v6.SetMulticastHopLimit(1) }},
		{"multicast loop", func() error { return s.v6.SetMulticastLoopback(false) }},
		{"multicast interface", func() error { return s.v6.SetMulticastInterface(device) }},
		{"packet information", func() error { return s.v6.SetControlMessage(ipv6.FlagDst, true) }},
		{"group", func() error { return s.v6.JoinGroup(device, &net.UDPAddr{IP: wire.Group().AsSlice()}) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("setting the %s: %w", step.name, err)
		}
	}
	return nil
}

func (s *udpSocket) recv(b []byte) (n int, src netip.AddrPort, dst netip.Addr, err error) {
	n, cm, from, err := s.v6.ReadFrom(b)
	if err != nil {
		return 0, src, dst, err
	}
	if a, ok := from.(*net.UDPAddr); ok {
		src = a.AddrPort()
	}
	if cm != nil {
		dst, _ = netip.AddrFromSlice(cm.Dst)
	}
	return n, src, dst, nil
}

func (s *udpSocket) send(b []byte, dst netip.Addr) error {
	_, _, err := s.conn.WriteMsgUDPAddrPort(b, s.source, netip.AddrPortFrom(dst.WithZone(s.zone), wire.Port))
	return err
}

func (s *udpSocket) close() error { return s.conn.Close() }
