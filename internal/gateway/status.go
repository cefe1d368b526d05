package gateway

import (
	"net/netip"

	"re6st/internal/border"
)

// Status is how a gateway is, for people.
type Status struct {
	Families []Family
	Dropped  map[string]uint64 // packets that our table refused, by why
	Repairs  int               // how often another's change of the table was undone
	// Wide names an on-link prefix of an uplink that covers the mesh: a routed way
	// out gets no answers there.
	Wide string
}

// Family is one family's way out.
type Family struct {
	border.State
	Way     Way
	Uplink  string
	NextHop netip.Addr
}

// Status is as of now.
func (g *Gateway) Status() Status {
	g.mu.Lock()
	s := g.status
	g.mu.Unlock()
	if n, err := counts(g.config.Instance); err == nil {
		s.Dropped = n
	}
	return s
}

func (g *Gateway) families() []Family {
	var all []Family
	for _, s := range g.machine.States() {
		f := Family{State: s, Way: g.config.IPv4, Uplink: g.lanes[s.Family].upstream.Interface, NextHop: g.lanes[s.Family].hop.nextHop}
		if s.Family == border.IPv6 {
			f.Way = g.config.IPv6
		}
		all = append(all, f)
	}
	return all
}

// show leaves the state of now for Status.
func (g *Gateway) show() {
	all := g.families()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status.Families, g.status.Repairs = all, g.keeper.repairs
}

func (g *Gateway) setWide(wide string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status.Wide = wide
}
