package lab

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// FlowsArgs are those of Flows.
type FlowsArgs struct {
	To     netip.Addr
	Flows  int // how many; one packet each and round
	Rounds int
	Every  time.Duration // between two packets, on average
}

// Flows sends packets of many flows: pairs of ports. Nobody listens there; the
// refusals that come back are not looked at.
func (a *Agent) Flows(args FlowsArgs, _ *struct{}) error {
	const ports = 50000
	var sockets []*net.UDPConn
	defer func() {
		for _, s := range sockets {
			s.Close()
		}
	}()
	for range (args.Flows + ports - 1) / ports {
		c, err := net.ListenUDP("udp6", nil)
		if err != nil {
			return fmt.Errorf("opening a socket for flows: %w", err)
		}
		sockets = append(sockets, c)
		if err := ignoreErrors(c); err != nil {
			return err
		}
	}
	payload := []byte(Canary)
	start, sent := time.Now(), 0
	for range args.Rounds {
		for i := range args.Flows {
			to := netip.AddrPortFrom(args.To, uint16(10000+i%ports))
			if _, err := sockets[i/ports].WriteToUDPAddrPort(payload, to); err != nil {
				return fmt.Errorf("sending to %v: %w", to, err)
			}
			if sent++; sent%64 == 0 { // a timer is too coarse for each
				<-time.After(time.Until(start.Add(time.Duration(sent) * args.Every)))
			}
		}
	}
	return nil
}

// ignoreErrors: what an earlier packet met is not to fail a later one.
func ignoreErrors(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, unix.IPV6_RECVERR, 0)
	})
	if err == nil {
		err = failed
	}
	return err
}

// Flows sends packets of so many flows to an address, and returns when all are sent.
func (h *Host) Flows(args FlowsArgs) {
	h.Lab.TB.Helper()
	if err := h.call("Flows", args, &struct{}{}); err != nil {
		h.Lab.TB.Fatalf("%v", err)
	}
}
