package wg

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// ports hands out UDP ports of a range to the kernel's devices. Other programs use ports too, so each is
// tried; what lies between the try and the device's own bind is for the caller
// to notice, who asks for the next.
type ports struct {
	r PortRange

	mu   sync.Mutex
	used map[uint16]bool // by devices of this backend
}

func newPorts(r PortRange) (*ports, error) {
	if r == (PortRange{}) {
		r = DefaultPorts
	}
	if r.First == 0 || r.Last < r.First {
		return nil, fmt.Errorf("tunnel ports %v: not a range", r)
	}
	return &ports{r: r, used: make(map[uint16]bool)}, nil
}

// take finds a free port. It starts anywhere, so that the port of a tunnel that
// has just ended is not soon another's, whom the old peer's packets would reach.
func (p *ports) take(wanted uint16) (uint16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if wanted != 0 {
		if p.used[wanted] || !isFree(wanted) {
			return 0, fmt.Errorf("UDP port %d: %w", wanted, unix.EADDRINUSE)
		}
		p.used[wanted] = true
		return wanted, nil
	}
	size := int(p.r.Last) - int(p.r.First) + 1
	start := rand.IntN(size)
	for n := range size {
		port := p.r.First + uint16((start+n)%size)
		if !p.used[port] && isFree(port) {
			p.used[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("tunnel ports %v: %w; close some, or give a larger range", p.r, ErrNoPort)
}

func (p *ports) give(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, port)
}

// bindPort tries ports until one is still free when the device binds it.
func bindPort(p *ports, wanted uint16, bind func(uint16) error) (uint16, error) {
	const tries = 16
	var err error
	for range tries {
		var port uint16
		if port, err = p.take(wanted); err != nil {
			return 0, err
		}
		if err = bind(port); err == nil {
			return port, nil
		}
		p.give(port)
		if wanted != 0 || !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return 0, err
}

// isFree tries both families, as a WireGuard device does. One that the host has
// not does not count.
func isFree(port uint16) bool {
	for network, any := range map[string]netip.Addr{"udp4": netip.IPv4Unspecified(), "udp6": netip.IPv6Unspecified()} {
		c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(any, port)))
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
			continue
		}
		if err != nil {
			return false
		}
		c.Close()
	}
	return true
}
