package speaker

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The two system calls of every datagram, without telling Go's scheduler. They
// never wait (the socket is non-blocking), and what tells the scheduler wakes
// the runtime's monitor, which then looks at this process every 20 µs for as
// long as it runs: an eighth of what a large table costs, and most of what a
// process at rest does.

// message is what a call reads or writes. It is used again and again.
type message struct {
	header unix.Msghdr
	vector unix.Iovec
	name   unix.RawSockaddrInet6
}

func (m *message) fill(data, control []byte) {
	m.vector.Base = unsafe.SliceData(data)
	m.vector.SetLen(len(data))
	m.header = unix.Msghdr{Iov: &m.vector, Name: (*byte)(unsafe.Pointer(&m.name)), Namelen: uint32(unsafe.Sizeof(m.name))}
	m.header.SetIovlen(1)
	if len(control) > 0 {
		m.header.Control = unsafe.SliceData(control)
		m.header.SetControllen(len(control))
	}
}

// receive says how much of data and control was written, and who sent it; the
// zero value stands for no IPv6 address.
func (m *message) receive(fd int, data, control []byte) (n, controlLen int, src netip.AddrPort, err error) {
	m.fill(data, control)
	got, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), unix.MSG_DONTWAIT)
	m.vector.Base = nil // lent
	if errno != 0 {
		return 0, 0, src, errno
	}
	if m.name.Family == unix.AF_INET6 && m.header.Namelen >= unix.SizeofSockaddrInet6 {
		src = netip.AddrPortFrom(netip.AddrFrom16(m.name.Addr), bigEndian(m.name.Port))
	}
	return int(got), int(m.header.Controllen), src, nil
}

// send sends to the address on the device of that index.
func (m *message) send(fd int, data, control []byte, dst netip.AddrPort, device uint32) error {
	m.name = unix.RawSockaddrInet6{
		Family: unix.AF_INET6, Port: bigEndian(dst.Port()), Addr: dst.Addr().As16(), Scope_id: device,
	}
	m.fill(data, control)
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), unix.MSG_DONTWAIT)
	m.vector.Base = nil // lent
	if errno != 0 {
		return errno
	}
	return nil
}

// bigEndian converts between the host's byte order and that of the network.
func bigEndian(v uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&v))
	return uint16(b[0])<<8 | uint16(b[1])
}
