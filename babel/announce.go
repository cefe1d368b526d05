package babel

import (
	"net/netip"
	"time"

	"re6st/babel/wire"
)

// What is said about an entry, and when.

const (
	// triggerGap is the least time between two updates of one prefix that only
	// bring another metric.
	triggerGap      = 5 * time.Second
	triggerGapTicks = instant(triggerGap/tickLen) + 1
	// A metric that differs by less is not news (design: max(16, 1/16)).
	triggerMin   = 16
	triggerShare = 16
)

// advertised is what neighbours were told last of an entry, or will be with the
// next packet.
type advertised struct {
	id     RouterID
	metric uint16
	link   uint16 // number of that over which the route went: split horizon hid it there
	at     instant
}

// current is what they should know. Infinity: no route.
func (p *entry) current() advertised {
	switch {
	case p.own() != nil:
		return advertised{id: p.e.RouterID, metric: p.own().metric}
	case p.chosen != 0:
		r := p.selected()
		return advertised{id: r.id, metric: r.metric, link: p.neighbour(r).link.number}
	}
	return advertised{metric: Infinity}
}

// setAdvertised: the order of a dump is by router-id.
func (p *entry) setAdvertised(cur advertised) {
	p.noteTold()
	if cur.id != p.advertised.id {
		p.e.order.move(p)
	}
	p.advertised = cur
}

// announce triggers updates if what neighbours know is out of date (section
// 3.7.2).
func (p *entry) announce(now time.Time) {
	cur, last := p.current(), p.advertised
	// An answer or a dump may have said more than what was announced.
	isLost := cur.metric == Infinity && (last.metric != Infinity || p.isMarked(said))
	if isLost && p.e.Fault == FaultRetraction {
		p.setAdvertised(cur)
		p.unmark(said)
		return
	}
	isNew := cur.metric != Infinity && last.metric == Infinity
	isTurned := isNew || cur.id != last.id || cur.link != last.link
	switch {
	case cur.metric == Infinity && !isLost:
		return
	case !isLost && isTurned && !p.mayTurn(now):
		return
	case isLost || isNew || cur.id != last.id:
		p.tell(now, cur, true)
		return
	}
	if cur.link != last.link {
		p.turn(now, cur.link)
	}
	switch {
	case p.attachment() == p.told() && !isWorthTelling(cur.metric, last.metric):
		p.clearTrigger()
	case p.e.tick(now)-last.at < triggerGapTicks:
		p.extra().triggerAt = (last.at + triggerGapTicks).orFirst()
		p.wakeAt(p.x.triggerAt)
	case isTurned || p.mayTell(now):
		p.tell(now, cur, false)
	}
}

// tell queues the entry on every link. Where split horizon hides the route there
// is nothing to say, unless something was said there before: then that is
// retracted. A retraction goes everywhere: hidden, it makes black holes.
func (p *entry) tell(now time.Time, cur advertised, isUrgent bool) {
	last := p.advertised
	cur.at = p.e.tick(now)
	p.setAdvertised(cur)
	p.unmark(said)
	p.clearTrigger()
	for _, l := range p.e.links {
		isHidden := l.isHorizon() && cur.link == l.number
		if isHidden && (last.metric == Infinity || last.link == l.number) {
			continue
		}
		if p.isWithheld(l, &cur, last.metric == Infinity) {
			continue
		}
		if isFirst := cur.metric == Infinity || last.metric != Infinity && cur.id != last.id; isFirst {
			l.announceAs(now, p, urgentNews, true)
			continue
		}
		l.announce(now, p, isUrgent)
	}
}

// turn is for a route that goes another way now. The neighbour that it went by
// hears of it for the first time, and may have lost its own: that is urgent. The
// one that it goes by now must forget what we said.
func (p *entry) turn(now time.Time, to uint16) {
	from := p.advertised.link
	p.advertised.link, p.advertised.at = to, p.e.tick(now)
	for _, l := range p.e.links {
		if l.isHorizon() && (l.number == from || l.number == to) {
			l.announceAs(now, p, urgentNews, true)
		}
	}
}

func (p *entry) clearTrigger() {
	if p.x != nil {
		p.x.triggerAt = 0
	}
}

func isWorthTelling(cur, last uint16) bool {
	delta := max(cur, last) - min(cur, last)
	return delta > max(triggerMin, last/triggerShare)
}

// isHorizon: "split horizon on links known symmetric and transitive" (section
// 3.7.4): a tunnel has one other end, and on a cable everybody hears everybody.
func (l *link) isHorizon() bool {
	return (l.Kind != Wireless || l.SplitHorizon) && !l.NoSplitHorizon
}

// advertisement is the Update for an entry in a multicast packet, if there is
// something to say.
func (l *link) advertisement(now time.Time, p *entry, triggered bool) (wire.Update, bool) {
	if p.isGone() {
		return wire.Update{}, false
	}
	isHidden := p.own() == nil && p.chosen != 0 && l.isHorizon() && p.next().link == l
	switch {
	case isHidden && triggered:
		return l.retraction(p.key()), true
	case isHidden:
		return wire.Update{}, false
	case !triggered && p.isHushed(l):
		return wire.Update{}, false
	case p.own() == nil && p.chosen == 0 && !p.isHeld() && !triggered:
		return wire.Update{}, false
	}
	return l.updateOf(now, p), true
}

// updateOf is the Update for an entry, split horizon aside.
func (l *link) updateOf(now time.Time, p *entry) wire.Update {
	u, cur := l.retraction(p.key()), p.current()
	if cur.metric == Infinity {
		return u
	}
	x := p.judgeExport(l, &cur)
	p.noteExport(x)
	metric := metricOf(x.add, cur.metric)
	if !x.ok || metric == Infinity {
		return u
	}
	u.RouterID, u.Metric, u.Attachment = cur.id, metric, []byte(p.attachment().text())
	p.mark(said)
	if p.own() != nil {
		u.Seqno = p.e.seqno.current
		return u
	}
	u.Seqno = p.selected().seqno
	// "before sending an update, ... update the source table" (section 3.7.3):
	// with the metric that is really sent.
	p.noteFeasibility(now, cur.id, u.Seqno, metric)
	return u
}

func (l *link) retraction(k key) wire.Update {
	return wire.Update{
		Prefix: k.prefix, From: k.from, NextHop: l.nextHop(k.prefix),
		Interval: wire.IntervalOf(l.UpdateInterval), Metric: Infinity,
	}
}

// nextHop is what we say of IPv4 prefixes: our IPv4 address where the link has
// one, "in the interest of maximising compatibility" (RFC 9229, section 2.1).
// All else goes by the packet's source.
func (l *link) nextHop(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() && l.IPv4.Is4() {
		return l.IPv4
	}
	return netip.Addr{}
}
