package babel

import (
	"slices"
	"time"
)

// entry is everything about one destination.
type entry struct {
	key
	e        *Engine
	timer    timer
	own      *ownRoute
	carried  []carried
	exports  []exported
	routes   []*route
	sources  []source
	requests []*request
	selected *route

	ownAttachment attachment

	advertised advertised
	flaps      uint8
	triggerAt  time.Time // of an update that triggerGap holds back
	reselectAt time.Time // when hysteresis may give in
	starvedAt  time.Time // when to ask again for a seqno
	askedAt    time.Time // when the last was asked for

	hold
	installation
	isGone bool // out of the table
}

// ownRoute is what we originate.
type ownRoute struct{ metric uint16 }

// hold is a destination that was lost while neighbours may still send us its
// packets (section 2.8): they get an ICMP error, and no shorter prefix.
type hold struct {
	isHeld    bool
	heldSince time.Time
	heldUntil time.Time
	byTime    bool         // someone listens who does not acknowledge
	awaited   []*neighbour // who has not acknowledged the retraction
}

// holdMin gives packets in flight the time to be refused.
const holdMin = time.Second

// expiryFactor: 3.5 times the advertised interval (appendix B).
func expiryFactor(interval time.Duration) time.Duration { return interval * 7 / 2 }

// reconsider is called after any change to the entry: it selects, installs,
// announces, holds and asks.
func (p *entry) reconsider(now time.Time) {
	if p.isGone {
		return
	}
	had := p.advertised.metric != Infinity
	p.selectRoute(now)
	isLost := p.own == nil && p.selected == nil
	switch {
	case !isLost:
		p.hold = hold{}
	case had:
		p.beginHold(now)
		p.e.emit(Event{Kind: RouteLost, Prefix: p.prefix, From: p.from, RouterID: p.advertised.id})
	}
	p.markChanged()
	p.announce(now)
	p.askForBetter(now)
	p.reroute(now)
	p.satisfy(now)
	p.collect()
}

func (p *entry) beginHold(now time.Time) {
	p.hold = hold{isHeld: true, heldSince: now, heldUntil: now.Add(expiryFactor(p.e.updateMax()))}
	for _, l := range p.e.links {
		for _, n := range l.neighbours {
			switch {
			case !n.isReachable():
			case n.isAsked(now):
				p.awaited = append(p.awaited, n)
			default:
				p.byTime = true
			}
		}
	}
	p.wakeAt(p.holdDue())
}

func (p *entry) holdDue() time.Time {
	switch {
	case !p.isHeld:
		return time.Time{}
	case len(p.awaited) == 0 && !p.byTime:
		return earliest(p.heldUntil, p.heldSince.Add(holdMin))
	}
	return p.heldUntil
}

// acknowledged: the neighbour knows what left at that time. What left before the
// loss did not say it.
func (p *entry) acknowledged(n *neighbour, sent time.Time) {
	if p.isHeld && sent.After(p.heldSince) {
		p.noLongerAwaits(n)
	}
}

func (p *entry) noLongerAwaits(n *neighbour) {
	p.awaited = slices.DeleteFunc(p.awaited, func(x *neighbour) bool { return x == n })
	p.wakeAt(p.holdDue())
}

// noLongerAwaited: the neighbour can neither acknowledge nor send us packets. Or it
// is mute, and only time tells that it has forgotten.
func (e *Engine) noLongerAwaited(n *neighbour) {
	var held []*entry
	for _, p := range e.entries {
		if p.isHeld && slices.Contains(p.awaited, n) {
			held = append(held, p)
		}
	}
	slices.SortFunc(held, compareEntries)
	for _, p := range held {
		p.byTime = p.byTime || n.isMute
		p.noLongerAwaits(n)
	}
}

func (p *entry) wakeAt(at time.Time) { p.e.timers.wake(&p.timer, at) }

func (p *entry) due() time.Time {
	if p.isGone {
		return time.Time{}
	}
	at := earliest(p.triggerAt, p.reselectAt, p.starvedAt, p.holdDue(), p.retryAt)
	for _, r := range p.routes {
		at = earliest(at, r.due())
	}
	for i := range p.sources {
		at = earliest(at, p.sources[i].expires)
	}
	for _, q := range p.requests {
		at = earliest(at, q.due())
	}
	return at
}

func (p *entry) fire(now time.Time) {
	if isDue(p.holdDue(), now) {
		p.hold = hold{}
	}
	if isDue(p.reselectAt, now) {
		p.reselectAt = time.Time{}
	}
	if isDue(p.triggerAt, now) {
		p.triggerAt = time.Time{}
	}
	if isDue(p.retryAt, now) {
		p.retryAt = time.Time{}
	}
	p.expire(now)
	p.collectSources(now)
	p.retryRequests(now)
	p.reconsider(now)
}

// collect removes an entry that says nothing any more.
func (p *entry) collect() {
	if p.isGone {
		return
	}
	if p.own == nil && !p.isHeld && len(p.routes)+len(p.sources)+len(p.requests) == 0 &&
		!p.hasInstalled && !p.isUnknown {
		p.isGone = true
		p.e.timers.remove(&p.timer)
		delete(p.e.entries, p.key)
	}
}
