package babel

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

// neighbour is a router on a link (RFC 8966, section 3.2.4).
type neighbour struct {
	link  *link
	addr  netip.Addr
	timer timer

	budget    *budget
	riseAt    time.Time // when it may be used, and wants to be
	againAt   time.Time // when to ask for what there was no room for
	recostMin time.Time // before which no other cost is taken
	recostAt  time.Time // when there is another cost to take

	multicast history
	unicast   history
	txcost    uint16
	txUntil   time.Time // when the IHU is worth nothing any more
	cost      uint16    // as routes have it: damped, extra cost included
	rxsaid    uint16    // rxcost of the last IHU sent
	rxseen    uint16    // rxcost and txcost when loss was last looked for
	txseen    uint16
	ihuBy     time.Time // when we promised the next
	ihuFirst  int       // further Hellos that all carry one

	helloSeqno uint16    // of Unicast Hellos
	helloAt    time.Time // the next of them; zero: none

	rtt     rtt
	suspect suspicion
	since   time.Time
	heard   time.Time // any packet
	lostAt  time.Time // when it last became unreachable
	ackedAt time.Time // when it last acknowledged something
	ihuAsks int       // probes since its IHU expired
	isMute  bool      // it does not acknowledge
	isGone  bool

	number     uint16  // in Engine.peers
	routes     []int32 // numbers of the entries of which it told
	hops       []hop
	attached   int // octets of attachments
	hasRefused bool
	asks       []wire.TLV // to be sent by unicast
	replies    []*entry   // to be announced by unicast, split horizon or not
	askAllAt   time.Time  // when to ask for everything, if nothing has come
	askAlls    int
	told       int // finite Updates since it was last unreachable
	toldAt     time.Time
}

// neighbour finds or, on a Hello, makes the entry.
func (l *link) neighbour(addr netip.Addr) *neighbour {
	for _, n := range l.neighbours {
		if n.addr == addr {
			return n
		}
	}
	return nil
}

func (l *link) addNeighbour(now time.Time, addr netip.Addr) *neighbour {
	most := neighboursMax
	if l.Kind == Tunnel {
		most = tunnelPeersMax
	}
	if l.e.peers.isFull() {
		return nil
	}
	if len(l.neighbours) >= most {
		old := l.evictable(now)
		if old == nil {
			return nil
		}
		old.forget(now)
	}
	n := &neighbour{
		link: l, addr: addr, txcost: Infinity, cost: Infinity, rxsaid: Infinity,
		ihuFirst: ihuStart, since: now, heard: now, budget: l.budget(now, addr),
		helloSeqno: uint16(l.e.Rand.Uint32()),
	}
	if l.UnicastHello {
		n.helloAt = now.Add(l.e.between(urgentMin, urgentMax))
	}
	n.timer.owner = n
	l.neighbours = append(l.neighbours, n)
	l.e.peers.add(n)
	return n
}

// learnt walks the routes of the neighbour. None may be added or removed meanwhile.
func (n *neighbour) learnt() iter.Seq2[*entry, *route] {
	return func(yield func(*entry, *route) bool) {
		for _, number := range n.routes {
			if p := n.link.e.entries.all[number]; !yield(p, p.route(n)) {
				return
			}
		}
	}
}

// forget removes the neighbour and all that it told.
func (n *neighbour) forget(now time.Time) {
	l := n.link
	if n.isGone {
		return
	}
	n.isGone = true
	i := slices.Index(l.neighbours, n)
	l.neighbours = slices.Delete(l.neighbours, i, i+1)
	l.e.timers.remove(&n.timer)
	n.setCost(now, Infinity)
	l.forgetFlights(n)
	n.dropRoutes(now)
	l.e.departed(now, n)
	l.e.peers.remove(n)
}

func (n *neighbour) dropRoutes(now time.Time) {
	for len(n.routes) > 0 {
		p := n.link.e.entries.all[n.routes[len(n.routes)-1]]
		p.remove(p.route(n))
		p.reconsider(now)
	}
}

// hello is RFC 8966, section 3.4.1.
func (n *neighbour) hello(now time.Time, t *wire.Hello) *neighbour {
	h := &n.multicast
	if t.Unicast {
		h = &n.unicast
	}
	if !h.hear(now, t.Seqno, t.Interval.Duration()) {
		// "the sending node has probably rebooted": begin anew.
		n.forget(now)
		if n = n.link.addNeighbour(now, n.addr); n != nil {
			return n.hello(now, t)
		}
		return nil
	}
	// After misses a single Hello is not two of three; but whoever speaks lives.
	n.suspect = suspicion{vouched: n.isReachable()}
	if !n.isReachable() {
		h.excuse()
	}
	if !n.isReachable() && n.multicast.heardOf(2)+n.unicast.heardOf(2) == 1 {
		// It has just come, or come back: let it hear us at once.
		n.ihuFirst = max(n.ihuFirst, 3)
		n.link.helloSoon(now)
	}
	n.reckon(now)
	n.wake()
	return n
}

// ihu is section 3.4.2.
func (n *neighbour) ihu(now time.Time, t *wire.IHU) {
	n.txcost = t.RxCost
	n.txUntil = now.Add(t.Interval.Duration() * 7 / 2)
	n.reckon(now)
	n.wake()
}

func (n *neighbour) wake() { n.link.e.timers.wake(&n.timer, n.due()) }

func (n *neighbour) due() time.Time {
	if n.isGone {
		return time.Time{}
	}
	return earliest(
		n.multicast.missAt, n.unicast.missAt, n.txUntil, n.askAllAt, n.riseAt, n.recostAt, n.againAt,
		n.suspect.due(), n.helloAt, n.rtt.due(),
	)
}

func (n *neighbour) fire(now time.Time) {
	for _, h := range []*history{&n.multicast, &n.unicast} {
		for isDue(h.missAt, now) {
			// After a long sleep: as many misses as there were.
			h.miss(h.missAt)
			n.suspectMaybe(now, h)
		}
	}
	if n.multicast.bits == 0 && n.unicast.bits == 0 {
		n.forget(now)
		return
	}
	if isDue(n.txUntil, now) {
		n.expireIHU(now)
	}
	if isDue(n.againAt, now) {
		n.againAt = time.Time{}
		n.ask(now, &wire.RouteRequest{})
	}
	if isDue(n.riseAt, now) {
		n.riseAt = time.Time{}
	}
	if isDue(n.recostAt, now) {
		n.recostAt = time.Time{}
	}
	n.probe(now)
	n.rtt.age(now)
	if isDue(n.helloAt, now) {
		n.sayHello(now)
	}
	if isDue(n.askAllAt, now) {
		n.askAll(now)
	}
	n.reckon(now)
}

// ask queues a TLV for this neighbour alone, urgently.
func (n *neighbour) ask(now time.Time, tlv wire.TLV) {
	const asksMax = 4096
	if len(n.asks) < asksMax {
		n.asks = append(n.asks, tlv)
	}
	n.link.controlSoon(now)
}

// reply queues an Update for this neighbour alone, urgently.
func (n *neighbour) reply(now time.Time, p *entry) {
	n.replies = append(n.replies, p)
	n.link.controlSoon(now)
}

// setCost changes the cost of the link, and with it of every route over it.
func (n *neighbour) setCost(now time.Time, cost uint16) {
	was := n.cost
	if cost == was {
		return
	}
	n.cost, n.riseAt = cost, time.Time{}
	n.recostAt, n.recostMin = time.Time{}, now.Add(time.Duration(len(n.routes))*recostTime)
	l := n.link
	// What it retracted while we did not hear each other is lost, and if that was
	// for long it will not repeat it: what it says from now on counts.
	isLate := was == Infinity && !n.lostAt.IsZero() && now.Sub(n.lostAt) > lostTime
	for p, r := range n.learnt() {
		switch {
		case cost == Infinity:
			r.set(doubtful, true)
		case isLate && r.is(doubtful):
			r.refMetric = Infinity
			r.set(stale, false)
		}
		p.setMetric(now, r)
		p.reconsider(now)
	}
	switch {
	case was == Infinity:
		l.e.emit(Event{Kind: NeighbourUp, Interface: l.Index, Neighbour: n.addr})
		n.doubtRoutes(now)
		l.neighbourUp(now, n)
	case cost == Infinity:
		n.told, l.toldMost = 0, max(l.toldMost, len(n.routes))
		l.e.emit(Event{Kind: NeighbourDown, Interface: l.Index, Neighbour: n.addr})
		l.neighbourDown(now, n)
	}
}

func (n *neighbour) isReachable() bool { return n.cost != Infinity }
