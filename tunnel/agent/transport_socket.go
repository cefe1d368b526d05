package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// PortError says that the control API's port cannot be had.
type PortError struct {
	Network string // "udp" or "tcp"
	Port    uint16
	Err     error
}

func (e *PortError) Error() string {
	return fmt.Sprintf("opening the control port %d (%s): %v; --port chooses another", e.Port, e.Network, e.Err)
}

func (e *PortError) Unwrap() error { return e.Err }

// portError leaves out what net says around the two usual causes.
func portError(network string, port uint16, err error) error {
	for _, cause := range []error{unix.EADDRINUSE, unix.EACCES} {
		if errors.Is(err, cause) {
			err = cause
			break
		}
	}
	return &PortError{Network: network, Port: port, Err: err}
}

// pair is the two sockets of one door: a UDP socket for HTTP/3, which also sends our own calls, and a TCP listener for
// HTTP/2.
type pair struct {
	udp *net.UDPConn
	tcp *net.TCPListener
}

func (p *pair) close() {
	if p == nil {
		return
	}
	if p.udp != nil {
		p.udp.Close()
	}
	if p.tcp != nil {
		p.tcp.Close()
	}
}

// openPairs opens the marked sockets on the wildcard address, and those on the node's address in the mesh if there is
// one, all on one port; port 0 takes a free one. Where both match, the kernel prefers the specific address.
func openPairs(ctx context.Context, port uint16, mark uint32, address netip.Addr) (outer, inner *pair, bound uint16, err error) {
	const attempts = 20 // a port that is free for UDP need not be for TCP
	for range attempts {
		outer, inner, bound, err = openPairsOnce(ctx, port, mark, address)
		if err == nil || port != 0 || !errors.Is(err, unix.EADDRINUSE) {
			return outer, inner, bound, err
		}
	}
	return nil, nil, 0, err
}

func openPairsOnce(ctx context.Context, port uint16, mark uint32, address netip.Addr) (outer, inner *pair, bound uint16, err error) {
	outer = new(pair)
	fail := func(err error) (*pair, *pair, uint16, error) {
		outer.close()
		inner.close()
		return nil, nil, 0, err
	}
	if outer.udp, err = listenUDP(ctx, netip.Addr{}, port, mark); err != nil {
		return fail(err)
	}
	bound = uint16(outer.udp.LocalAddr().(*net.UDPAddr).Port)
	if address.IsValid() {
		inner = new(pair)
		if inner.udp, err = listenUDP(ctx, address, bound, 0); err != nil {
			return fail(err)
		}
	}
	if outer.tcp, err = listenTCP(ctx, netip.Addr{}, bound, mark); err != nil {
		return fail(err)
	}
	if inner != nil {
		if inner.tcp, err = listenTCP(ctx, address, bound, 0); err != nil {
			return fail(err)
		}
		err = exclusive(inner.udp)
	}
	if err = errors.Join(err, exclusive(outer.udp)); err != nil {
		return fail(err)
	}
	return outer, inner, bound, nil
}

func listenUDP(ctx context.Context, address netip.Addr, port uint16, mark uint32) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: controlOf(address, mark)}
	c, err := lc.ListenPacket(ctx, "udp", hostPort(address, port))
	if err != nil {
		return nil, portError("udp", port, err)
	}
	return c.(*net.UDPConn), nil
}

func listenTCP(ctx context.Context, address netip.Addr, port uint16, mark uint32) (*net.TCPListener, error) {
	lc := net.ListenConfig{Control: controlOf(address, mark)}
	l, err := lc.Listen(ctx, "tcp", hostPort(address, port))
	if err != nil {
		return nil, portError("tcp", port, err)
	}
	return l.(*net.TCPListener), nil
}

// hostPort of the zero address is that of the wildcard of both families (or of IPv4 where there is no IPv6).
func hostPort(address netip.Addr, port uint16) string {
	if !address.IsValid() {
		return fmt.Sprintf(":%d", port)
	}
	return netip.AddrPortFrom(address, port).String()
}

// controlOf sets what must be set before bind. Without SO_REUSEPORT on both, the second socket of a port is refused.
// The node's address may come and go with its interface: FREEBIND lets the socket be there first and stay.
func controlOf(address netip.Addr, mark uint32) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return onFD(c, func(fd int) error {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
				return fmt.Errorf("setting SO_REUSEPORT: %w", err)
			}
			if address.IsValid() {
				if err := freebind(fd, address); err != nil {
					return fmt.Errorf("setting FREEBIND: %w", err)
				}
			}
			return setMark(fd, mark)
		})
	}
}

func freebind(fd int, address netip.Addr) error {
	if address.Is4() {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
}

// setMark keeps a socket's packets out of the mesh (the rule "fwmark M goto main"). Zero means no mark.
func setMark(fd int, mark uint32) error {
	if mark == 0 {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return fmt.Errorf("setting SO_MARK (needs CAP_NET_ADMIN): %w", err)
	}
	return nil
}

// exclusive ends the sharing that SO_REUSEPORT allows: a second daemon of the same user would otherwise get the port as
// well, and the kernel would deal out our packets between the two.
func exclusive(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("making the control port exclusive: %w", err)
	}
	return onFD(raw, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0); err != nil {
			return fmt.Errorf("clearing SO_REUSEPORT: %w", err)
		}
		return nil
	})
}

func onFD(c syscall.RawConn, f func(fd int) error) error {
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
