package userspace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is wireguard-go's vector. A 64 KB packet of TCP is fewer segments at
	// any common MSS, and a send can have no more with UDP_SEGMENT.
	batchSize = 64
	// readMax is how many messages one call reads, a row of datagrams each with UDP GRO.
	readMax = 32

	socketBuffer = 7 << 20 // as wireguard-go's
	controlMax   = 96      // PKTINFO, traffic class and the size of a row
	gsoMax       = 65487   // of one send: 65535, less the headers of IPv6 and UDP
	sendPatience = 100     // ms to wait for room in the socket's buffer
)

// udpSocket is the socket of one family.
type udpSocket struct {
	*descriptor
	is6        bool
	offload    atomic.Bool // GSO; some network cards cannot
	receiveGRO bool
}

// messageHeader is struct mmsghdr.
type messageHeader struct {
	unix.Msghdr
	length uint32
}

// listenUDP binds a port of one family; 0 is any. The error is EAFNOSUPPORT where
// the host has no such family.
func listenUDP(is6 bool, port uint16) (*udpSocket, uint16, error) {
	family := unix.AF_INET
	if is6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("opening a UDP socket: %w", err)
	}
	s := &udpSocket{is6: is6}
	if port, err = s.prepare(fd, port); err == nil {
		s.descriptor, err = watch(fd, fmt.Sprintf("udp %d", port))
	}
	if err != nil {
		_ = unix.Close(fd) // the first error says more
		return nil, 0, err
	}
	return s, port, nil
}

func (s *udpSocket) prepare(fd int, port uint16) (uint16, error) {
	var err error
	var address unix.Sockaddr = &unix.SockaddrInet4{Port: int(port)}
	if s.is6 {
		address = &unix.SockaddrInet6{Port: int(port)}
		err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1))
	} else {
		err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1))
	}
	if err != nil {
		return 0, fmt.Errorf("setting up a UDP socket: %w", err)
	}
	for _, o := range []struct{ force, plain int }{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.force, socketBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.plain, socketBuffer) // slower at worst
		}
	}
	_, err = unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	s.offload.Store(err == nil)
	s.receiveGRO = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	if err := unix.Bind(fd, address); err != nil {
		return 0, fmt.Errorf("binding UDP port %d: %w", port, err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("asking for the UDP port: %w", err)
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		port = uint16(a.Port)
	case *unix.SockaddrInet6:
		port = uint16(a.Port)
	}
	return port, nil
}

func (s *udpSocket) setMark(mark uint32) error {
	if !s.hold() {
		return fmt.Errorf("setting the mark: %w", os.ErrClosed)
	}
	defer s.letGo()
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return fmt.Errorf("setting the mark: %w", err)
	}
	return nil
}

// arrived is one message of the kernel's: datagrams of one size in a row, and of one
// traffic class: it joins no others.
type arrived struct {
	buffer *lent // the receiver's
	data   []byte
	size   int // of each; the last may be smaller
	from   *endpoint
	class  uint8 // traffic class
	few    bool  // it came with no more than another
}

// receiver has what one reader of a socket needs. It borrows buffers only while
// there is something to read.
type receiver struct {
	socket   *udpSocket
	wanted   int // messages: more when the last call filled all
	buffers  [readMax]*lent
	headers  [readMax]messageHeader
	vectors  [readMax]unix.Iovec
	names    [readMax]unix.RawSockaddrInet6 // or an Inet4, which is smaller
	controls [readMax][controlMax]byte
	sender   *endpoint // of the last message
	next     *endpoint // nil, or one that is nobody's yet
}

// readMin is how many messages it asks for when it has waited: one more than tell that
// there are few.
const readMin = fewMessages + 1

// receive hands each message over with its buffer, and waits for more, until deliver
// gives false.
func (r *receiver) receive(deliver func(arrived) bool) error {
	var failed syscall.Errno
	err := r.socket.wait(func(uintptr) (done bool) {
		done, failed = r.drain(r.socket.fd, deliver)
		return done
	})
	r.giveBack()
	if err == nil && failed != 0 {
		err = failed
	}
	return err
}

// drain reads until nothing is left. A datagram that has come alone was mostly the last
// one: the poller says so sooner than a further call.
func (r *receiver) drain(fd int, deliver func(arrived) bool) (done bool, failed syscall.Errno) {
	r.wanted = readMin
	for first := true; !done; first = false {
		r.borrow()
		got, errno := r.read(fd)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			r.giveBack()
			return false, 0
		case errno != 0:
			return true, errno
		}
		isAlone := first && got == 1
		for i := range got {
			m, ok := r.message(i)
			if !ok {
				continue
			}
			m.few = got <= fewMessages
			isAlone = isAlone && m.size >= len(m.data)
			done = !deliver(m) || done
		}
		if isAlone && !done {
			r.giveBack()
			return false, 0
		}
		if got == r.wanted {
			r.wanted = min(readMax, 2*r.wanted)
		}
	}
	return done, 0
}

func (r *receiver) borrow() {
	for i := range r.wanted {
		if r.buffers[i] == nil {
			r.buffers[i] = lend(largeBuffers)
		}
		r.vectors[i].Base = unsafe.SliceData(r.buffers[i].data)
		r.vectors[i].SetLen(datagramMax)
		h := &r.headers[i].Msghdr
		*h = unix.Msghdr{
			Name: (*byte)(unsafe.Pointer(&r.names[i])), Namelen: unix.SizeofSockaddrInet6,
			Iov: &r.vectors[i], Control: &r.controls[i][0],
		}
		h.SetIovlen(1)
		h.SetControllen(controlMax)
	}
}

func (r *receiver) giveBack() {
	for i, b := range r.buffers {
		if b != nil {
			b.release()
			r.buffers[i], r.vectors[i].Base = nil, nil
		}
	}
}

// read does not tell the scheduler of a call that does not wait: it would wake the
// runtime's monitor.
func (r *receiver) read(fd int) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.headers[0])),
		uintptr(r.wanted), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// message lets go of the buffer, which is a small one where the data fits: a
// small packet must not keep 64 KiB.
func (r *receiver) message(i int) (arrived, bool) {
	h := &r.headers[i]
	if r.next == nil {
		r.next = &endpoint{}
	}
	m := arrived{data: r.buffers[i].data[:h.length], size: int(h.length), from: r.next}
	if len(m.data) == 0 || h.Flags&unix.MSG_TRUNC != 0 || !m.from.read(&r.names[i]) {
		return m, false
	}
	m.readControl(r.controls[i][:h.Controllen])
	m.from = r.known()
	if len(m.data) <= smallMax {
		m.buffer = lend(smallBuffers)
		m.data = m.buffer.data[:copy(m.buffer.data, m.data)]
	} else {
		m.buffer, r.buffers[i] = r.buffers[i], nil
	}
	return m, true
}

// known gives the last message's endpoint where the next is the same, unless its
// source was found to be of no use.
func (r *receiver) known() *endpoint {
	if r.sender == nil || !r.sender.isSame(r.next) {
		r.sender, r.next = r.next, nil
		return r.sender
	}
	r.next.src = netip.Addr{}
	return r.sender
}

func (e *endpoint) read(name *unix.RawSockaddrInet6) bool {
	switch name.Family {
	case unix.AF_INET6:
		a := netip.AddrFrom16(name.Addr)
		e.dst, e.scope = netip.AddrPortFrom(a, bigEndian(name.Port)), 0
		if a.IsLinkLocalUnicast() {
			e.scope = name.Scope_id
		}
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		e.dst = netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), bigEndian(v4.Port))
	default:
		return false
	}
	return e.dst.Port() != 0
}

// readControl finds our address that was sent to, the traffic class, and the size of
// the datagrams where the kernel has joined several.
func (m *arrived) readControl(b []byte) {
	for len(b) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return
		}
		switch {
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			m.from.src = netip.AddrFrom16([16]byte(data[:16]))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			m.from.src = netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			m.class = uint8(binary.NativeEndian.Uint32(data))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			m.class = data[0]
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 2:
			if size := int(binary.NativeEndian.Uint16(data)); size > 0 {
				m.size = size
			}
		}
		b = rest
	}
}

// bigEndian converts between the host's byte order and that of the network.
func bigEndian(v uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&v))
	return uint16(b[0])<<8 | uint16(b[1])
}
