package babel

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

// route is what one neighbour told of a destination (section 3.2.6). It is a
// small value without pointers: a node has one for each prefix of the network
// and each neighbour.
type route struct {
	id         RouterID
	slot       int32 // in neighbour.routes
	expires    instant
	n          uint16 // number of the neighbour
	seqno      uint16
	refMetric  uint16 // the neighbour's
	metric     uint16 // ours, by way of it
	interval   wire.Interval
	smoothed   uint16 // metric, smoothed (appendix A.3)
	smoothedAt uint16 // in smoothTicks; wraps
	hop        uint8  // the next hop: index in neighbour.hops
	flags      flags  // and the verdict
}

// flags of a route.
type flags uint8

const (
	verdictMask flags = 3
	doubtful    flags = 1 << (iota + 1) // not said again since its neighbour was lost
	stale                               // selected, and a later Update of its neighbour was unfeasible
	asked                               // for a refresh before it expires
	blocked                             // the kernel refused it
	smooth                              // smoothed means something
	costly                              // see importCost
)

func (r *route) is(f flags) bool { return r.flags&f != 0 }

func (r *route) set(f flags, is bool) {
	r.flags &^= f
	if is {
		r.flags |= f
	}
}

func (r *route) verdict() Verdict { return Verdict(r.flags & verdictMask) }

func (r *route) setVerdict(v Verdict) { r.flags = r.flags&^verdictMask | flags(v) }

// late is an unfeasible Update of a selected route that is not believed yet.
type late struct {
	seqno, metric uint16
	interval      wire.Interval
	at            instant
}

// believe takes the late Update at last: the route is unfeasible.
func (p *entry) believe(now time.Time, r *route) {
	u := p.x.late
	r.seqno, r.refMetric, r.interval = u.seqno, u.metric, u.interval
	r.set(stale|asked, false)
	p.setMetric(now, r)
	r.expires = (u.at + expiryTicks(r.interval)).orFirst()
	p.wakeAt(p.routeDue(r))
}

func (p *entry) route(n *neighbour) *route {
	for i := range p.routes {
		if p.routes[i].n == n.number {
			return &p.routes[i]
		}
	}
	return nil
}

// addRoute makes a route without metric, by way of a next hop for which there is
// room. The other routes may have moved.
func (p *entry) addRoute(n *neighbour, hop netip.Addr) *route {
	if len(p.routes) == cap(p.routes) {
		// By a quarter: there are millions of such lists.
		grown := make([]route, len(p.routes), len(p.routes)+max(1, min(len(p.routes), 2), len(p.routes)/4))
		copy(grown, p.routes)
		p.routes = grown
	}
	p.routes = append(p.routes, route{
		n: n.number, slot: int32(len(n.routes)), refMetric: Infinity, metric: Infinity, hop: n.useHop(hop),
	})
	n.routes = append(n.routes, p.number)
	p.e.routeCount++
	return &p.routes[len(p.routes)-1]
}

// remove forgets a route; reconsider must follow.
func (p *entry) remove(r *route) {
	i := slices.IndexFunc(p.routes, func(x route) bool { return x.n == r.n })
	n := p.neighbour(r)
	last := len(n.routes) - 1
	if moved := n.routes[last]; moved != p.number {
		n.routes[r.slot] = moved
		p.e.entries.all[moved].route(n).slot = r.slot
	}
	n.routes = n.routes[:last]
	p.e.routeCount--
	n.dropHop(r.hop)
	p.carry(n, nil)
	p.setImportCost(r, 0)
	switch c := int(p.chosen) - 1; {
	case c == i:
		p.chosen = 0
	case c > i:
		p.chosen--
	}
	p.routes = slices.Delete(p.routes, i, i+1)
	if len(p.routes) == 0 {
		p.routes = nil
	}
}

// setMetric computes the metric from the neighbour's and the cost of the link.
func (p *entry) setMetric(now time.Time, r *route) {
	metric := metricOf(p.importCost(r), metricOf(p.neighbour(r).cost, r.refMetric))
	if metric == r.metric {
		return
	}
	t := p.e.tick(now)
	switch {
	case !r.is(smooth) && metric != Infinity:
		// A new route is believed at once.
		r.set(smooth, true)
		r.smoothed, r.smoothedAt = metric, smoothStamp(t)
	case r.is(smooth) && r.metric != Infinity:
		r.smoothed, r.smoothedAt = uint16(math.Round(p.smoothedMetric(now, r))), smoothStamp(t)
	}
	r.metric = metric
}

const (
	smoothTicks = 8 // a stamp is worth 80 ms, and wraps after 87 minutes
	smoothMax   = 12 * time.Second
	// After so long the past weighs less than a thousandth.
	smoothOver = uint16(8 * smoothMax / (smoothTicks * tickLen))
)

func smoothStamp(t instant) uint16 { return uint16(t / smoothTicks) }

// smoothedMetric is the exponential average of appendix A.3, with a time
// constant of three Hello intervals.
func (p *entry) smoothedMetric(now time.Time, r *route) float64 {
	target := float64(r.metric)
	if r.metric == Infinity || !r.is(smooth) {
		return float64(r.smoothed)
	}
	age := smoothStamp(p.e.tick(now)) - r.smoothedAt
	if age > smoothOver || r.smoothed == r.metric {
		return target
	}
	past := time.Duration(age) * smoothTicks * tickLen
	share := math.Exp(-past.Seconds() / p.neighbour(r).smoothingTime().Seconds())
	return target + (float64(r.smoothed)-target)*share
}

// smoothingTime is the time constant for the routes of a neighbour.
func (n *neighbour) smoothingTime() time.Duration {
	return min(max(3*n.link.HelloInterval, time.Second), smoothMax)
}

// retract is a metric of infinity: the route stays, unusable, until it expires
// once more.
func (p *entry) retract(now time.Time, r *route) {
	r.refMetric = Infinity
	r.set(stale, false)
	p.setMetric(now, r)
	p.refresh(now, r)
}

// refresh is for an Update that was accepted, or repeated.
func (p *entry) refresh(now time.Time, r *route) {
	t := p.e.tick(now)
	r.expires = (p.e.after(now, 0) + expiryTicks(r.interval)).orFirst()
	r.flags &^= asked | doubtful
	if smoothStamp(t)-r.smoothedAt > smoothOver && r.metric != Infinity {
		// Before the stamp wraps and looks young.
		r.smoothed, r.smoothedAt = r.metric, smoothStamp(t)
	}
	p.wakeAt(r.askAt()) // in case it is selected: one alarm does for both
}

// expiryTicks is expiryFactor in instants: Babel's unit is the same.
func expiryTicks(i wire.Interval) instant { return instant(i) * 7 / 2 }

// askAt: "shortly before a selected route expires" (section 3.8.2.3).
func (r *route) askAt() instant { return (r.expires - instant(r.interval/2)).orFirst() }

func (p *entry) routeDue(r *route) instant {
	if !r.is(asked) && p.selected() == r {
		return r.askAt()
	}
	return r.expires
}

// isUsable: what may be selected.
func (p *entry) isUsable(r *route) bool {
	return r.isAdmitted() && p.isFeasible(r.id, r.seqno, r.refMetric)
}

// isFallback: what a newer seqno could make usable.
func (p *entry) isFallback(r *route) bool {
	return r.isAdmitted() && !p.isFeasible(r.id, r.seqno, r.refMetric)
}

// isAdmitted: what may be selected if it is feasible.
func (r *route) isAdmitted() bool {
	return r.metric != Infinity && r.flags&(verdictMask|blocked) == 0
}

func (p *entry) update(r *route) Update {
	n := p.neighbour(r)
	return Update{
		Prefix: p.prefix(), From: p.from(), RouterID: r.id, Neighbour: n.addr,
		Interface: n.link.Index, Seqno: r.seqno, Metric: r.refMetric,
		Attachment: p.carriedFrom(n).text(),
	}
}

// noiseShare of a metric is not worth another way.
const noiseShare = 32

// selectRoute is section 3.6 with the hysteresis of appendix A.3: "no selected
// route: the least metric; else switch only if both metric and smoothed metric
// are less".
func (p *entry) selectRoute(now time.Time) {
	if p.x != nil {
		p.x.reselectAt = 0
	}
	cur := p.selected()
	if p.own() != nil {
		if cur != nil && cur.is(stale) {
			p.believe(now, cur)
		}
		p.chosen = 0
		return
	}
	best := p.best()
	if cur != nil && cur.is(stale) {
		if best == nil && p.isUsable(cur) {
			return // better than none
		}
		p.believe(now, cur)
	}
	was := p.chosen
	switch {
	case cur == nil || !p.isUsable(cur):
		p.choose(best)
	case best == nil || best == cur || !isClearlyBelow(float64(best.metric), float64(cur.metric)):
	case isClearlyBelow(p.smoothedMetric(now, best), p.smoothedMetric(now, cur)):
		p.choose(best)
	default:
		// It will be better if it stays so.
		at := p.e.after(now, p.neighbour(best).smoothingTime()/2)
		p.extra().reselectAt = at
		p.wakeAt(at)
	}
	if r := p.selected(); p.chosen != was && r != nil {
		p.wakeAt(p.routeDue(r))
	}
}

// best is the usable route with the least metric, the earliest of equals.
func (p *entry) best() *route {
	var best *route
	for i := range p.routes {
		r := &p.routes[i]
		if (best == nil || r.metric < best.metric) && !r.is(stale) && p.isUsable(r) {
			best = r
		}
	}
	return best
}

func (p *entry) choose(r *route) {
	p.chosen = 0
	if r == nil {
		return
	}
	p.chosen = uint16(1 + slices.IndexFunc(p.routes, func(x route) bool { return x.n == r.n }))
}

// isClearlyBelow: a measured metric always differs a little.
func isClearlyBelow(a, b float64) bool { return a < b-b/noiseShare }

// expire is section 3.5.3: a finite route becomes infinite and gets the same
// time again; then it goes.
func (p *entry) expire(now time.Time) {
	t := p.e.tick(now)
	for i := 0; i < len(p.routes); {
		r := &p.routes[i]
		switch {
		case r.expires.isDue(t) && r.refMetric == Infinity:
			p.remove(r)
			continue
		case r.expires.isDue(t):
			p.retract(now, r)
		case p.selected() == r && !r.is(asked) && r.askAt().isDue(t):
			r.set(asked, true)
			p.askRefresh(now, r)
		}
		i++
	}
}
