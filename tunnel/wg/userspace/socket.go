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
	if err := os.MkdirAll(SocketDir, 0o755); err != nil {
		return nil, err
	}
	path := SocketPath(name)
	l, err := bind(path)
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
