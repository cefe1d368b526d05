package userspace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
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
	controlMax   = 96      // PKTINFO and the size of a row
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
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
	} else {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
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
	var failed error
	err := s.use(func(fd int) { failed = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)) })
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("setting the mark: %w", err)
	}
	return nil
}

// arrived is one message of the kernel's: datagrams of one size in a row.
type arrived struct {
	buffer *lent // the receiver's
	data   []byte
	size   int // of each; the last may be smaller
	from   *endpoint
	few    bool // it came with no more than another
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
}

// receive waits for messages and hands each over with its buffer.
func (r *receiver) receive(deliver func(arrived)) error {
	var got int
	var errno syscall.Errno
	err := r.socket.wait(func(fd int) bool {
		r.borrow()
		got, errno = r.read(fd)
		if errno == unix.EAGAIN {
			r.wanted = min(readMax, 4)
			r.giveBack()
			return false
		}
		return true
	})
	if err != nil || errno != 0 {
		r.giveBack()
		if err == nil && errno != unix.EINTR {
			err = errno
		}
		return err
	}
	for i := range got {
		if m, ok := r.message(i); ok {
			m.few = got <= fewMessages
			deliver(m)
		}
	}
	if got == r.wanted {
		r.wanted = min(readMax, 2*r.wanted)
	}
	return nil
}

func (r *receiver) borrow() {
	r.wanted = max(r.wanted, 4)
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
	m := arrived{data: r.buffers[i].data[:h.length], size: int(h.length), from: &endpoint{}}
	if len(m.data) == 0 || h.Flags&unix.MSG_TRUNC != 0 || !m.from.read(&r.names[i]) {
		return m, false
	}
	m.readControl(r.controls[i][:h.Controllen])
	if len(m.data) <= smallMax {
		m.buffer = lend(smallBuffers)
		m.data = m.buffer.data[:copy(m.buffer.data, m.data)]
	} else {
		m.buffer, r.buffers[i] = r.buffers[i], nil
	}
	return m, true
}

func (e *endpoint) read(name *unix.RawSockaddrInet6) bool {
	switch name.Family {
	case unix.AF_INET6:
		a := netip.AddrFrom16(name.Addr)
		e.dst = netip.AddrPortFrom(a, bigEndian(name.Port))
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

// readControl finds our address that was sent to, and the size of the datagrams
// where the kernel has joined several.
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

// sender is the memory of one call of send.
type sender struct {
	count    int // messages
	first    [batchSize]int
	headers  [batchSize]messageHeader
	vectors  [batchSize]unix.Iovec
	controls [batchSize][controlMax]byte
	name     unix.RawSockaddrInet6
	name4    unix.RawSockaddrInet4
}

var senders = sync.Pool{New: func() any { return new(sender) }}

// send sends datagrams, those of one size together. What the kernel refuses as a
// row (the path's MTU is smaller, the card cannot) it gets one by one, and what it
// refuses from our address it may send from another.
func (s *udpSocket) send(bufs [][]byte, to *endpoint) error {
	_, err := s.sendWithin(bufs, to, sendPatience)
	return err
}

// trySend does not wait for room, and says how many of the datagrams are done with.
func (s *udpSocket) trySend(bufs [][]byte, to *endpoint) (int, error) {
	left, err := s.sendWithin(bufs, to, 0)
	if err == unix.EAGAIN {
		return len(bufs) - left, nil
	}
	return len(bufs), err
}

func (s *udpSocket) sendWithin(bufs [][]byte, to *endpoint, patience int) (left int, err error) {
	x := senders.Get().(*sender)
	defer senders.Put(x)
	defer clear(x.vectors[:]) // lent
	var failed error
	if err := s.use(func(fd int) { left, failed = s.sendAll(fd, x, bufs, to, patience) }); err != nil {
		return len(bufs), err
	}
	return left, failed
}

func (s *udpSocket) sendAll(fd int, x *sender, bufs [][]byte, to *endpoint, patience int) (left int, err error) {
	inRows := s.offload.Load()
	waited := patience == 0
	for len(bufs) > 0 {
		x.fill(bufs, to, s.is6, inRows)
		sent, errno := x.write(fd)
		bufs = bufs[x.start(sent, len(bufs)):]
		if errno == 0 {
			waited = patience == 0
			continue
		}
		refused := errno == unix.EINVAL || errno == unix.EMSGSIZE
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && !waited:
			waited = true
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, patience)
		case errno == unix.EIO && inRows:
			// The card has no checksum offload, which UDP_SEGMENT needs.
			s.offload.Store(false)
			inRows = false
		case refused && inRows:
			inRows = false
		case to.source().IsValid() && (refused || errno == unix.EADDRNOTAVAIL || errno == unix.ENETUNREACH):
			to.ClearSrc()
		default:
			return len(bufs), errno
		}
	}
	return 0, nil
}

// start is the datagram with which the n-th message begins.
func (x *sender) start(n, total int) int {
	if n >= x.count {
		return total
	}
	return x.first[n]
}

// fill makes a message of each row.
func (x *sender) fill(bufs [][]byte, to *endpoint, is6, inRows bool) {
	x.count = 0
	for at := 0; at < len(bufs); {
		n := 1
		if inRows {
			n = rowOf(bufs[at:])
		}
		for i := at; i < at+n; i++ {
			x.vectors[i].Base = unsafe.SliceData(bufs[i])
			x.vectors[i].SetLen(len(bufs[i]))
		}
		x.message(at, n, len(bufs[at]), to, is6)
		at += n
	}
}

// rowOf says how many of the first datagrams can be one send: of one size, and
// perhaps a smaller one at the end.
func rowOf(bufs [][]byte) int {
	size := len(bufs[0])
	total := size
	for n := 1; n < len(bufs); n++ {
		l := len(bufs[n])
		if total += l; l > size || l == 0 || total > gsoMax {
			return n
		}
		if l < size {
			return n + 1
		}
	}
	return len(bufs)
}

func (x *sender) message(at, n, size int, to *endpoint, is6 bool) {
	h := &x.headers[x.count].Msghdr
	*h = unix.Msghdr{Iov: &x.vectors[at]}
	h.SetIovlen(n)
	if is6 {
		x.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: bigEndian(to.dst.Port()), Addr: to.dst.Addr().As16(), Scope_id: to.scope}
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&x.name)), unix.SizeofSockaddrInet6
	} else {
		x.name4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: bigEndian(to.dst.Port()), Addr: to.dst.Addr().As4()}
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&x.name4)), unix.SizeofSockaddrInet4
	}
	control := x.controls[x.count][:0]
	if a := to.source(); a.Is6() && is6 {
		control = appendControl(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, a.AsSlice(), unix.SizeofInet6Pktinfo)
	} else if a.Is4() && !is6 {
		v4 := a.As4()
		control = appendControl(control, unix.IPPROTO_IP, unix.IP_PKTINFO, append(make([]byte, 4, 8), v4[:]...), unix.SizeofInet4Pktinfo)
	}
	if n > 1 {
		control = appendControl(control, unix.SOL_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(make([]byte, 0, 2), uint16(size)), 2)
	}
	if len(control) > 0 {
		h.Control = unsafe.SliceData(control)
		h.SetControllen(len(control))
	}
	x.first[x.count] = at
	x.count++
}

// appendControl appends a control message whose data is zero after the first of it.
// b has room.
func appendControl(b []byte, level, kind int32, data []byte, length int) []byte {
	at := len(b)
	b = b[:at+unix.CmsgSpace(length)]
	clear(b[at:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[at]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(length))
	copy(b[at+unix.CmsgLen(0):], data)
	return b
}

// write says how many messages have left; the error is that of the next.
func (x *sender) write(fd int) (int, syscall.Errno) {
	for sent := 0; ; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&x.headers[sent])),
			uintptr(x.count-sent), unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			return sent, errno
		}
		if sent += int(n); sent == x.count {
			return sent, 0
		}
	}
}
