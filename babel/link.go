package babel

import (
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

const (
	helloDefault        = 4 * time.Second
	updateTunnelDefault = 300 * time.Second
	updatesPerHello     = 4 // appendix B: the Update interval is 4 Hello intervals
	mtuDefault          = 1280
	packetMin           = 512 // section 4: at least this may be sent
	packetOverhead      = 48  // IPv6 and UDP
	mtuMax              = 65535

	// Urgent is within 0.2 s (appendix B). Here it is what lets the changes that
	// one event makes travel together.
	urgentMin = 2 * time.Millisecond
	urgentMax = 10 * time.Millisecond
	// A triggered update that is not urgent.
	lazyMin = 200 * time.Millisecond
	lazyMax = 500 * time.Millisecond
	// dumpGap is the least time between two full dumps that are asked for.
	dumpGap = time.Second
)

// link is an interface (section 3.2.3) with its schedule and its queues.
type link struct {
	InterfaceConfig
	e          *Engine
	timer      timer
	number     uint16 // small; from 1
	isDown     bool
	neighbours []*neighbour
	budgets    []*budget
	anyone     budget    // of those who are no neighbours
	hurries    allowance // Hellos out of turn
	counters   counters
	auth       *auth // nil: no MAC
	reserved   int   // octets of each packet that the MAC will need
	drops      drops

	helloSeqno uint16
	helloAt    time.Time
	helloed    time.Time // when the last left
	helloLeft  int       // further Hellos of the start, in quick succession
	lostUntil  time.Time
	ihuNext    int // the neighbour whose IHU did not fit

	dumpAt   time.Time // of the next full dump
	dumped   time.Time // when the last began
	toldMost int       // routes that a neighbour had when it was lost
	dumpAcks bool      // the next is for someone who waits for it

	asks      []wire.TLV  // multicast, at controlAt
	controlAt time.Time   // also the neighbours' own queues
	dirty     [2][]*entry // to be announced, at dirtyAt: urgentNews and news
	dirtyAt   time.Time

	jobs    []*job // being sent, at the pace of the bucket
	bucket  bucket
	flights []*flight
	opaque  uint16
}

type counters struct {
	packetsIn, packetsOut, bytesIn, bytesOut uint64
	updatesIn, updatesOut, malformed, resent uint64
	hellosOut, unicastHellos, ihusOut        uint64
}

// InterfaceUp adds a link. One with the same index is replaced.
func (e *Engine) InterfaceUp(now time.Time, config InterfaceConfig) {
	if !e.begin(now) {
		return
	}
	e.InterfaceDown(now, config.Index)
	l := &link{InterfaceConfig: config, e: e, helloSeqno: uint16(e.Rand.Uint32())}
	l.LinkLocal = l.LinkLocal.WithZone("")
	if l.MTU <= 0 {
		l.MTU = mtuDefault
	}
	l.setIntervals(config.HelloInterval, config.UpdateInterval)
	l.timer.owner = l
	l.setKeys(config.Keys, config.AcceptUnsigned)
	l.beginMeeting(now)
	l.number = e.freeNumber()
	at, _ := e.linkAt(l.Index)
	e.links = slices.Insert(e.links, at, l)
	e.withholdAll(l)

	// A new link is of use at once: a few Hellos close together, and a request
	// for everything from whoever hears them.
	l.helloLeft = helloBurst
	l.helloAt = now
	l.asks = append(l.asks, &wire.RouteRequest{})
	l.dumpAt = now.Add(e.between(l.UpdateInterval/2, l.UpdateInterval))
	l.bucket = newBucket(now)
	e.timers.wake(&l.timer, now)
}

// freeNumber is the least number that no link has. A number may come back at once:
// when a link goes, no entry is left that was announced by way of it.
func (e *Engine) freeNumber() uint16 {
	var taken numbers
	for _, l := range e.links {
		taken.add(l.number)
	}
	number := uint16(1)
	for taken.has(number) {
		number++
	}
	return number
}

func (l *link) setIntervals(hello, update time.Duration) {
	if hello <= 0 {
		hello = helloDefault
	}
	if update <= 0 {
		update = updatesPerHello * hello
		if l.Kind == Tunnel {
			update = updateTunnelDefault
		}
	}
	l.HelloInterval = max(hello, 10*time.Millisecond)
	l.UpdateInterval = max(update, 100*time.Millisecond)
	l.e.updateMost = 0
}

// SetIntervals changes the schedule of a link. Neighbours learn a longer Hello
// interval with the Hello that begins it (section 3.4.1: "increased right before
// sending a Hello").
func (e *Engine) SetIntervals(now time.Time, index int, hello, update time.Duration) {
	l := e.link(index)
	if !e.begin(now) || l == nil {
		return
	}
	was := l.HelloInterval
	l.setIntervals(hello, update)
	if was == l.HelloInterval && !l.dumpAt.After(now.Add(l.UpdateInterval)) {
		return
	}
	if l.HelloInterval < was {
		l.helloAt = earliest(l.helloAt, now.Add(e.between(0, l.multicastInterval())))
	}
	for _, n := range l.neighbours {
		if !n.helloAt.IsZero() && l.HelloInterval < was {
			n.helloAt = earliest(n.helloAt, now.Add(e.between(0, l.HelloInterval)))
			n.wake()
		}
	}
	l.dumpAt = earliest(l.dumpAt, now.Add(l.UpdateInterval))
	l.wake()
}

// SetMTU changes the MTU of a link. What waits to be sent is cut by the new one.
func (e *Engine) SetMTU(now time.Time, index, mtu int) {
	l := e.link(index)
	if !e.begin(now) || l == nil {
		return
	}
	if mtu <= 0 {
		mtu = mtuDefault
	}
	l.MTU = mtu
}

// SetIPv4 changes our IPv4 address on a link, by which neighbours reach the IPv4
// routes that we announce there: they are told soon.
func (e *Engine) SetIPv4(now time.Time, index int, addr netip.Addr) {
	l := e.link(index)
	if !e.begin(now) || l == nil || l.IPv4 == addr {
		return
	}
	l.IPv4 = addr
	l.dumpSoon(now)
}

// InterfaceDown removes a link: all routes over it are lost at once.
func (e *Engine) InterfaceDown(now time.Time, index int) {
	l := e.link(index)
	if !e.begin(now) || l == nil {
		return
	}
	// Out of the list first: nothing is to be announced there any more.
	e.links = slices.DeleteFunc(e.links, func(x *link) bool { return x == l })
	e.timers.remove(&l.timer)
	l.isDown = true
	for len(l.neighbours) > 0 {
		l.neighbours[len(l.neighbours)-1].forget(now)
	}
	for _, b := range l.budgets {
		e.budgets.leave(b)
	}
	// Of routes that turned away from it while that was not to be told yet. The
	// number may come back.
	for p := range e.entries.each() {
		if p.advertised.link == l.number {
			p.advertised.link = 0
		}
	}
	e.updateMost = 0
}

func (l *link) wake() { l.e.timers.wake(&l.timer, l.due()) }

func (l *link) due() time.Time {
	if l.isDown {
		return time.Time{}
	}
	at := earliest(l.helloAt, l.dumpAt, l.controlAt, l.dirtyAt)
	if l.nextJob() != nil {
		at = earliest(at, l.bucket.ready())
	}
	for _, f := range l.flights {
		at = earliest(at, f.resendAt)
	}
	return earliest(at, l.drops.askAt)
}

func (l *link) fire(now time.Time) {
	if isDue(l.dumpAt, now) {
		l.beginDump(now)
	}
	if isDue(l.dirtyAt, now) {
		l.beginTrigger(now)
	}
	if isDue(l.drops.askAt, now) {
		l.askAgain(now)
	}
	l.checkFlights(now)
	l.transmit(now)
}

func (l *link) controlSoon(now time.Time) {
	if l.controlAt.IsZero() {
		l.controlAt = now.Add(l.e.between(urgentMin, urgentMax))
		l.wake()
	}
}

// neighbourUp: both sides can use the link now. On a tunnel each tells the other
// everything, and must not wait to be asked; on a shared link who is new asks
// as well, so that one dump serves several.
func (l *link) neighbourUp(now time.Time, n *neighbour) {
	n.askAlls = 0
	if l.Kind == Tunnel {
		n.askAllAt = now.Add(askAllWait)
		n.askedForAll(now)
		return
	}
	n.askAllAt = now
	if n.ackedAt.IsZero() {
		// Should it fall silent before there is news to acknowledge, the probes must
		// be known to be worth something.
		n.ask(now, &wire.AckRequest{Opaque: 0, Interval: wire.IntervalOf(ackInterval)})
	}
	n.wake()
	// It need not be new to the other side, which then does not ask: what was
	// said before was of no use to it. Late enough for its question to be
	// answered by the same dump.
	l.dumpAt = earliest(l.dumpAt, later(now.Add(l.e.between(lazyMin, lazyMax)), l.dumped.Add(dumpGap)))
	l.wake()
}

// neighbourDown: it need not acknowledge any more that a route is gone. What it
// has not acknowledged is said for a while yet: it may not have noticed, or be
// back in no time.
func (l *link) neighbourDown(now time.Time, n *neighbour) {
	n.lostAt, l.lostUntil = now, now.Add(lostFor)
	if at := now.Add(helloLost); l.helloAt.After(at) {
		l.helloAt = at
		l.wake()
	}
}

// hasAudience: on a tunnel there is nobody to talk to but the peer.
func (l *link) hasAudience() bool { return l.Kind != Tunnel || len(l.neighbours) > 0 }

// dumpSoon schedules a full dump that someone waits for.
func (l *link) dumpSoon(now time.Time) {
	at := now.Add(l.e.between(urgentMin, urgentMax))
	if next := l.dumped.Add(dumpGap); !l.dumped.IsZero() && next.After(at) {
		at = next
	}
	l.dumpAt = earliest(l.dumpAt, at)
	l.dumpAcks = true
	l.wake()
}

// announce queues an entry for a triggered update.
func (l *link) announce(now time.Time, p *entry, isUrgent bool) {
	l.announceAs(now, p, news, isUrgent)
}

func (l *link) announceAs(now time.Time, p *entry, c class, isUrgent bool) {
	if !l.hasAudience() {
		return
	}
	l.dirty[c] = append(l.dirty[c], p)
	at := now.Add(l.e.between(lazyMin, lazyMax))
	if isUrgent {
		at = now.Add(l.e.between(urgentMin, urgentMax))
	}
	if l.dirtyAt.IsZero() || at.Before(l.dirtyAt) {
		l.dirtyAt = at
		l.wake()
	}
}

// updateMax is the largest Update interval that we advertise anywhere.
func (e *Engine) updateMax() time.Duration {
	if e.updateMost == 0 {
		for _, l := range e.links {
			e.updateMost = max(e.updateMost, l.UpdateInterval)
		}
	}
	return e.updateMost
}
