package babel

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// check is the list of invariants.
func (z *player) check() error {
	for _, f := range []func() error{z.checkSeqno, z.checkEntries, z.checkTable, z.checkNeighbours, z.checkTimers} {
		if err := f(); err != nil {
			return err // what comes after trusts what is before
		}
	}
	return nil
}

func (z *player) checkSeqno() error {
	if s := &z.e.seqno; !isNewer(z.limit, s.current) && !s.wish {
		return fmt.Errorf("seqno %d, durable before %d", s.current, z.limit)
	}
	return nil
}

func (z *player) checkEntries() error {
	count, founded := 0, map[uint16]int{}
	for p := range z.e.entries.each() {
		count += len(p.routes)
		if f := z.e.budgets.founders; int(p.number) < len(f) && f[p.number] != 0 {
			founded[f[p.number]]++
		}
		if err := z.checkEntry(p); err != nil {
			return fmt.Errorf("%v: %w", p.key(), err)
		}
	}
	if count != z.e.routeCount {
		return fmt.Errorf("%d routes, %d routes counted", count, z.e.routeCount)
	}
	for i, b := range z.e.budgets.all {
		if b == nil {
			continue
		}
		if b.founded != founded[uint16(i)] || b.founded > playerRoutes {
			return fmt.Errorf("%d destinations founded by %v, %d counted", founded[uint16(i)], b.addr, b.founded)
		}
		if b.isGone && b.founded == 0 {
			return fmt.Errorf("the budget of %v is left", b.addr)
		}
	}
	return nil
}

func (z *player) checkEntry(p *entry) error {
	if p.isGone() || z.e.find(p.key()) != p {
		return errors.New("gone, and in the table")
	}
	isLink := func(l *link) bool { return l.number == p.advertised.link }
	if p.advertised.link != 0 && !slices.ContainsFunc(z.e.links, isLink) {
		return fmt.Errorf("advertised as by way of link number %d, which is gone", p.advertised.link)
	}
	if r := p.selected(); r != nil {
		l := p.next().link
		switch {
		case r.metric == Infinity || r.verdict() != Accept || r.is(blocked):
			return fmt.Errorf("selected, and not usable: %+v", *r)
		case !r.is(stale) && !isBelow(p, r.id, r.seqno, r.refMetric):
			return fmt.Errorf("selected, and not feasible: %+v", *r)
		case p.own() != nil || p.isHeld() || z.e.link(l.Index) != l:
			return fmt.Errorf("selected, and it should have none: %+v", *r)
		}
	}
	seen := map[uint16]bool{}
	for i := range p.routes {
		r := &p.routes[i]
		if seen[r.n] {
			return fmt.Errorf("two routes of neighbour %d", r.n)
		}
		seen[r.n] = true
		if err := z.checkRoute(p, r); err != nil {
			return err
		}
	}
	return z.checkBounds(p)
}

func (z *player) checkRoute(p *entry, r *route) error {
	n := z.e.peers.all[r.n]
	switch {
	case n == nil || !slices.Contains(n.link.neighbours, n) || z.e.link(n.link.Index) != n.link:
		return fmt.Errorf("a route of a neighbour that is gone: %+v", *r)
	case int(r.slot) >= len(n.routes) || n.routes[r.slot] != p.number:
		return fmt.Errorf("not in its slot: %+v", *r)
	case r.verdict() == Refuse:
		return fmt.Errorf("refused, and stored: %+v", *r)
	case p.chosen == 0 && p.own() == nil && p.isUsable(r):
		return fmt.Errorf("usable, and nothing is selected: %+v", *r)
	}
	metric := int(r.refMetric) + int(n.cost) + int(p.importCost(r))
	if int(r.metric) != min(metric, Infinity) {
		return fmt.Errorf("metric %d, want %d: %+v", r.metric, metric, *r)
	}
	return nil
}

func (z *player) checkBounds(p *entry) error {
	x := p.x
	if x == nil {
		return nil
	}
	isListed := func(n uint16) bool { return slices.ContainsFunc(p.routes, func(r route) bool { return r.n == n }) }
	switch {
	case len(x.requests) > requestsMax:
		return fmt.Errorf("%d requests", len(x.requests))
	case len(x.sources) > sourcesMax+len(z.e.peers.all):
		return fmt.Errorf("%d sources", len(x.sources))
	case slices.ContainsFunc(x.carried, func(c carried) bool { return !isListed(c.n) }):
		return errors.New("an attachment without route")
	}
	for _, e := range x.exports {
		if e.ok && e.add == 0 {
			return errors.New("an export that says nothing")
		}
	}
	return nil
}

func (z *player) checkTable() error {
	for p := range z.e.entries.each() {
		if want := p.wanted(); !p.isUnknown() {
			route := p.routeBy(want)
			if got, ok := z.fib[p.key()]; ok != (want != 0) || ok && got != route {
				return fmt.Errorf("%v: in the table %+v (%v), wanted %+v", p.key(), got, ok, route)
			}
		}
	}
	for k := range z.fib {
		if z.e.find(k) == nil {
			return fmt.Errorf("%v is in the table and not known", k)
		}
	}
	return nil
}

func (z *player) checkNeighbours() error {
	for _, l := range z.e.links {
		most := neighboursMax
		if l.Kind == Tunnel {
			most = tunnelPeersMax
		}
		if len(l.neighbours) > most || len(l.budgets) > budgetsMax || len(l.flights) > flightsMax {
			return fmt.Errorf("link %d has %d neighbours, %d budgets, %d flights", l.Index, len(l.neighbours), len(l.budgets), len(l.flights))
		}
		for _, n := range l.neighbours {
			if err := z.checkNeighbour(n); err != nil {
				return fmt.Errorf("link %d, %v: %w", l.Index, n.addr, err)
			}
		}
	}
	return nil
}

func (z *player) checkNeighbour(n *neighbour) error {
	if z.e.peers.all[n.number] != n || len(n.routes) > playerRoutes {
		return fmt.Errorf("number %d, %d routes", n.number, len(n.routes))
	}
	users, attached := make([]int32, len(n.hops)), 0
	for _, number := range n.routes {
		p := z.e.entries.all[number]
		r := p.route(n)
		if r == nil {
			return fmt.Errorf("no route in the slot of %v", p.key())
		}
		users[r.hop]++
		attached += len(p.carriedFrom(n).text())
	}
	for i, h := range n.hops {
		if h.users != users[i] {
			return fmt.Errorf("next hop %v has %d users, counted %d", h.addr, users[i], h.users)
		}
	}
	if attached != n.attached {
		return fmt.Errorf("%d octets attached, counted %d", attached, n.attached)
	}
	return nil
}

// checkTimers: whatever waits for a time is woken at that time or before, and
// what is due does not stay so.
func (z *player) checkTimers() error {
	e := z.e
	inHeap := map[fires]time.Time{}
	for i, tm := range e.timers {
		if tm.index != i || i > 0 && tm.at.Before(e.timers[(i-1)/2].at) {
			return errors.New("the heap of timers is none")
		}
		inHeap[tm.owner] = tm.at
	}
	isLate := func(f fires) bool {
		due, at := f.due(), inHeap[f]
		return !due.IsZero() && (at.IsZero() || at.After(due) && at.After(z.now.Add(2*time.Millisecond)))
	}
	for _, l := range e.links {
		if isLate(l) {
			return fmt.Errorf("the timer of link %d is late", l.Index)
		}
		for _, n := range l.neighbours {
			if isLate(n) {
				return fmt.Errorf("the timer of %v is late: due %v, set for %v, now %v", n.addr, n.due().Sub(z.now), inHeap[n].Sub(z.now), z.now.Sub(epoch))
			}
		}
	}
	alarmed := map[int32]bool{}
	for _, a := range e.alarms {
		if p := e.whose(a); p != nil {
			alarmed[p.number] = true
		}
	}
	for p := range e.entries.each() {
		if due := p.due(); due != 0 && (!alarmed[p.number] || due.isBefore(p.wake)) && !due.isDue(e.tick(e.latest)) {
			return fmt.Errorf("no alarm for %v: due %d, alarm %d, now %d; %+v; %+v", p.key(), due, p.wake, e.tick(e.latest), p, p.x)
		}
	}
	for range 20 {
		at := e.Deadline()
		if at.IsZero() || at.After(e.latest) {
			return nil
		}
		z.now = later(z.now, e.latest)
		e.Advance(z.now)
	}
	if at := e.Deadline(); !at.IsZero() && z.now.Sub(at) > time.Second {
		return fmt.Errorf("due for ever: %v, now %v", at, z.now)
	}
	return nil
}
