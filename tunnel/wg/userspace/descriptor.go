package userspace

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// descriptor is a non-blocking one on which one goroutine waits for something to
// read, and which others may use meanwhile.
//
// Go's own poller asks for room to write as well, so that each packet that has
// left would wake us. It gets an epoll descriptor that only asks whether there is
// something to read.
type descriptor struct {
	fd       int
	readable *os.File
	raw      syscall.RawConn

	using    sync.RWMutex // for reading, by those that use fd
	isClosed bool
}

// watch takes fd over, but for an error.
func watch(fd int, name string) (*descriptor, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll descriptor: %w", err)
	}
	err = errors.Join(unix.SetNonblock(fd, true), unix.SetNonblock(epoll, true), // or the runtime would not poll it
		unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}))
	d := &descriptor{fd: fd, readable: os.NewFile(uintptr(epoll), name)}
	if err == nil {
		d.raw, err = d.readable.SyscallConn()
	}
	if err != nil {
		_ = d.readable.Close() // the first error says more
		return nil, fmt.Errorf("preparing to wait for packets: %w", err)
	}
	return d, nil
}

// wait calls read until it gives true, each time that there may be something. What
// arrives after read has begun leads to another call, so that within one wait read
// need not find out that there is no more.
// Its argument is not the descriptor to read from.
func (d *descriptor) wait(read func(uintptr) bool) error {
	return closing(d.raw.Read(read))
}

// hold keeps the descriptor open until letGo; it is false where it is closed. For each
// packet there is one: os.File has such a lock too, but wants a closure that escapes.
func (d *descriptor) hold() bool {
	d.using.RLock()
	if d.isClosed {
		d.using.RUnlock()
		return false
	}
	return true
}

func (d *descriptor) letGo() { d.using.RUnlock() }

// closing: the one error that the poller gives has no name outside of it.
func closing(err error) error {
	if err != nil {
		return os.ErrClosed
	}
	return nil
}

// close waits for those that use it.
func (d *descriptor) close() error {
	if err := d.readable.Close(); err != nil {
		return err
	}
	d.using.Lock()
	defer d.using.Unlock()
	d.isClosed = true
	return unix.Close(d.fd)
}
