package node

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"re6st/babel"
	"re6st/tunnel/agent"
	"re6st/tunnel/control"
)

// routesAge is how old the routes may be by which a next hop is told: others may
// ask often, and a look at all routes costs milliseconds.
const routesAge = time.Second

// signpost tells where packets go from this node: for trace, here and from
// others.
type signpost struct {
	routes  func() []babel.RouteState
	tunnels func() ([]agent.Tunnel, error)
	own     []netip.Prefix
	nets    []netip.Prefix // the mesh's

	mu    sync.Mutex // guards the fields below
	taken time.Time
	known []babel.RouteState // own ones and installed ones
	links map[int]agent.Tunnel
}

func (d *daemon) makeSignpost() {
	d.signpost = &signpost{
		routes:  func() []babel.RouteState { return d.speaker.Snapshot().Routes },
		tunnels: d.tunnels,
		own:     []netip.Prefix{d.member.self.Prefix},
		nets:    d.networks,
	}
	if p := d.member.self.IPv4; p.IsValid() {
		d.signpost.own = append(d.signpost.own, p)
	}
}

func (s *signpost) look(now time.Time) error {
	s.mu.Lock()
	isFresh := now.Sub(s.taken) < routesAge
	s.mu.Unlock()
	if isFresh {
		return nil
	}
	tunnels, err := s.tunnels()
	if err != nil {
		return err
	}
	links := map[int]agent.Tunnel{}
	for _, t := range tunnels {
		links[t.Index] = t
	}
	var known []babel.RouteState
	for _, r := range s.routes() {
		if r.Own || r.Installed {
			known = append(known, r)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken, s.known, s.links = now, known, links
	return nil
}

// nextHop is where a packet goes: by the longest destination, and of those by the
// longest source, as the kernel does with our table (RFC 9079, section 3).
func (s *signpost) nextHop(to, from netip.Addr) (control.NextHop, error) {
	if err := s.look(time.Now()); err != nil {
		return control.NextHop{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.own {
		if p.Contains(to) {
			return control.NextHop{Kind: control.HopLocal}, nil
		}
	}
	best := babel.RouteState{}
	for _, r := range s.known {
		if !r.Prefix.Contains(to) || r.From.IsValid() && !r.From.Contains(from) {
			continue
		}
		if !best.Prefix.IsValid() || isLonger(r, best) {
			best = r
		}
	}
	switch t, isTunnel := s.links[best.Interface]; {
	case !best.Prefix.IsValid() || best.Prefix.Bits() == 0 && !s.isOfMesh(from):
		return control.NextHop{Kind: control.HopNone}, nil
	case best.Own && best.From.IsValid() || best.Own && best.Prefix.Bits() == 0:
		return control.NextHop{Kind: control.HopGateway}, nil
	case best.Own:
		return control.NextHop{Kind: control.HopLocal}, nil
	case !isTunnel:
		return control.NextHop{Kind: control.HopNone}, nil
	default:
		return throughTunnel(t), nil
	}
}

// isOfMesh tells whether packets from there take the mesh's default routes: other
// packets of this host have its own (rules 26001 to 26005).
func (s *signpost) isOfMesh(from netip.Addr) bool {
	for _, p := range s.nets {
		if p.Contains(from) {
			return true
		}
	}
	for _, r := range s.known {
		if r.Prefix.Bits() > 0 && r.Prefix.Contains(from) {
			return true
		}
	}
	return false
}

// isLonger: an own route wins over one that was learnt, as it does in Babel.
func isLonger(a, b babel.RouteState) bool {
	switch {
	case a.Prefix.Bits() != b.Prefix.Bits():
		return a.Prefix.Bits() > b.Prefix.Bits()
	case max(a.From.Bits(), 0) != max(b.From.Bits(), 0):
		return max(a.From.Bits(), 0) > max(b.From.Bits(), 0)
	}
	return a.Own && !b.Own
}

func throughTunnel(t agent.Tunnel) control.NextHop {
	n := control.NextHop{Kind: control.HopTunnel, Interface: t.Interface, Peer: t.Peer, RTTms: t.RTTms, Loss: min(max(t.Loss, 0), 1)}
	n.PeerAddress, _ = netip.ParseAddr(t.PeerAddress)
	return n
}

// askNextHop asks another node.
func (d *daemon) askNextHop(ctx context.Context, node netip.Prefix, to, from netip.Addr) (control.NextHop, error) {
	return d.agent.NextHopAt(ctx, node, to, from)
}
