package userspace

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

// endpoint is where a peer is, and which address of ours it knows. wireguard-go
// forgets the latter when a peer does not answer. It may be several peers'.
type endpoint struct {
	dst     netip.AddrPort // without zone
	scope   uint32         // interface of a link-local dst
	src     netip.Addr     // not valid: the kernel chooses
	cleared atomic.Bool    // src is of no use any more
}

var _ conn.Endpoint = (*endpoint)(nil)

func parseEndpoint(s string) (*endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	e := &endpoint{dst: netip.AddrPortFrom(a.Addr().WithZone("").Unmap(), a.Port())}
	if zone := a.Addr().Zone(); zone != "" {
		if e.scope, err = scopeOf(zone); err != nil {
			return nil, fmt.Errorf("endpoint %s: %w", s, err)
		}
	}
	return e, nil
}

func scopeOf(zone string) (uint32, error) {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", zone, err)
	}
	return uint32(i.Index), nil
}

// isSame: another may stand for this one.
func (e *endpoint) isSame(o *endpoint) bool {
	return e.dst == o.dst && e.scope == o.scope && e.source() == o.source()
}

// source is zero where the kernel is to choose.
func (e *endpoint) source() netip.Addr {
	if e.cleared.Load() {
		return netip.Addr{}
	}
	return e.src
}

func (e *endpoint) ClearSrc()         { e.cleared.Store(true) }
func (e *endpoint) DstIP() netip.Addr { return e.dst.Addr() }
func (e *endpoint) SrcIP() netip.Addr { return e.source() }

func (e *endpoint) SrcToString() string {
	if a := e.source(); a.IsValid() {
		return a.String()
	}
	return ""
}

func (e *endpoint) DstToString() string {
	if e.scope == 0 {
		return e.dst.String()
	}
	zone := strconv.Itoa(int(e.scope))
	if i, err := net.InterfaceByIndex(int(e.scope)); err == nil {
		zone = i.Name
	}
	return netip.AddrPortFrom(e.dst.Addr().WithZone(zone), e.dst.Port()).String()
}

func (e *endpoint) DstToBytes() []byte {
	b, _ := e.dst.MarshalBinary() // cannot fail
	return b
}
