package babel

import (
	"net/netip"
	"slices"
	"time"
)

// entry is everything about one destination. There are as many as prefixes in
// the network: what only few need is in extra.
type entry struct {
	dest
	e      *Engine
	x      *extra
	routes []route // one a neighbour

	source     source // the first feasibility distance; others are in extra
	advertised advertised

	installed uint32 // what the forwarding table has: number in Engine.gateways
	wake      instant
	number    int32  // in table.all
	chosen    uint16 // index of the selected route, and 1
	marks     marks
	flaps     uint8
}

// marks of an entry.
type marks uint8

const (
	gone    marks = 1 << iota // out of the table
	changed                   // in Engine.changed
	moved                     // in order.moved
	held                      // see hold
	said                      // finite, to somebody, since it was last told as lost
)

func (p *entry) mark(m marks)          { p.marks |= m }
func (p *entry) unmark(m marks)        { p.marks &^= m }
func (p *entry) isMarked(m marks) bool { return p.marks&m != 0 }
func (p *entry) isGone() bool          { return p.isMarked(gone) }
func (p *entry) isHeld() bool          { return p.isMarked(held) }

// extra is what few entries need at a time.
type extra struct {
	own      *ownRoute
	hold     hold
	sources  []source // but the first
	requests []*request
	carried  []carried
	told     attachment // that was announced
	costs    []importCost
	exports  []exported
	late     late // of the selected route, if it is stale
	failure  *failure
	last     *netip.Prefix // source prefix of an entry that is gone

	triggerAt  instant // of an update that triggerGap holds back
	reselectAt instant // when hysteresis may give in
	starvedAt  instant // when to ask again for a seqno
	askedAt    instant // until when no other seqno is asked for
}

// ownRoute is what we originate.
type ownRoute struct {
	metric     uint16
	attachment attachment
}

// hold is a destination that was lost while neighbours may still send us its
// packets (section 2.8): they get an ICMP error, and no shorter prefix.
type hold struct {
	since   time.Duration // after the epoch, exactly
	least   instant       // never before
	until   instant       // never after
	byTime  bool          // someone listens who does not acknowledge
	awaited numbers       // of neighbours that have not acknowledged the retraction
}

// holdMin gives packets in flight the time to be refused.
const holdMin = time.Second

// expiryFactor: 3.5 times the advertised interval (appendix B).
func expiryFactor(interval time.Duration) time.Duration { return interval * 7 / 2 }

// extra makes room for what is rare.
func (p *entry) extra() *extra {
	if p.x == nil {
		p.x = new(extra)
	}
	return p.x
}

// trim gives the room back.
func (p *entry) trim(now time.Time) {
	x := p.x
	if x == nil {
		return
	}
	if t := p.e.tick(now); x.askedAt.isDue(t) {
		x.askedAt = 0
	}
	isIdle := x.own == nil && !p.isHeld() && x.failure == nil && x.told == attachment{} &&
		len(x.sources)+len(x.requests)+len(x.carried)+len(x.costs)+len(x.exports) == 0 &&
		x.triggerAt|x.reselectAt|x.starvedAt|x.askedAt == 0
	if r := p.selected(); isIdle && (r == nil || !r.is(stale)) {
		p.x = nil
	}
}

func (p *entry) own() *ownRoute {
	if p.x == nil {
		return nil
	}
	return p.x.own
}

// from is the source prefix; zero means any source.
func (p *entry) from() netip.Prefix {
	switch {
	case p.dest.source == 0:
		return netip.Prefix{}
	case p.isGone():
		return *p.x.last
	}
	return p.e.froms.at(p.dest.source)
}

func (p *entry) key() key { return key{p.prefix(), p.from()} }

// selected is the route in use, or nil. It is valid until a route is added or
// removed.
func (p *entry) selected() *route {
	if p.chosen == 0 {
		return nil
	}
	return &p.routes[p.chosen-1]
}

// next is the neighbour by which the selected route goes, or nil.
func (p *entry) next() *neighbour {
	if p.chosen == 0 {
		return nil
	}
	return p.e.peers.all[p.routes[p.chosen-1].n]
}

// neighbour is the one that told the route.
func (p *entry) neighbour(r *route) *neighbour { return p.e.peers.all[r.n] }

func (p *entry) requests() []*request {
	if p.x == nil {
		return nil
	}
	return p.x.requests
}

// reconsider is called after any change to the entry: it selects, installs,
// announces, holds and asks.
func (p *entry) reconsider(now time.Time) {
	if p.isGone() {
		return
	}
	had := p.advertised.metric != Infinity || p.isMarked(said)
	p.selectRoute(now)
	isLost := p.own() == nil && p.chosen == 0
	switch {
	case !isLost:
		if p.isHeld() {
			// It has come back before everyone knew that it was lost, and they may not
			// be told yet: lost again, it is held again.
			p.mark(said)
		}
		p.endHold()
	case had:
		p.beginHold(now)
		p.e.noteLost(p)
	}
	p.noteChange()
	p.announce(now)
	p.askForBetter(now)
	if len(p.requests()) > 0 {
		p.reroute(now)
		p.satisfy(now)
	}
	p.trim(now)
	p.collect()
}

func (p *entry) beginHold(now time.Time) {
	p.endHold()
	p.mark(held)
	p.e.held++
	h := &p.extra().hold
	*h = hold{
		since: now.Sub(p.e.epoch), least: p.e.deadline(later(now.Add(holdMin), p.e.departedUntil)),
		until: p.e.after(now, expiryFactor(p.e.updateMax())),
	}
	for _, l := range p.e.links {
		for _, n := range l.neighbours {
			switch {
			case !n.isReachable() || n.isAsked(now):
				// One that we do not hear may hear us still, or hear us again before it
				// notices.
				h.awaited.add(n.number)
			default:
				h.byTime = true
			}
		}
	}
	p.wakeAt(p.holdDue())
}

func (p *entry) endHold() {
	if p.isHeld() {
		p.x.hold = hold{}
		p.unmark(held)
		p.e.held--
	}
}

func (p *entry) holdDue() instant {
	if !p.isHeld() {
		return 0
	}
	h := &p.x.hold
	if h.awaited.isEmpty() && !h.byTime {
		return sooner(h.until, h.least)
	}
	return h.until
}

// acknowledged: the neighbour knows what left at that time. What left before the
// loss did not say it.
func (p *entry) acknowledged(n *neighbour, sent time.Time) {
	if p.isHeld() && sent.Sub(p.e.epoch) > p.x.hold.since {
		p.noLongerAwaits(n)
	}
}

func (p *entry) noLongerAwaits(n *neighbour) {
	p.x.hold.awaited.remove(n.number)
	p.wakeAt(p.holdDue())
}

// departed: the neighbour cannot acknowledge any more. It may go on sending us
// packets until it has noticed: our last IHU expires, and after lostTime it does
// not believe what we said before.
func (e *Engine) departed(now time.Time, n *neighbour) {
	at := now.Add(expiryFactor(ihuEvery*n.link.HelloInterval) + lostTime)
	if n.link.isDown {
		at = now // nothing arrives over it
	}
	e.departedUntil = later(e.departedUntil, at)
	if e.held == 0 {
		return
	}
	least := e.deadline(at)
	for p := range e.entries.each() {
		if p.isHeld() && p.x.hold.awaited.has(n.number) {
			if h := &p.x.hold; h.least.isBefore(least) {
				h.least = least
			}
			p.noLongerAwaits(n)
		}
	}
}

// noLongerAwaited: the neighbour is mute, and only time tells that it has
// forgotten.
func (e *Engine) noLongerAwaited(n *neighbour) {
	if e.held == 0 {
		return
	}
	for p := range e.entries.each() {
		if p.isHeld() && p.x.hold.awaited.has(n.number) {
			p.x.hold.byTime = p.x.hold.byTime || n.isMute
			p.noLongerAwaits(n)
		}
	}
}

func (p *entry) due() instant {
	if p.isGone() {
		return 0
	}
	at := p.sourceDue()
	for i := range p.routes {
		at = sooner(at, p.routeDue(&p.routes[i]))
	}
	x := p.x
	if x == nil {
		return at
	}
	at = sooner(sooner(at, x.triggerAt), sooner(x.reselectAt, x.starvedAt))
	at = sooner(at, p.holdDue())
	if x.failure != nil {
		at = sooner(at, x.failure.due())
	}
	for _, q := range x.requests {
		at = sooner(at, p.e.deadline(q.due()))
	}
	return at
}

// fire does what is due. Often nothing is: the deadline has moved on.
func (p *entry) fire(now time.Time) {
	if t := p.e.tick(now); p.due().isDue(t) {
		p.fireExtra(t)
		p.expire(now)
		p.collectSources(t)
		p.retryRequests(now)
		p.reconsider(now)
	}
}

func (p *entry) fireExtra(t instant) {
	x := p.x
	if x == nil {
		return
	}
	if p.holdDue().isDue(t) {
		p.endHold()
	}
	for _, at := range []*instant{&x.reselectAt, &x.triggerAt, &x.starvedAt} {
		if at.isDue(t) {
			*at = 0
		}
	}
	switch f := x.failure; {
	case f == nil || !f.due().isDue(t):
	case f.retryAt != 0:
		f.retryAt = 0
		p.unblock()
	default:
		x.failure = nil
	}
}

// collect removes an entry that says nothing any more.
func (p *entry) collect() {
	if p.isGone() || len(p.routes) > 0 || p.source.isSet() || p.installed != 0 || p.isHeld() {
		return
	}
	if x := p.x; x != nil && (x.own != nil || len(x.sources)+len(x.requests) > 0 || p.isUnknown()) {
		return
	}
	e := p.e
	p.x = nil
	if p.dest.source != 0 {
		from := p.from() // queues may still hold the entry
		p.x = &extra{last: &from}
	}
	p.mark(gone)
	e.entries.remove(p)
	e.budgets.forsake(p)
	e.order.forget(e)
	e.froms.drop(p.dest.source)
}

// numbers is a set of neighbours' numbers.
type numbers []uint64

func (s *numbers) add(n uint16) {
	for len(*s) <= int(n/64) {
		*s = append(*s, 0)
	}
	(*s)[n/64] |= 1 << (n % 64)
}

func (s numbers) has(n uint16) bool { return int(n/64) < len(s) && s[n/64]>>(n%64)&1 != 0 }

func (s numbers) remove(n uint16) {
	if s.has(n) {
		s[n/64] &^= 1 << (n % 64)
	}
}

func (s numbers) isEmpty() bool {
	return !slices.ContainsFunc(s, func(x uint64) bool { return x != 0 })
}
