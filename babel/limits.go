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
// gone: they count for whoever named them first until they are forgotten, even if
// it has gone itself, or it would only have to be born again. Router-ids live on
// like them; how fast they may come is bounded.
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

	// Routes that come, come back, or get another next hop: after a full table so
	// many a second. Each is work for the kernel, and may be news for others. What
	// is refused for that is asked for againTime later.
	churnRate = 500
	againTime = 30 * time.Second
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

	// How often a neighbour's word may make our own seqno jump: a router that lost
	// its record needs that once. Whoever makes it jump by half the circle lets it
	// look old to others.
	jumpsBurst = 4
	jumpsRate  = 1.0 / 60

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
	churn      allowance
	jumps      allowance
	sources    allowance
	news       allowance
	ups        allowance
	complaints allowance
	dropped    Dropped

	number  uint16 // in Engine.budgets
	founded int    // destinations that it was the first to name, and that are left
	isGone  bool   // from its link; but those are left
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
	l.e.budgets.add(b)
	l.budgets = append(l.budgets, b)
	return b
}

// budgets numbers the budgets, so that it is known whose an entry is. Number zero
// is nobody's.
type budgets struct {
	all      []*budget
	free     []uint16
	founders []uint16 // by the number of the entry
}

func (t *budgets) add(b *budget) {
	if len(t.all) == 0 {
		t.all = append(t.all, nil)
	}
	k := len(t.free)
	switch {
	case k > 0:
		b.number, t.free = t.free[k-1], t.free[:k-1]
		t.all[b.number] = b
	case len(t.all) < 1<<16:
		b.number = uint16(len(t.all))
		t.all = append(t.all, b)
	}
}

// found notes who brings up a destination; forsake, that it is forgotten.
func (t *budgets) found(p *entry, b *budget) {
	if b.number == 0 {
		return
	}
	for int(p.number) >= len(t.founders) {
		t.founders = append(t.founders, 0)
	}
	t.founders[p.number] = b.number
	b.founded++
}

func (t *budgets) forsake(p *entry) {
	if int(p.number) >= len(t.founders) || t.founders[p.number] == 0 {
		return
	}
	b := t.all[t.founders[p.number]]
	t.founders[p.number] = 0
	b.founded--
	t.settle(b)
}

// settle frees the number of a budget that nobody needs.
func (t *budgets) settle(b *budget) {
	if b.isGone && b.founded == 0 && b.number != 0 {
		t.all[b.number] = nil
		t.free = append(t.free, b.number)
		b.number = 0
	}
}

// leave takes a budget from its link.
func (t *budgets) leave(b *budget) {
	b.isGone = true
	t.settle(b)
}

func (l *link) dropBudget() {
	oldest := -1
	for i, b := range l.budgets {
		if (oldest < 0 || b.used.Before(l.budgets[oldest].used)) && l.neighbour(b.addr) == nil {
			oldest = i
		}
	}
	if oldest >= 0 {
		l.e.budgets.leave(l.budgets[oldest])
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

// mayStore tells whether there is room for what the neighbour announces: another
// route, to a destination that is new, or by a router-id that is.
func (n *neighbour) mayStore(now time.Time, p *entry, t *wire.Update) bool {
	var r *route
	if p != nil {
		r = p.route(n)
	}
	e := n.link.e
	most := e.RoutesMax
	if t.From.IsValid() {
		most /= 2 // a source prefix takes room as well
	}
	isFull := p == nil && (n.budget.founded >= most || e.entries.isFull())
	if !n.canHop(t.NextHop) || r == nil && !n.hasRoom() || isFull {
		return false
	}
	isChurn := r == nil || r.refMetric == Infinity || n.hops[r.hop].addr != t.NextHop
	if isChurn && !n.budget.churn.take(now, 1, float64(e.RoutesMax), churnRate) || !n.mayName(now, p, t.RouterID) {
		if n.againAt.IsZero() {
			n.againAt = now.Add(againTime)
			n.wake()
		}
		return false
	}
	return true
}

func (n *neighbour) hasRoom() bool {
	e := n.link.e
	isTotal := e.routeCount >= e.RoutesTotalMax
	return len(n.routes) < e.RoutesMax && (!isTotal || len(n.routes) < e.RoutesMax/routesShare)
}

// mayName is about router-ids beyond the first.
func (n *neighbour) mayName(now time.Time, p *entry, id RouterID) bool {
	if p == nil || p.sourceCount() == 0 || p.sourceOf(id) != nil || p.knows(id) {
		return true
	}
	return p.sourceCount() < sourcesMax && n.budget.sources.take(now, 1, sourcesBurst, sourcesRate)
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
