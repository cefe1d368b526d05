package userspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// SocketDir is where wg(8) looks for devices that are not the kernel's. All
// namespaces of a host share it.
const SocketDir = "/var/run/wireguard"

// SocketPath is the control socket of a device.
func SocketPath(name string) string { return SocketDir + "/" + name + ".sock" }

// socketMode: who can talk to it can read the private key.
const socketMode = 0o600

// listen opens the control socket, in the place of one that no one serves.
//
// wireguard-go's own listener is not used: it sets the umask of the whole
// process for a moment, and stops to serve for good when the file's attributes
// are touched (its inotify read has no room for the event).
func listen(name string) (net.Listener, error) {
	path := SocketPath(name)
	l, err := bindIn(SocketDir, path)
	if !errors.Is(err, unix.EADDRINUSE) {
		return l, err
	}
	c, dialErr := net.Dial("unix", path)
	if dialErr == nil {
		c.Close()
		return nil, fmt.Errorf("%s is served by another: %w", path, err)
	}
	if !errors.Is(dialErr, unix.ECONNREFUSED) {
		return nil, errors.Join(err, dialErr)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return bind(path)
}

// bindAttempts is more than enough for processes that end, and remove the empty
// directory, just when we begin to use it.
const bindAttempts = 5

// bindIn makes the directory too.
func bindIn(dir, path string) (l net.Listener, err error) {
	for range bindAttempts {
		if err = os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if l, err = bind(path); !errors.Is(err, fs.ErrNotExist) {
			return l, err
		}
	}
	return nil, err
}

// RemoveSocketDir removes the directory if it is empty: for who has closed all
// devices and leaves nothing behind.
func RemoveSocketDir() { _ = os.Remove(SocketDir) }

// bind makes the file with its mode, not a moment later: Linux takes the mode
// from the socket.
func bind(path string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), socketMode) })
		return errors.Join(err, failed)
	}}
	return config.Listen(context.Background(), "unix", path)
}
