package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendto gives the kernel requests, and returns when it has worked them off.
func (s *socket) sendto(datagram []byte) error {
	if !s.isAlone {
		return unix.Sendto(s.fd, datagram, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	// Without an address: to the kernel (netlink_sendmsg).
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(datagram))), uintptr(len(datagram)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// recvfrom waits for answers and says from which port they came; none of a
// netlink socket is noPort.
func (s *socket) recvfrom() (n int, port uint32, err error) {
	if s.isAlone {
		if n, port, err = s.recvWaiting(); err != unix.EAGAIN {
			return n, port, err
		}
	}
	n, from, err := unix.Recvfrom(s.fd, s.buffer, 0)
	if sa, ok := from.(*unix.SockaddrNetlink); ok {
		return n, sa.Pid, err
	}
	return n, noPort, err
}

const noPort = ^uint32(0)

// recvWaiting reads what is there: the kernel answers before sendto returns.
func (s *socket) recvWaiting() (n int, port uint32, err error) {
	var from unix.RawSockaddrNetlink
	size := uint32(unsafe.Sizeof(from))
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(s.buffer))), uintptr(len(s.buffer)), unix.MSG_DONTWAIT,
		uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)))
	switch {
	case errno != 0:
		return 0, noPort, errno
	case size < unix.SizeofSockaddrNetlink:
		return int(got), noPort, nil
	}
	return int(got), from.Pid, nil
}
