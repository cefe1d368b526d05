package userspace

import (
	"encoding/binary"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

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

// handshakeClasses are the traffic classes of handshake messages: none. Kernel
// WireGuard writes AF41 on them; from a program, Linux would take that for a wish to
// wait behind everything else (rt_tos2priority makes it TC_PRIO_BULK).
var handshakeClasses [batchSize]uint8

// send sends datagrams, each with its traffic class, and those of one size and class
// together. What the kernel refuses as a row (the path's MTU is smaller, the card
// cannot) it gets one by one, and what it refuses from our address it may send from
// another.
func (s *udpSocket) send(bufs [][]byte, classes []uint8, to *endpoint) error {
	_, err := s.sendWithin(bufs, classes, to, sendPatience)
	return err
}

// trySend does not wait for room, and says how many of the datagrams are done with.
func (s *udpSocket) trySend(bufs [][]byte, classes []uint8, to *endpoint) (int, error) {
	left, err := s.sendWithin(bufs, classes, to, 0)
	if err == unix.EAGAIN {
		return len(bufs) - left, nil
	}
	return len(bufs), err
}

func (s *udpSocket) sendWithin(bufs [][]byte, classes []uint8, to *endpoint, patience int) (left int, err error) {
	if !s.hold() {
		return len(bufs), os.ErrClosed
	}
	defer s.letGo()
	x := senders.Get().(*sender)
	defer senders.Put(x)
	defer clear(x.vectors[:len(bufs)]) // lent
	return s.sendAll(s.fd, x, bufs, classes, to, patience)
}

func (s *udpSocket) sendAll(fd int, x *sender, bufs [][]byte, classes []uint8, to *endpoint, patience int) (left int, err error) {
	inRows := s.offload.Load()
	waited := patience == 0
	for len(bufs) > 0 {
		x.fill(bufs, classes, to, s.is6, inRows)
		sent, errno := x.write(fd)
		done := x.start(sent, len(bufs))
		bufs, classes = bufs[done:], classes[done:]
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
func (x *sender) fill(bufs [][]byte, classes []uint8, to *endpoint, is6, inRows bool) {
	x.count = 0
	for at := 0; at < len(bufs); {
		n := 1
		if inRows {
			n = rowOf(bufs[at:], classes[at:])
		}
		for i := at; i < at+n; i++ {
			x.vectors[i].Base = unsafe.SliceData(bufs[i])
			x.vectors[i].SetLen(len(bufs[i]))
		}
		x.message(at, n, len(bufs[at]), classes[at], to, is6)
		at += n
	}
}

// rowOf says how many of the first datagrams can be one send: of one size, and
// perhaps a smaller one at the end, all of one class.
func rowOf(bufs [][]byte, classes []uint8) int {
	size := len(bufs[0])
	total := size
	for n := 1; n < len(bufs); n++ {
		l := len(bufs[n])
		if total += l; l > size || l == 0 || total > gsoMax || classes[n] != classes[0] {
			return n
		}
		if l < size {
			return n + 1
		}
	}
	return len(bufs)
}

func (x *sender) message(at, n, size int, class uint8, to *endpoint, is6 bool) {
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
	if class != 0 { // else it is the socket's own
		level, kind := int32(unix.IPPROTO_IP), int32(unix.IP_TOS)
		if is6 {
			level, kind = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
		control = appendControl(control, level, kind, binary.NativeEndian.AppendUint32(make([]byte, 0, 4), uint32(class)), 4)
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
