package babel

import (
	"slices"
	"time"

	"re6st/babel/wire"
)

// Snapshot is the state for people, sorted.
func (e *Engine) Snapshot(now time.Time) Snapshot {
	s := Snapshot{Version: wire.Version, RouterID: e.RouterID, Seqno: e.seqno.current}
	s.Interfaces, s.Neighbours = e.Interfaces(), e.Neighbours()
	for _, p := range e.byPrefix() {
		s.Routes = append(s.Routes, p.states()...)
		p.eachSource(func(x *source) {
			s.Sources = append(s.Sources, SourceState{p.prefix(), p.from(), x.id, x.seqno, x.metric, e.timeOf(x.expires)})
		})
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
	all := slices.AppendSeq(make([]*entry, 0, e.entries.count), e.entries.each())
	slices.SortFunc(all, (*entry).compare)
	return all
}

func (l *link) state() InterfaceState {
	c := &l.counters
	return InterfaceState{
		Index: l.Index, Name: l.Name, Kind: l.Kind, LinkLocal: l.LinkLocal, MTU: l.MTU,
		HelloInterval: l.HelloInterval, UpdateInterval: l.UpdateInterval, ExtraCost: l.ExtraCost,
		SplitHorizon: l.isHorizon(), HelloSeqno: l.helloSeqno, PacketsIn: c.packetsIn, PacketsOut: c.packetsOut,
		BytesIn: c.bytesIn, BytesOut: c.bytesOut, UpdatesIn: c.updatesIn, UpdatesOut: c.updatesOut,
		HellosOut: c.hellosOut, UnicastHellos: c.unicastHellos, IHUsOut: c.ihusOut,
		Malformed: c.malformed, Resent: c.resent, MAC: l.auth.state(l),
	}
}

func (n *neighbour) state() NeighbourState {
	s := NeighbourState{
		Interface: n.link.Index, Address: n.addr, Reachable: n.isReachable(),
		Multicast: n.multicast.bits, Unicast: n.unicast.bits,
		NextMulticast: n.multicast.expected, NextUnicast: n.unicast.expected,
		RxCost: n.rxcost(), TxCost: n.txcost, Cost: n.cost, Routes: len(n.routes),
		Dropped: n.budget.dropped,
		Since:   n.since, Heard: n.heard,
		Loss: float64(n.missed16()) / historyMax,
	}
	if n.rtt.isKnown {
		s.RTT = max(time.Duration(n.rtt.ms*float64(time.Millisecond)), time.Microsecond)
	}
	for p := range n.learnt() {
		if p.next() == n {
			s.Selected++
		}
	}
	return s
}

func (p *entry) states() []RouteState {
	var all []RouteState
	if p.own() != nil {
		all = append(all, RouteState{
			Prefix: p.prefix(), From: p.from(), RouterID: p.e.RouterID, Seqno: p.e.seqno.current,
			Metric: p.own().metric, Own: true, Feasible: true, Selected: true,
		})
	}
	for i := range p.routes {
		r := &p.routes[i]
		n, isSelected := p.neighbour(r), p.selected() == r
		all = append(all, RouteState{
			Prefix: p.prefix(), From: p.from(), RouterID: r.id, Seqno: r.seqno, Metric: r.metric,
			Received: r.refMetric, Neighbour: n.addr, NextHop: n.hops[r.hop].addr, Interface: n.link.Index,
			Feasible: p.isFeasible(r.id, r.seqno, r.refMetric), Selected: isSelected,
			Installed: isSelected && p.installed != 0, Held: r.verdict() == Hold, Expires: p.e.timeOf(r.expires),
		})
	}
	return all
}

// Destinations is what can be reached, for those who choose tunnels, sorted.
func (e *Engine) Destinations() []Destination {
	all := make([]Destination, 0, e.entries.count)
	for _, p := range e.byPrefix() {
		r := p.selected()
		if r == nil {
			continue
		}
		n := p.neighbour(r)
		d := Destination{
			Prefix: p.prefix(), From: p.from(), RouterID: r.id, Metric: r.metric,
			Neighbour: n.addr, Interface: n.link.Index, Alternative: Infinity,
		}
		for i := range p.routes {
			// An unfeasible one would become feasible by a seqno request.
			if x := &p.routes[i]; p.neighbour(x).link != n.link && x.verdict() == Accept {
				d.Alternative = min(d.Alternative, x.metric)
			}
		}
		all = append(all, d)
	}
	return all
}
