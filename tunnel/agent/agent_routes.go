package agent

import (
	"net/netip"
	"time"

	"re6st/addressing"
	"re6st/tunnel"
)

// Routing is what the agent needs of it. Its methods are called from several goroutines.
type Routing interface {
	// AddInterface lets the routing speak on an interface and use it.
	AddInterface(index int, name string, mtu int, linkLocal netip.Addr) error
	// RemoveInterface makes it leave the interface, which is still there. Routes over it are gone on return.
	RemoveInterface(index int)
	// SetExtraCost adds to the cost of the interface's link.
	SetExtraCost(index, cost int)
	// Destinations are the routes' destinations with what is known of the ways there.
	Destinations() []Destination
	// Links is the state of each interface's link, by index.
	Links() map[int]Link
}

// Destination is one destination of the routing.
type Destination struct {
	Prefix    netip.Prefix
	RouterID  addressing.RouterID // of who originates it
	Metric    int                 // of the selected route; 0xFFFF: none
	Interface int                 // through which it goes
	Alternate int                 // the best metric that does not go through Interface; 0xFFFF: none
}

// Link is what the routing measured of one interface's link.
type Link struct {
	RTT  time.Duration // smoothed; 0: unknown
	Loss float64       // 0 to 1
	Cost int
}

func (a *Agent) routesInterval(now time.Time) time.Duration {
	if now.Sub(a.started) < routesYoungAge || a.isMoving(now) {
		return routesPollYoung
	}
	return routesPoll
}

// isMoving is true while some tunnel waits for routes to come or go.
func (a *Agent) isMoving(now time.Time) bool {
	for _, s := range a.manager.Snapshot(now) {
		if s.State == tunnel.Draining || s.State == tunnel.Up && now.Sub(s.Since) < time.Minute {
			return true
		}
	}
	return false
}

// pollRoutes tells the machine what the routing knows. A node's destination is that of its own prefix: it alone
// originates it, under the router-id that belongs to it.
func (a *Agent) pollRoutes(now time.Time) {
	destinations := a.config.Routing.Destinations()
	routes := make([]tunnel.Destination, 0, len(destinations))
	known := make([]tunnel.Peer, 0, len(destinations))
	a.routed = make(map[tunnel.PeerID]bool, len(destinations))
	for _, d := range destinations {
		id := addressing.RouterIDOf(d.Prefix)
		if id != d.RouterID || id == a.config.Self.RouterID || !d.Prefix.Addr().Is6() {
			continue
		}
		r := tunnel.Destination{Peer: id, Metric: d.Metric, Alternate: d.Alternate}
		if t := a.byIndex[d.Interface]; t != nil {
			r.Via = t.peer.ID()
		}
		routes = append(routes, r)
		if d.Metric < tunnel.Unreachable {
			known = append(known, tunnel.Peer{Prefix: d.Prefix})
			a.routed[id] = true
		}
	}
	a.manager.SetRoutes(now, known, routes)
	a.links = a.config.Routing.Links()
	for index, l := range a.links {
		if d := a.byIndex[index]; d != nil {
			a.manager.SetRTT(now, d.id, l.RTT)
		}
	}
}
