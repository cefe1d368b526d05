package speaker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"re6st/babel"
	"re6st/babel/wire"
)

const (
	// datagramMax is more than any link's MTU: no implementation sends jumbograms.
	datagramMax = 65536
	// batchMax is how many datagrams are read before they are handed over.
	batchMax = 32
	// controlMax holds the packet information and the count of lost datagrams.
	controlMax = 128

	// Babel's packets go first, as those of other routing protocols do: class
	// selector 6 (RFC 4594, section 3.2), and the kernel's band for control.
	trafficClass = 0xc0
	priority     = 6 // TC_PRIO_INTERACTIVE, the highest without privilege
)

// udpSocket is the real socket: the standard library's would look up the index
// of the interface by its name for each packet, in a list that it renews once a
// minute, and hides the control messages.
type udpSocket struct {
	fd int
	// readable is an epoll descriptor that only asks whether there is something to
	// read. Go's own asks for room to write as well, and each packet that has left
	// would wake us.
	readable *os.File
	raw      syscall.RawConn

	device uint32 // its index
	source []byte // control message: our address there

	out message // owned by the one who sends

	// Owned by the one who receives.
	in      message
	control [controlMax]byte
	batch   []datagram
	lost    uint32 // by the kernel's count so far
}

// buffers are lent to sockets that have something to read: each socket having
// its own would be 64 KiB an interface.
var buffers = sync.Pool{New: func() any { return new([datagramMax]byte) }}

// listen opens port 6696 on one device. Others on the host (another network's
// node, another router) may do the same on theirs: the socket is bound to the
// device, and the port is shared.
func listen(config babel.InterfaceConfig) (socket, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket: %w", err)
	}
	s := &udpSocket{fd: fd, device: uint32(config.Index), source: sourceMessage(config)}
	if err = prepare(fd, config); err == nil {
		err = s.watch(config.Name)
	}
	if err != nil {
		_ = unix.Close(fd) // the first error says more
		return nil, err
	}
	return s, nil
}

func (s *udpSocket) watch(name string) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making an epoll descriptor: %w", err)
	}
	err = errors.Join(unix.SetNonblock(epoll, true), // or the runtime would not poll it
		unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN}))
	s.readable = os.NewFile(uintptr(epoll), "babel "+name)
	if err == nil {
		s.raw, err = s.readable.SyscallConn()
	}
	if err != nil {
		_ = s.readable.Close() // the first error says more
		return fmt.Errorf("preparing to wait for packets: %w", err)
	}
	return nil
}

// prepare: bound to the device and the port, hop limit 1 (RFC 8966, section 4),
// own packets not looped back, the destination of what arrives, the group.
func prepare(fd int, config babel.InterfaceConfig) error {
	v6 := func(option, value int) func() error {
		return func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, option, value) }
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"shared port", func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }},
		{"device", func() error { return unix.BindToDevice(fd, config.Name) }},
		{"restriction to IPv6", v6(unix.IPV6_V6ONLY, 1)},
		{"unicast hop limit", v6(unix.IPV6_UNICAST_HOPS, 1)},
		{"multicast hop limit", v6(unix.IPV6_MULTICAST_HOPS, 1)},
		{"multicast loop", v6(unix.IPV6_MULTICAST_LOOP, 0)},
		{"multicast interface", v6(unix.IPV6_MULTICAST_IF, config.Index)},
		{"packet information", v6(unix.IPV6_RECVPKTINFO, 1)},
		{"traffic class", v6(unix.IPV6_TCLASS, trafficClass)},
		{"priority", func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, priority) }},
		{"count of lost datagrams", func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) }},
		{"time of arrival", func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) }},
		{"receive buffer", func() error { return setReceiveBuffer(fd, receiveBufferMax) }},
		{"port", func() error { return unix.Bind(fd, &unix.SockaddrInet6{Port: wire.Port}) }},
		{"group", func() error { return membership(fd, unix.IPV6_JOIN_GROUP, uint32(config.Index)) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("setting the %s: %w", step.name, err)
		}
	}
	return nil
}

func membership(fd, option int, index uint32) error {
	return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, option, &unix.IPv6Mreq{Multiaddr: wire.Group().As16(), Interface: index})
}

// rejoin leaves first: where the device has forgotten the group (its MTU was
// below 1280, IPv6 was switched off) the socket still has it.
func (s *udpSocket) rejoin() error {
	var failed error
	err := s.raw.Control(func(uintptr) {
		_ = membership(s.fd, unix.IPV6_LEAVE_GROUP, s.device)
		failed = membership(s.fd, unix.IPV6_JOIN_GROUP, s.device)
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("joining the group: %w", err)
	}
	return nil
}

// setReceiveBuffer goes beyond the system's limit if we may.
func setReceiveBuffer(fd, size int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
}

// sourceMessage makes packets come from the address by which neighbours know us:
// a device may have several, and the MAC covers it.
func sourceMessage(config babel.InterfaceConfig) []byte {
	if !config.LinkLocal.Is6() {
		return nil
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: config.LinkLocal.As16(), Ifindex: uint32(config.Index)})
}

// recv waits for datagrams and gives those that are there, up to batchMax. The
// slice is valid until the next call, its data until it is released.
func (s *udpSocket) recv() ([]datagram, error) {
	clear(s.batch)
	s.batch = s.batch[:0]
	var failed error
	err := s.raw.Read(func(uintptr) bool {
		buffer := buffers.Get().(*[datagramMax]byte)
		defer buffers.Put(buffer)
		for len(s.batch) < batchMax {
			n, controlLen, src, err := s.in.receive(s.fd, buffer[:], s.control[:])
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				return len(s.batch) > 0
			case err != nil:
				failed = err
				return true
			}
			d := datagram{at: time.Now(), src: src}
			d.keep(buffer[:n])
			s.readControl(s.control[:controlLen], &d)
			s.batch = append(s.batch, d)
		}
		return true
	})
	if errors.Is(err, os.ErrClosed) {
		return nil, net.ErrClosed
	}
	if len(s.batch) > 0 {
		return s.batch, nil // an error of the socket comes again
	}
	return nil, errors.Join(err, failed)
}

// arrival converts the kernel's time of arrival, which is by the wall clock, to
// the monotonic clock of now. A datagram that has waited longer than a reader
// ever pauses tells of a clock that was set meanwhile.
func arrival(now, wall time.Time) time.Time {
	waited := now.Round(0).Sub(wall)
	if waited < 0 || waited > 10*bulkPause {
		return now
	}
	return now.Add(-waited)
}

// readControl finds where the datagram was sent to, when it came, and whether
// others were lost before it.
func (s *udpSocket) readControl(b []byte, d *datagram) {
	for len(b) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return
		}
		switch {
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= 16:
			d.dst = netip.AddrFrom16([16]byte(data[:16]))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			lost := binary.NativeEndian.Uint32(data)
			d.lost, s.lost = lost-s.lost, lost
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			d.at = arrival(d.at, time.Unix((*unix.Timespec)(unsafe.Pointer(&data[0])).Unix()))
		}
		b = rest
	}
}

// send does not wait: a full queue loses the packet, as a link may.
func (s *udpSocket) send(b []byte, dst netip.Addr) error {
	var failed error
	err := s.raw.Control(func(uintptr) {
		failed = s.out.send(s.fd, b, s.source, netip.AddrPortFrom(dst, wire.Port), s.device)
	})
	return errors.Join(err, failed)
}

func (s *udpSocket) setBuffer(size int) error {
	var failed error
	err := s.raw.Control(func(uintptr) { failed = setReceiveBuffer(s.fd, size) })
	return errors.Join(err, failed)
}

// close waits for those that use the descriptor: they do it under that of epoll.
func (s *udpSocket) close() error {
	if err := s.readable.Close(); err != nil {
		return err
	}
	return unix.Close(s.fd)
}
