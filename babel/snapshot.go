package babel

import (
	"slices"
	"time"
)

// Snapshot is the state for people, sorted.
func (e *Engine) Snapshot(now time.Time) Snapshot {
	s := Snapshot{RouterID: e.RouterID, Seqno: e.seqno.current}
	s.Interfaces, s.Neighbours = e.Interfaces(), e.Neighbours()
	for _, p := range e.byPrefix() {
		s.Routes = append(s.Routes, p.states()...)
		for _, x := range p.sources {
			s.Sources = append(s.Sources, SourceState{p.prefix, p.from, x.id, x.seqno, x.metric, x.expires})
		}
	}
	return s
}

// Interfaces are the links with their counters: the cheap part of Snapshot.
func (e *Engine) Interfaces() []InterfaceState {
	all := make([]InterfaceState, 0, len(e.links))
	for _, l := range e.links {
		all = append(all, l.state())
	}
	return all
}

// Neighbours are those of all links, with what their links cost.
func (e *Engine) Neighbours() []NeighbourState {
	var all []NeighbourState
	for _, l := range e.links {
		for _, n := range l.neighbours {
			all = append(all, n.state())
		}
	}
	return all
}

func (e *Engine) byPrefix() []*entry {
	all := make([]*entry, 0, len(e.entries))
	for _, p := range e.entries {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *entry) int { return a.key.compare(b.key) })
	return all
}

func (l *link) state() InterfaceState {
	c := &l.counters
	return InterfaceState{
		Index: l.Index, Name: l.Name, Kind: l.Kind, LinkLocal: l.LinkLocal, MTU: l.MTU,
		HelloInterval: l.HelloInterval, UpdateInterval: l.UpdateInterval, ExtraCost: l.ExtraCost,
		HelloSeqno: l.helloSeqno, PacketsIn: c.packetsIn, PacketsOut: c.packetsOut,
		BytesIn: c.bytesIn, BytesOut: c.bytesOut, UpdatesIn: c.updatesIn, UpdatesOut: c.updatesOut,
		Malformed: c.malformed, Resent: c.resent, MAC: l.auth.state(l),
	}
}

func (n *neighbour) state() NeighbourState {
	s := NeighbourState{
		Interface: n.link.Index, Address: n.addr, Reachable: n.isReachable(),
		Multicast: n.multicast.bits, Unicast: n.unicast.bits,
		RxCost: n.rxcost(), TxCost: n.txcost, Cost: n.cost, Routes: len(n.routes),
		Dropped: n.budget.dropped,
		Since:   n.since, Heard: n.heard,
		Loss: 1 - float64(n.heard16())/historyMax,
	}
	if n.rtt.isKnown {
		s.RTT = max(time.Duration(n.rtt.ms*float64(time.Millisecond)), time.Microsecond)
	}
	for _, r := range n.routes {
		if r.p.selected == r {
			s.Selected++
		}
	}
	return s
}

func (p *entry) states() []RouteState {
	var all []RouteState
	if p.own != nil {
		all = append(all, RouteState{
			Prefix: p.prefix, From: p.from, RouterID: p.e.RouterID, Seqno: p.e.seqno.current,
			Metric: p.own.metric, Own: true, Feasible: true, Selected: true,
		})
	}
	for _, r := range p.routes {
		isSelected := p.selected == r
		all = append(all, RouteState{
			Prefix: p.prefix, From: p.from, RouterID: r.id, Seqno: r.seqno, Metric: r.metric,
			Received: r.refMetric, Neighbour: r.n.addr, NextHop: r.nextHop, Interface: r.n.link.Index,
			Feasible: r.isFeasible(), Selected: isSelected, Installed: isSelected && p.hasInstalled,
			Held: r.verdict == Hold, Expires: r.expires,
		})
	}
	return all
}

// Destinations is what can be reached, for those who choose tunnels, sorted.
func (e *Engine) Destinations() []Destination {
	all := make([]Destination, 0, len(e.entries))
	for _, p := range e.byPrefix() {
		r := p.selected
		if r == nil {
			continue
		}
		d := Destination{
			Prefix: p.prefix, From: p.from, RouterID: r.id, Metric: r.metric,
			Neighbour: r.n.addr, Interface: r.n.link.Index, Alternative: Infinity,
		}
		for _, x := range p.routes {
			// An unfeasible one would become feasible by a seqno request.
			if x.n.link != r.n.link && x.verdict == Accept {
				d.Alternative = min(d.Alternative, x.metric)
			}
		}
		all = append(all, d)
	}
	return all
}
