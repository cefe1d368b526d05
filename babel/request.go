package babel

import (
	"slices"
	"time"

	"re6st/babel/wire"
)

const (
	requestHops    = 64              // of our own (section 3.8.2.1)
	requestWait    = 2 * time.Second // doubled with each resend
	requestsResend = 3
	// suppressTime must be below the shortest retry, or retries die on the way.
	suppressTime  = time.Second
	forwardTime   = 16 * time.Second // how long a forwarded one is remembered
	starvedTime   = 30 * time.Second // then a starving node begins again
	requestsMax   = 16               // of an entry
	requestersMax = 64
	newerMax      = 4
	reroutesMax   = 8
	// An unfeasible route is worth a seqno if it saves this much.
	betterMin   = 16
	betterShare = 8
)

// request is a seqno request that waits for its answer (section 3.2.7): ours, or
// one that we passed on.
type request struct {
	id         RouterID
	seqno      uint16
	isOwn      bool
	tries      int // resends of our own
	retryAt    time.Time
	sent       time.Time
	requesters []*neighbour
	asked      []*neighbour // by our own, in this round
	// Of a forwarded one: when and where it went, with which hop count, and how
	// often. Our own goes elsewhere: to those who have no feasible route for us.
	passed   time.Time
	to       *neighbour
	hops     uint8
	turn     int
	best     *neighbour // the first in line when it went
	reroutes int
	newer    uint8 // higher and higher seqnos in suppressTime
}

func (q *request) due() time.Time {
	if q.isOwn {
		return q.retryAt
	}
	return q.sent.Add(forwardTime)
}

func (p *entry) request(id RouterID) *request {
	for _, q := range p.requests() {
		if q.id == id {
			return q
		}
	}
	return nil
}

// addRequest makes one. If there are too many, ours takes the place of one that
// was only passed on; another one gets nil.
func (p *entry) addRequest(id RouterID, seqno uint16, isOwn bool) *request {
	x := p.extra()
	if len(x.requests) >= requestsMax {
		at := slices.IndexFunc(x.requests, func(q *request) bool { return !q.isOwn })
		if !isOwn || at < 0 {
			return nil
		}
		x.requests = slices.Delete(x.requests, at, at+1)
	}
	q := &request{id: id, seqno: seqno}
	x.requests = append(x.requests, q)
	return q
}

// askForBetter: without a route, "it MUST take action to ensure that it will
// eventually acquire a feasible route" (section 3.8.2.1): all unfeasible next
// hops are asked. With one, those that would be much better (section 3.8.2.2).
func (p *entry) askForBetter(now time.Time) {
	if x := p.x; x != nil && (x.own != nil || x.starvedAt != 0 && !x.starvedAt.isDue(p.e.tick(now))) {
		return
	}
	below := Infinity
	if r := p.selected(); r != nil {
		below = int(r.metric) - max(betterMin, int(r.metric)/betterShare)
	}
	for i := range p.routes {
		if r := &p.routes[i]; int(r.metric) < below && p.isFallback(r) {
			p.wantSeqno(now, r)
		}
	}
}

// wantSeqno asks for a seqno that makes the route feasible, unless that is
// already under way: one request, however many unfeasible Updates come.
func (p *entry) wantSeqno(now time.Time, r *route) {
	s := p.sourceOf(r.id)
	if s == nil {
		return
	}
	want := s.seqno + 1
	q := p.request(r.id)
	if q != nil && q.isOwn && !isNewer(want, q.seqno) {
		// A next hop that has only now turned up is asked too.
		p.askOnce(now, q, p.neighbour(r))
		return
	}
	if x := p.extra(); x.askedAt != 0 && !x.askedAt.isDue(p.e.tick(now)) {
		x.starvedAt = sooner(x.starvedAt, x.askedAt)
		p.wakeAt(x.starvedAt)
		return
	}
	if q == nil {
		q = p.addRequest(r.id, want, true)
	}
	if q == nil {
		return
	}
	if isNewer(want, q.seqno) {
		q.seqno = want
	}
	q.isOwn, q.tries, q.retryAt = true, 0, now.Add(requestWait)
	p.sendRequest(now, q)
}

// sendRequest asks every neighbour whose route needs that seqno.
func (p *entry) sendRequest(now time.Time, q *request) {
	q.sent, p.extra().askedAt = now, p.e.after(now, requestWait)
	q.asked = nil
	p.wakeAt(p.e.deadline(q.due()))
	for i := range p.routes {
		if r := &p.routes[i]; r.id == q.id && (p.isFallback(r) || r.is(stale)) {
			p.askOnce(now, q, p.neighbour(r))
		}
	}
}

// askOnce sends the request to a neighbour that has not got it in this round.
func (p *entry) askOnce(now time.Time, q *request, n *neighbour) {
	if !slices.Contains(q.asked, n) {
		q.asked = append(q.asked, n)
		n.ask(now, p.seqnoRequest(q, requestHops))
	}
}

func (p *entry) seqnoRequest(q *request, hops uint8) *wire.SeqnoRequest {
	return &wire.SeqnoRequest{Prefix: p.prefix(), From: p.from(), Seqno: q.seqno, HopCount: hops, RouterID: q.id}
}

// retryRequests sends our own again after 2, 4 and 8 s, and gives up.
func (p *entry) retryRequests(now time.Time) {
	if len(p.requests()) == 0 {
		return
	}
	for _, q := range slices.Clone(p.requests()) {
		if !isDue(q.due(), now) {
			continue
		}
		if q.isOwn && q.tries < requestsResend {
			q.tries++
			q.retryAt = now.Add(requestWait << q.tries)
			p.sendRequest(now, q)
			continue
		}
		p.dropRequest(q)
		if q.isOwn {
			p.giveUp(now)
		}
	}
}

// giveUp ends a round of requests. A route that was kept against its neighbour's
// word ends too.
func (p *entry) giveUp(now time.Time) {
	x := p.extra()
	x.starvedAt = p.e.after(now, starvedTime)
	p.wakeAt(x.starvedAt)
	if r := p.selected(); r != nil && r.is(stale) {
		p.believe(now, r)
	}
}

func (p *entry) dropRequest(q *request) {
	p.x.requests = slices.DeleteFunc(p.x.requests, func(x *request) bool { return x == q })
}

// answers tells whether what we would advertise satisfies the request (section
// 3.8.1.2): another router-id, or the seqno or a newer one.
func (p *entry) answers(id RouterID, seqno uint16) bool {
	switch {
	case p.own() != nil:
		return id != p.e.RouterID || !isNewer(seqno, p.e.seqno.current)
	case p.chosen != 0:
		r := p.selected()
		return r.id != id || !isNewer(seqno, r.seqno)
	}
	return false
}

// satisfy ends the requests that are answered, and passes the answer on.
func (p *entry) satisfy(now time.Time) {
	p.x.requests = slices.DeleteFunc(p.x.requests, func(q *request) bool {
		if !p.answers(q.id, q.seqno) {
			return false
		}
		for _, n := range q.requesters {
			if slices.Contains(n.link.neighbours, n) {
				n.reply(now, p)
			}
		}
		return true
	})
}

// receiveSeqnoRequest is section 3.8.1.2.
func (n *neighbour) receiveSeqnoRequest(now time.Time, t *wire.SeqnoRequest) {
	e := n.link.e
	p := e.find(keyOf(t.Prefix, t.From))
	if p == nil || p.own() == nil && len(p.routes) == 0 {
		return
	}
	isAnswered := p.answers(t.RouterID, t.Seqno)
	if !isAnswered && p.own() == nil {
		if t.RouterID != e.RouterID && !p.isHushed(n.link) { // nobody else can answer for us
			p.forward(now, n, t)
		}
		return
	}
	if !n.pay(now, p.replyCost()) {
		return
	}
	if !isAnswered && e.Fault != FaultSeqno && !e.seqno.demand(now, t.Seqno, n.budget) && len(e.deferred) < deferredMax {
		e.deferred = append(e.deferred, deferred{n, p}) // too early
		return
	}
	n.reply(now, p)
}

// forward passes a request on, to one neighbour, that is not the one it came
// from, and nearer to the origin: once for each prefix, router-id and seqno in
// suppressTime, whoever asks.
func (p *entry) forward(now time.Time, from *neighbour, t *wire.SeqnoRequest) {
	if t.HopCount < 2 {
		return
	}
	q := p.request(t.RouterID)
	isOld := q != nil && !isNewer(t.Seqno, q.seqno)
	isSoon := q != nil && now.Sub(q.passed) < suppressTime
	if isOld && isSoon {
		q.note(from)
		return
	}
	if isSoon && q.newer >= newerMax || !from.mayForward(now) {
		from.budget.dropped.Requests++
		return
	}
	if q == nil {
		if q = p.addRequest(t.RouterID, t.Seqno, false); q == nil {
			from.budget.dropped.Requests++
			return
		}
	}
	q.note(from)
	if !isSoon {
		q.newer = 0
	}
	if !isOld {
		q.seqno, q.turn, q.reroutes, q.newer = t.Seqno, 0, 0, q.newer+1
	}
	q.sent, q.passed, q.hops = now, now, t.HopCount-1
	p.wakeAt(p.e.deadline(q.due()))
	p.pass(now, q, from)
}

// note remembers who waits for the answer.
func (q *request) note(from *neighbour) {
	if !slices.Contains(q.requesters, from) && len(q.requesters) < requestersMax {
		q.requesters = append(q.requesters, from)
	}
}

// pass sends a forwarded request on its way.
func (p *entry) pass(now time.Time, q *request, from *neighbour) {
	line := p.forwardLine(from, q.id)
	q.to = nil
	if len(line) == 0 {
		return
	}
	if first := p.neighbour(line[0]); first != q.best {
		q.best, q.turn = first, 0
	}
	// The answer is of use if it comes by the route that we advertise: only each
	// third turn goes another way, in case that one is dead.
	q.to = q.best
	if q.turn%3 == 2 {
		q.to = p.neighbour(line[(q.turn/3+1)%len(line)])
	}
	q.turn++
	q.to.ask(now, p.seqnoRequest(q, q.hops))
}

// reroute sends requests on whose receiver has died since, or is not the one any
// more whose answer would be of use: those who wait ask again in seconds only.
func (p *entry) reroute(now time.Time) {
	next := p.next()
	for _, q := range p.requests() {
		if len(q.requesters) == 0 || q.reroutes >= reroutesMax {
			continue
		}
		last := q.requesters[len(q.requesters)-1]
		isDead := q.to != nil && !q.to.isReachable()
		hasTurned := next != nil && next != q.best && next != last
		if isDead || hasTurned {
			q.reroutes++
			p.pass(now, q, last)
		}
	}
}

// forwardLine is whom to pass a request to, best first: the next hops of feasible
// routes, or if there is none of unfeasible ones.
func (p *entry) forwardLine(from *neighbour, id RouterID) []*route {
	var line, unfeasible []*route
	for i := range p.routes {
		r := &p.routes[i]
		switch {
		case r.n == from.number || r.metric == Infinity || r.verdict() != Accept:
		case p.isFeasible(r.id, r.seqno, r.refMetric):
			line = append(line, r)
		default:
			unfeasible = append(unfeasible, r)
		}
	}
	if len(line) == 0 {
		line = unfeasible
	}
	rank := func(r *route) int {
		n := int(r.metric)
		if r == p.selected() {
			n = 0
		}
		if r.id != id {
			n += Infinity
		}
		return n
	}
	slices.SortStableFunc(line, func(a, b *route) int { return rank(a) - rank(b) })
	return line
}

// receiveRouteRequest is section 3.8.1.1.
func (n *neighbour) receiveRouteRequest(now time.Time, t *wire.RouteRequest) {
	l := n.link
	if !t.Prefix.IsValid() {
		// A neighbour that cannot use the link yet gets everything when it can.
		if n.isReachable() || l.Kind != Tunnel {
			n.askedForAll(now)
		}
		return
	}
	// Update or retraction, split horizon or not: it asked.
	k := keyOf(t.Prefix, t.From)
	p := l.e.find(k)
	if !n.pay(now, p.replyCost()) {
		return
	}
	if p != nil {
		n.reply(now, p)
		return
	}
	u := l.retraction(k)
	n.ask(now, &u)
}

// askRefresh: the selected route is about to expire (section 3.8.2.3).
func (p *entry) askRefresh(now time.Time, r *route) {
	p.neighbour(r).ask(now, &wire.RouteRequest{Prefix: p.prefix(), From: p.from()})
}
