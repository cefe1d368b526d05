package node

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/kernel"
)

// markedDialer dials outside the mesh. Without the privilege to mark it dials as
// any program does: Join needs no root where no mesh is up.
func markedDialer() func(context.Context, string, string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, kernel.DefaultMark) })
	}}
	return dialer.DialContext
}
