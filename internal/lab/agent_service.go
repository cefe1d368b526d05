package lab

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Serve starts a TCP service on the address that tells every caller the
// address it is seen with: what an Internet host would.
func (a *Agent) Serve(listen string, _ *struct{}) error {
	l, err := a.listen(listen)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				fmt.Fprintln(c, c.RemoteAddr())
			}()
		}
	}()
	return nil
}

// listen takes a TCP port until Unserve.
func (a *Agent) listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closers = append(a.closers, l)
	return l, nil
}

// Unserve ends all services.
func (a *Agent) Unserve(struct{}, *struct{}) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.closers {
		c.Close()
	}
	a.closers = nil
	return nil
}

// CallArgs are those of Call.
type CallArgs struct {
	To      netip.AddrPort
	Timeout time.Duration
}

// Call asks a service of Serve with which address it sees us.
func (a *Agent) Call(args CallArgs, seen *netip.AddrPort) error {
	c, err := net.DialTimeout("tcp", args.To.String(), args.Timeout)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(args.Timeout))
	line, err := bufio.NewReader(io.LimitReader(c, 128)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("reading the answer of %v: %w", args.To, err)
	}
	*seen, err = netip.ParseAddrPort(strings.TrimSpace(line))
	return err
}

// Dial says whether a TCP connection can be made.
func (a *Agent) Dial(args CallArgs, _ *struct{}) error {
	c, err := net.DialTimeout("tcp", args.To.String(), args.Timeout)
	if err == nil {
		c.Close()
	}
	return err
}

// Dial makes a TCP connection from the host and closes it.
func (h *Host) Dial(to netip.AddrPort, timeout time.Duration) error {
	return h.call("Dial", CallArgs{To: to, Timeout: timeout}, &struct{}{})
}

// Serve starts, on the host, a TCP service that tells callers their address.
func (h *Host) Serve(listen string) {
	h.Lab.TB.Helper()
	Must(h.Lab.TB, h.call("Serve", listen, &struct{}{}))
}

// Unserve ends the services of the host.
func (h *Host) Unserve() {
	h.Lab.TB.Helper()
	Must(h.Lab.TB, h.call("Unserve", struct{}{}, &struct{}{}))
}

// Call connects to such a service, as any program of the host would, and
// returns the source address that it saw.
func (h *Host) Call(to netip.AddrPort, timeout time.Duration) (netip.AddrPort, error) {
	var seen netip.AddrPort
	err := h.call("Call", CallArgs{To: to, Timeout: timeout}, &seen)
	return seen, err
}
