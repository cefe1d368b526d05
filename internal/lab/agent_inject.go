package lab

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// InjectArgs are those of Inject.
type InjectArgs struct {
	Interface string
	Packet    []byte
}

// Inject sends a Babel packet to all neighbours on an interface, from the port
// that the host's own router has there: its neighbours take it for that router's.
func (a *Agent) Inject(args InjectArgs, _ *struct{}) error {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		control := raw.Control(func(fd uintptr) {
			if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
				err = unix.BindToDevice(int(fd), args.Interface)
			}
		})
		if control != nil {
			return control
		}
		return err
	}}
	socket, err := c.ListenPacket(context.Background(), "udp6", fmt.Sprintf("[::]:%d", babelPort))
	if err != nil {
		return err
	}
	defer socket.Close()
	_, err = socket.WriteTo(args.Packet, &net.UDPAddr{IP: net.ParseIP("ff02::1:6"), Port: babelPort, Zone: args.Interface})
	return err
}

// Inject is that of the host's agent.
func (h *Host) Inject(iface string, packet []byte) error {
	return h.call("Inject", InjectArgs{Interface: iface, Packet: packet}, &struct{}{})
}
