package babel

import (
	"math"
	"net/netip"
	"slices"
	"time"
)

// route is what one neighbour told of a destination (section 3.2.6).
type route struct {
	p         *entry
	n         *neighbour
	index     int // in n.routes
	nextHop   netip.Addr
	id        RouterID
	seqno     uint16
	refMetric uint16 // the neighbour's
	metric    uint16 // ours, by way of it
	extra     uint16 // of the metric, by Config.ImportCost
	verdict   Verdict
	isStale   bool // selected, and a later Update of its neighbour was unfeasible
	late      late // that Update
	hasAsked  bool // for a refresh before it expires

	smoothed     float64 // metric, smoothed (appendix A.3)
	smoothedAt   time.Time
	interval     time.Duration
	expires      time.Time
	blockedUntil time.Time // the kernel refused it
}

// late is an unfeasible Update of a selected route that is not believed yet.
type late struct {
	seqno, metric uint16
	interval      time.Duration
}

// believe takes the late Update at last: the route is unfeasible.
func (r *route) believe(now time.Time) {
	r.seqno, r.refMetric, r.interval, r.isStale = r.late.seqno, r.late.metric, r.late.interval, false
	r.setMetric(now)
	r.refresh(now)
}

func (p *entry) route(n *neighbour) *route {
	for _, r := range p.routes {
		if r.n == n {
			return r
		}
	}
	return nil
}

// addRoute makes a route without metric.
func (p *entry) addRoute(n *neighbour) *route {
	r := &route{p: p, n: n, index: len(n.routes), refMetric: Infinity, metric: Infinity}
	n.routes = append(n.routes, r)
	p.e.routeCount++
	p.routes = append(p.routes, r)
	return r
}

// remove forgets a route; reconsider must follow.
func (p *entry) remove(r *route) {
	i := slices.Index(p.routes, r)
	if i < 0 {
		return
	}
	p.routes = slices.Delete(p.routes, i, i+1)
	p.carry(r.n, nil)
	last := len(r.n.routes) - 1
	r.n.routes[r.index] = r.n.routes[last]
	r.n.routes[r.index].index = r.index
	r.n.routes[last] = nil
	r.n.routes = r.n.routes[:last]
	p.e.routeCount--
	if p.selected == r {
		p.selected = nil
	}
}

// setMetric computes the metric from the neighbour's and the cost of the link.
func (r *route) setMetric(now time.Time) {
	metric := metricOf(r.extra, metricOf(r.n.cost, r.refMetric))
	if metric == r.metric {
		return
	}
	if r.metric != Infinity && !r.smoothedAt.IsZero() {
		r.smoothed, r.smoothedAt = r.smoothedMetric(now), now
	}
	if r.smoothedAt.IsZero() && metric != Infinity {
		// A new route is believed at once.
		r.smoothed, r.smoothedAt = float64(metric), now
	}
	r.metric = metric
}

// smoothedMetric is the exponential average of appendix A.3, with a time
// constant of three Hello intervals.
func (r *route) smoothedMetric(now time.Time) float64 {
	target := float64(r.metric)
	if r.metric == Infinity {
		return r.smoothed
	}
	share := math.Exp(-now.Sub(r.smoothedAt).Seconds() / r.smoothingTime().Seconds())
	return target + (r.smoothed-target)*share
}

func (r *route) smoothingTime() time.Duration {
	return min(max(3*r.n.link.HelloInterval, time.Second), 12*time.Second)
}

// retract is a metric of infinity: the route stays, unusable, until it expires
// once more.
func (r *route) retract(now time.Time) {
	r.refMetric, r.isStale = Infinity, false
	r.setMetric(now)
	r.refresh(now)
}

func (r *route) refresh(now time.Time) {
	r.expires, r.hasAsked = now.Add(expiryFactor(r.interval)), false
	r.p.wakeAt(r.due())
}

// askBefore: "shortly before a selected route expires" (section 3.8.2.3).
func (r *route) askAt() time.Time { return r.expires.Add(-r.interval / 2) }

func (r *route) due() time.Time {
	at := r.expires
	if !r.hasAsked && r.p.selected == r {
		at = r.askAt()
	}
	return earliest(at, r.blockedUntil)
}

// isUsable: what may be selected.
func (r *route) isUsable() bool {
	return r.metric != Infinity && r.verdict == Accept && r.blockedUntil.IsZero() && r.isFeasible()
}

// isFallback: what a newer seqno could make usable.
func (r *route) isFallback() bool {
	return r.metric != Infinity && r.verdict == Accept && r.blockedUntil.IsZero() && !r.isFeasible()
}

func (r *route) update() Update {
	return Update{
		Prefix: r.p.prefix, From: r.p.from, RouterID: r.id, Neighbour: r.n.addr,
		Interface: r.n.link.Index, Seqno: r.seqno, Metric: r.refMetric,
		Attachment: r.p.carriedFrom(r.n).text(),
	}
}

// noiseShare of a metric is not worth another way.
const noiseShare = 32

// selectRoute is section 3.6 with the hysteresis of appendix A.3: "no selected
// route: the least metric; else switch only if both metric and smoothed metric
// are less".
func (p *entry) selectRoute(now time.Time) {
	p.reselectAt = time.Time{}
	if p.own != nil {
		p.selected = nil
		return
	}
	var best *route
	for _, r := range p.routes {
		if r.isUsable() && !r.isStale && (best == nil || r.metric < best.metric) {
			best = r
		}
	}
	cur := p.selected
	if cur != nil && cur.isStale {
		if best == nil && cur.isUsable() {
			return // better than none
		}
		cur.believe(now)
	}
	switch {
	case cur == nil || !cur.isUsable():
		p.selected = best
	case !isClearlyBelow(float64(best.metric), float64(cur.metric)):
	case isClearlyBelow(best.smoothedMetric(now), cur.smoothedMetric(now)):
		p.selected = best
	default:
		// It will be better if it stays so.
		p.reselectAt = now.Add(best.smoothingTime() / 2)
		p.wakeAt(p.reselectAt)
	}
	if p.selected != cur && p.selected != nil {
		p.wakeAt(p.selected.due())
	}
}

// isClearlyBelow: a measured metric always differs a little.
func isClearlyBelow(a, b float64) bool { return a < b-b/noiseShare }

// expire is section 3.5.3: a finite route becomes infinite and gets the same
// time again; then it goes.
func (p *entry) expire(now time.Time) {
	for _, r := range slices.Clone(p.routes) {
		switch {
		case isDue(r.blockedUntil, now):
			r.blockedUntil = time.Time{}
		case isDue(r.expires, now) && r.refMetric == Infinity:
			p.remove(r)
		case isDue(r.expires, now):
			r.retract(now)
		case p.selected == r && !r.hasAsked && isDue(r.askAt(), now):
			r.hasAsked = true
			p.askRefresh(now, r)
		}
	}
}
