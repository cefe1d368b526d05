package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"re6st/internal/lab/solo"
)

func TestPortInUse(t *testing.T) {
	wantPortError := func(t *testing.T, err error, network string) {
		t.Helper()
		e, ok := errors.AsType[*PortError](err)
		if !ok || e.Network != network {
			t.Fatalf("got %v, want a PortError of %s", err, network)
		}
		if !strings.Contains(e.Error(), "--port") || !strings.Contains(e.Error(), "address already in use") {
			t.Errorf("the message does not help: %v", e)
		}
	}
	m := newMesh(t)
	serve := func(port uint16) error {
		return newTransport(transportConfig{
			Authority: m.authority, Certificate: m.node("b", 2), Port: port, Address: netip.IPv6Loopback(),
		}).Serve(context.Background(), new(desk), nil)
	}
	t.Run("by another of us", func(t *testing.T) {
		first := m.start(m.node("a", 1), func(c *transportConfig) { c.Address = netip.IPv6Loopback() })
		wantPortError(t, serve(first.Port()), "udp")
	})
	t.Run("by a TCP server", func(t *testing.T) {
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		wantPortError(t, serve(uint16(l.Addr().(*net.TCPAddr).Port)), "tcp")
	})
	t.Run("by a UDP socket on one address", func(t *testing.T) {
		l, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		wantPortError(t, serve(uint16(l.LocalAddr().(*net.UDPAddr).Port)), "udp")
	})
}

// The sockets towards the underlay carry the mark, those in the mesh must not: marked packets never enter the mesh.
func TestSocketsAreMarkedTowardsTheUnderlayOnly(t *testing.T) {
	const mark = 0x6e36
	m := newMesh(t)
	tr := newTransport(transportConfig{Authority: m.authority, Certificate: m.node("a", 1), Mark: mark, Address: netip.IPv6Loopback()})
	t.Cleanup(tr.Close)
	if err := tr.Listen(t.Context()); errors.Is(err, unix.EPERM) {
		solo.SkipOrFail(t, fmt.Sprintf("marks need CAP_NET_ADMIN: %v", err))
	} else if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{mark, 0} {
		p := tr.doors[i].pair
		for name, c := range map[string]syscall.Conn{"udp": p.udp, "tcp": p.tcp} {
			raw, err := c.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if err := onFD(raw, func(fd int) error {
				got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK)
				if got != want {
					t.Errorf("door %d, %s: mark %#x, want %#x", i, name, got, want)
				}
				return err
			}); err != nil {
				t.Error(err)
			}
		}
	}
}
