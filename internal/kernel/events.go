package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// eventGroups are the multicast groups that tell of what we keep.
var eventGroups = []uint{
	unix.RTNLGRP_LINK,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF, // forwarding
}

const (
	eventBuffer    = 4 << 20 // the kernel drops events, and says ENOBUFS, when it is full
	eventsAtOnce   = 4096    // datagrams drained before acting
	newNetconfKind = 80      // RTM_NEWNETCONF
)

// eventSocket only listens.
type eventSocket struct {
	file   *os.File
	raw    syscall.RawConn
	buffer []byte // owned by the one reader
	lost   bool   // events were, and the queue has not been empty since; the reader's
}

// openEvents listens to some groups.
func openEvents(wanted []uint) (*eventSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket for events: %w", err)
	}
	var groups uint32
	for _, g := range wanted {
		groups |= 1 << (g - 1)
	}
	// Forcing needs privilege; a small buffer only means more full listings.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, eventBuffer)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listening to netlink events: %w", err)
	}
	s := &eventSocket{file: os.NewFile(uintptr(fd), "netlink events"), buffer: make([]byte, receiveBytes)}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// openForeignEvents listens to what others do: routes that the socket of this port
// changes are ours, and there may be 50,000 of them at once.
func openForeignEvents(own uint32) (*eventSocket, error) {
	s, err := openEvents(eventGroups)
	if err == nil {
		err = s.raw.Control(func(fd uintptr) { ignoreOwnRoutes(int(fd), own) })
	}
	return s, err
}

// ignoreOwnRoutes is a filter in the kernel, in front of the queue. Without it we
// would only be woken for nothing.
func ignoreOwnRoutes(fd int, port uint32) {
	// The filter reads in network byte order what is in that of the host.
	kind := func(k uint16) uint32 { return uint32(binary.BigEndian.Uint16(native.AppendUint16(nil, k))) }
	const offsetKind, offsetPort = 4, 12
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: offsetKind},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: kind(unix.RTM_NEWROUTE), Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: kind(unix.RTM_DELROUTE), Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offsetPort},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(native.AppendUint32(nil, port)), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program) // heed looks as well
}

func (s *eventSocket) close() error { return s.file.Close() }

// wake makes a waiting collect return.
func (s *eventSocket) wake() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) }

// waitUntil bounds the next collect.
func (s *eventSocket) waitUntil(t time.Time) error { return s.file.SetReadDeadline(t) }

// collect waits for events and hands over all that are there. Its error is
// unix.ENOBUFS where the kernel dropped some, os.ErrDeadlineExceeded where none
// came in time.
//
// The kernel says that it drops events when it begins to, and not again before the
// queue has been empty. So that is read to its end first: what is looked at after
// ENOBUFS is not changed in silence.
func (s *eventSocket) collect(f func(header, []byte) error) error {
	var failed error
	count := 0
	err := s.raw.Read(func(fd uintptr) bool {
		for count < eventsAtOnce {
			n, from, err := unix.Recvfrom(int(fd), s.buffer, 0)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN && s.lost:
				s.lost, failed = false, unix.ENOBUFS
				return true
			case err == unix.EAGAIN:
				return count > 0
			case err == unix.ENOBUFS:
				s.lost = true
				continue
			case err != nil:
				failed = err
				return true
			}
			count++
			if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
				continue // not the kernel
			}
			if err := eachMessage(s.buffer[:n], f); err != nil {
				failed = err
				return true
			}
		}
		if s.lost { // there is no end of them: and again when there is
			failed = unix.ENOBUFS
		}
		return true
	})
	return errors.Join(err, failed)
}
