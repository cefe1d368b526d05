package node

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/kernel"
)

// dialTimeout leaves time for a second way and a second URL.
const dialTimeout = 5 * time.Second

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// markedDialer dials outside the mesh. Without the privilege to mark it dials as
// any program does: Join needs no root where no mesh is up.
func markedDialer() dialFunc {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, kernel.DefaultMark) })
	}}
	return dialer.DialContext
}

// dialer reaches the registry over the underlay, and through the mesh where the
// underlay does not lead there. Names are resolved without the mark.
func dialer() dialFunc {
	outside, through := markedDialer(), (&net.Dialer{Timeout: dialTimeout}).DialContext
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := outside(ctx, network, addr)
		if err == nil || ctx.Err() != nil {
			return c, err
		}
		if c, err2 := through(ctx, network, addr); err2 == nil {
			return c, nil
		}
		return nil, err
	}
}
