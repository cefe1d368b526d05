package babel

import (
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

// What a neighbour may cost us (T-12).
//
// Memory. Routes are bounded for each neighbour and in total, where each may have
// a share however greedy the others are; nothing stored is ever thrown out for
// something newer. Destinations live on in the source table when their route is
// gone, and so do router-ids: how fast a neighbour may bring up new ones is
// bounded too, and what it may do outlives it, or it would only have to be born
// again.
//
// Traffic. An answer is never longer than the packet that wants it
// (Acknowledgments), or is paid for from the neighbour's credit: what it has sent,
// octet for octet, and a base load. A full dump for the asking is worth much more
// than the question: it comes at dumpsRate, later than asked for if need be.
// What a neighbour makes us say to others is at most newsRate updates a second,
// after one full table; and of one prefix two a second. Retractions do not
// wait: they are as many as there were announcements.
//
// Intervals are taken as they are, with one exception: a route lives for 3.5 s at
// least. The largest that the wire can say is 11 minutes. Whoever promises a Hello
// that late and dies keeps its routes so long; it might as well have lived and
// dropped the packets. But it does not keep its place against others: see
// evictable.
const (
	// routesShare is what part of RoutesMax each neighbour may have even when
	// RoutesTotalMax is reached.
	routesShare = 64
	// routesTotalFactor: the default of RoutesTotalMax, in RoutesMax.
	routesTotalFactor = 16

	// Destinations that no other neighbour knows: as many as routes, once, and
	// then again in entriesTime, when the sources of the first are forgotten.
	entriesTime = 20 * time.Minute
	// Router-ids beyond the first of a destination.
	sourcesBurst = 4096
	sourcesRate  = 8
	sourcesMax   = 256 // of a destination

	// Octets of answers, IPv6 and UDP included, beyond those of the questions.
	creditBurst = 256 << 10
	creditRate  = 4 << 10
	replyCost   = 48 // Update and Router-Id
	packetCost  = packetOverhead + 4

	// Octets of full dumps: one may begin while less than dumpsBurst is owed.
	dumpsBurst = 256 << 10
	dumpsRate  = 32 << 10
	dumpMin    = 1 << 10
	updateCost = 32

	// Requests that are passed on, or answered with a new seqno; and walks over
	// routes, of which walkShare are worth a request.
	walkShare     = 64
	requestsBurst = 8192
	requestsRate  = 512

	newsRate = 500
	// flapsMax is how often a prefix may come, or turn to another router-id or
	// link, before that is told once in flapGap only; flapForget later it may do so
	// again.
	flapsMax   = 4
	flapGap    = time.Second
	flapForget = 30 * time.Second
	// recostTime is how long the cost of a link must stay, for each of its routes.
	recostTime = 20 * time.Microsecond

	// How often a neighbour may become reachable.
	upsBurst = 8
	upsRate  = 1

	// Hellos out of turn, of a link.
	hurriesBurst = 32
	hurriesRate  = 4
	// strangerTime is how long a newcomer has to become reachable, before another
	// one may take its place.
	strangerTime = 4 * time.Second

	// Events about what is wrong.
	complaintsBurst = 32
	complaintsRate  = 1

	// intervalMin is the least Update interval that is believed.
	intervalMin wire.Interval = 100
)

// allowance is a token bucket that begins full.
type allowance struct {
	spent float64 // of the burst
	at    time.Time
}

// settle brings the bucket up to date.
func (a *allowance) settle(now time.Time, rate float64) {
	if now.After(a.at) {
		a.spent = max(a.spent-now.Sub(a.at).Seconds()*rate, 0)
		a.at = now
	}
}

// take takes n tokens if they are there.
func (a *allowance) take(now time.Time, n, burst, rate float64) bool {
	a.settle(now, rate)
	if a.spent+n > burst {
		return false
	}
	a.spent += n
	return true
}

// wait is how long it takes until n tokens are there.
func (a *allowance) wait(now time.Time, n, burst, rate float64) time.Duration {
	a.settle(now, rate)
	return time.Duration(max(a.spent+n-burst, 0) / rate * float64(time.Second))
}

// budget is what one neighbour may still do, and what it was kept from. It is by
// address, and is there before and after the neighbour.
type budget struct {
	addr       netip.Addr
	used       time.Time
	credit     allowance
	dumps      allowance
	requests   allowance
	entries    allowance
	sources    allowance
	news       allowance
	ups        allowance
	complaints allowance
	dropped    Dropped
}

// Dropped counts what a neighbour wanted and did not get, so that an operator
// sees who it is.
type Dropped struct {
	Routes      uint64 // Updates for which there was no room
	Filtered    uint64 // Updates that the import filter refused
	Attachments uint64 // opaque sub-TLVs for which there was no room
	Requests    uint64 // requests without answer
	Dumps       uint64 // full dumps that had to wait
	News        uint64 // changes that others hear of later
	Ups         uint64 // times when it had to wait to be used
	Complaints  uint64 // events that were not told
}

// budgetsMax bounds the memory of a link for those who are gone.
const budgetsMax = 2 * neighboursMax

// budget finds or makes that of an address. The one that was used least recently
// goes first; those of neighbours stay.
func (l *link) budget(now time.Time, addr netip.Addr) *budget {
	for _, b := range l.budgets {
		if b.addr == addr {
			b.used = now
			return b
		}
	}
	if len(l.budgets) >= budgetsMax {
		l.dropBudget()
	}
	b := &budget{addr: addr, used: now}
	l.budgets = append(l.budgets, b)
	return b
}

func (l *link) dropBudget() {
	oldest := -1
	for i, b := range l.budgets {
		if (oldest < 0 || b.used.Before(l.budgets[oldest].used)) && l.neighbour(b.addr) == nil {
			oldest = i
		}
	}
	if oldest >= 0 {
		l.budgets = slices.Delete(l.budgets, oldest, oldest+1)
	}
}

// budgetOf is for those too who are no neighbours.
func (l *link) budgetOf(addr netip.Addr) *budget {
	if n := l.neighbour(addr); n != nil {
		return n.budget
	}
	return &l.anyone
}

// evictable is a neighbour that gives its place to a newcomer: it does not hear us
// or we do not hear it, and it has had its time. Who is of use stays.
func (l *link) evictable(now time.Time) *neighbour {
	var worst *neighbour
	for _, n := range l.neighbours {
		if !n.isReachable() && (worst == nil || n.heard.Before(worst.heard)) {
			worst = n
		}
	}
	if worst != nil && now.Sub(worst.heard) < strangerTime {
		return nil
	}
	return worst
}

// earn credits a packet that arrived.
func (b *budget) earn(octets int) {
	b.credit.spent = max(b.credit.spent-float64(octets), 0)
}

// pay takes the price of an answer from the credit.
func (n *neighbour) pay(now time.Time, octets int) bool {
	if len(n.asks)+len(n.replies) == 0 {
		octets += packetCost
	}
	if !n.budget.credit.take(now, float64(octets), creditBurst, creditRate) {
		n.budget.dropped.Requests++
		return false
	}
	return true
}

// replyCost is what an Update about the entry takes, which may be unknown.
func (p *entry) replyCost() int {
	if p == nil {
		return replyCost
	}
	return replyCost + len(p.attachment().text())
}

// mayForward tells whether a seqno request of the neighbour is passed on.
func (n *neighbour) mayForward(now time.Time) bool {
	b := n.budget
	return b.requests.take(now, 1, requestsBurst, requestsRate) &&
		b.credit.take(now, packetCost+replyCost, creditBurst, creditRate)
}

// askedForAll begins a dump, or sets when.
func (n *neighbour) askedForAll(now time.Time) {
	l, a := n.link, &n.budget.dumps
	switch {
	case !l.dumpAt.After(now.Add(urgentMax)):
		l.dumpAcks = true // it is coming anyway
	case a.take(now, 0, dumpsBurst, dumpsRate):
		a.spent += float64(max(l.e.entries.count*updateCost, dumpMin))
		l.dumpSoon(now)
	default:
		n.budget.dropped.Dumps++
		l.dumpSoon(now.Add(a.wait(now, 0, dumpsBurst, dumpsRate)))
	}
}

// mayStore tells whether there is room for another route of the neighbour, to a
// destination that is new, or by a router-id that is.
func (n *neighbour) mayStore(now time.Time, p *entry, id RouterID) bool {
	e, b := n.link.e, n.budget
	if p == nil || p.route(n) == nil {
		isTotal := e.routeCount >= e.RoutesTotalMax
		if len(n.routes) >= e.RoutesMax || isTotal && len(n.routes) >= e.RoutesMax/routesShare {
			return false
		}
	}
	if p == nil {
		if e.entries.isFull() {
			return false
		}
		most := float64(e.RoutesMax)
		return b.entries.take(now, 1, most, most/entriesTime.Seconds())
	}
	if p.source.isSet() && p.sourceOf(id) == nil && !p.knows(id) {
		return p.sourceCount() < sourcesMax && b.sources.take(now, 1, sourcesBurst, sourcesRate)
	}
	return true
}

// knows tells whether a neighbour's route has the router-id already.
func (p *entry) knows(id RouterID) bool {
	return slices.ContainsFunc(p.routes, func(r route) bool { return r.id == id })
}

// mayRise tells whether the neighbour may be used now, or when to ask again. Each
// time costs a dump, and an update of every route.
func (n *neighbour) mayRise(now time.Time) bool {
	a := &n.budget.ups
	if a.take(now, 1, upsBurst, upsRate) {
		return true
	}
	if n.riseAt.IsZero() {
		n.budget.dropped.Ups++
	}
	n.riseAt = now.Add(a.wait(now, 1, upsBurst, upsRate) + time.Millisecond)
	n.wake()
	return false
}

// mayTurn tells whether a route that is new, or has turned, may be announced now,
// or sets when to try again.
func (p *entry) mayTurn(now time.Time) bool {
	at := p.advertised.at
	age := p.e.tick(now) - at
	if at == 0 || age >= instant(flapForget/tickLen) {
		p.flaps = 0
	}
	if gap := instant(flapGap / tickLen); p.flaps >= flapsMax && age < gap {
		p.noteDelay((at + gap).orFirst())
		return false
	}
	if !p.mayTell(now) {
		return false
	}
	p.flaps = min(p.flaps+1, flapsMax)
	return true
}

// mayTell tells whether the neighbour of the route may make us say something to
// others now, or sets when to try again.
func (p *entry) mayTell(now time.Time) bool {
	e := p.e
	n := p.next()
	if p.own() != nil || n == nil || n.budget.news.take(now, 1, float64(e.RoutesMax), newsRate) {
		return true
	}
	p.noteDelay(e.after(now, triggerGap+e.between(0, triggerGap)))
	return false
}

func (p *entry) noteDelay(at instant) {
	x, n := p.extra(), p.next()
	if x.triggerAt == 0 && n != nil {
		n.budget.dropped.News++
	}
	x.triggerAt = at
	p.wakeAt(at)
}

// complain is emit for what somebody else can repeat without end.
func (b *budget) complain(now time.Time, e *Engine, event Event) {
	if b.complaints.take(now, 1, complaintsBurst, complaintsRate) {
		e.emit(event)
		return
	}
	b.dropped.Complaints++
}
