package babel

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

// Engine is one Babel router. It is not safe for concurrent use: one loop owns it.
type Engine struct {
	Config
	epoch  time.Time // of timestamps: the time of the first input
	isOver bool      // after Stop
	seqno  ownSeqno
	latest time.Time // of the latest input
	lapsed time.Time // when time had passed that we had not seen, with links
	// departedUntil: a neighbour that we have forgotten may send us packets.
	departedUntil time.Time
	links         []*link // by Index, ascending
	peers         peers   // the neighbours of all links
	budgets       budgets
	entries       table
	order         order
	froms         interned[netip.Prefix]
	gateways      interned[gateway]
	held          int           // entries that are held
	updateMost    time.Duration // see updateMax; zero: not known
	timers        timers
	alarms        alarms
	routeCount    int      // of all neighbours
	changed       []*entry // whose forwarding may differ from what is installed
	lost          int      // destinations, since the last Output
	out           Output
	deferred      []deferred
	decoder       wire.Decoder
	batches       []*batch // that nobody uses now
	returned      [][]byte // memory of packets that have left
}

const (
	routesMaxDefault = 65536
	neighboursMax    = 256 // of a link
	tunnelPeersMax   = 8   // of a tunnel: one, and its former selves
)

// New makes an engine without links and routes.
func New(config Config) *Engine {
	if config.RoutesMax == 0 {
		config.RoutesMax = routesMaxDefault
	}
	if config.RoutesTotalMax == 0 {
		config.RoutesTotalMax = routesTotalFactor * config.RoutesMax
	}
	e := &Engine{Config: config, seqno: newOwnSeqno(config.Seqno)}
	if e.Rand != nil {
		e.entries.seed = e.Rand.Uint64()
	}
	e.gateways.use(gateway{index: -1}) // gatewayUnreachable
	return e
}

// begin is called first by each input.
func (e *Engine) begin(now time.Time) bool {
	if e.epoch.IsZero() {
		e.epoch, e.latest = now, now
	}
	if now.Sub(e.latest) > lapseMin {
		e.lapse(now)
	}
	e.latest = now
	return !e.isOver
}

// Timestamp is the time in microseconds as RFC 9616 puts it on the wire. It
// wraps after 71 minutes, which the receiver's age limit allows for.
func (e *Engine) Timestamp(now time.Time) uint32 {
	return uint32(now.Sub(e.epoch) / time.Microsecond)
}

// Advance does what is due.
func (e *Engine) Advance(now time.Time) {
	if e.begin(now) {
		e.timers.run(now)
		e.ring(now)
		e.seqno.advance(now)
		e.answerDeferred(now)
	}
}

// Deadline is when Advance has something to do; zero if never.
func (e *Engine) Deadline() time.Time {
	if e.isOver {
		return time.Time{}
	}
	return earliest(e.timers.next(), e.nextAlarm(), e.seqno.retryAt, e.seqno.bumpAt)
}

// Output drains the effects. They are the caller's, the Data of packets included:
// the engine never looks at them again, unless Reuse gives it back.
func (e *Engine) Output() Output {
	if len(e.changed) > cap(e.out.Routes) {
		e.out.Routes = make([]RouteChange, 0, len(e.changed))
	}
	for _, p := range e.changed {
		p.unmark(changed)
		p.install(&e.out)
	}
	clear(e.changed)
	if e.changed = e.changed[:0]; cap(e.changed) > changedMax {
		e.changed = nil
	}
	e.emitLost()
	e.out.Reserve, e.out.HasReserve = e.seqno.reserve()
	out := e.out
	e.out = Output{}
	return out
}

const (
	// returnedMax bounds the memory for packets that are to come: more than leave
	// at once.
	returnedMax = 32
	// changedMax is for how many changed entries memory is kept.
	changedMax = 1024
	// lostMax bounds the events of one Output about lost routes.
	lostMax = 256
)

// Reuse gives back the memory of a packet that nobody needs any more. That is not a
// duty: a large table that is said again and again would only be much garbage.
func (e *Engine) Reuse(p Packet) {
	if len(e.returned) < returnedMax && cap(p.Data) >= packetMin {
		e.returned = append(e.returned, p.Data[:0])
	}
}

// lend is memory for a packet; nil: make some.
func (e *Engine) lend() []byte {
	last := len(e.returned) - 1
	if last < 0 {
		return nil
	}
	memory := e.returned[last]
	e.returned = e.returned[:last]
	return memory
}

// noteLost tells of the last usable route to a destination. A neighbour that dies
// may take 50,000 with it: the first ones are named, the others counted.
func (e *Engine) noteLost(p *entry) {
	if e.lost++; e.lost <= lostMax {
		e.emit(Event{Kind: RouteLost, Prefix: p.prefix(), From: p.from(), RouterID: p.advertised.id})
	}
}

func (e *Engine) emitLost() {
	if e.lost > lostMax {
		e.emit(Event{Kind: RouteLost, Text: fmt.Sprintf("and %d more", e.lost-lostMax)})
	}
	e.lost = 0
}

// Originate announces a prefix of ours, with a metric to begin with.
func (e *Engine) Originate(now time.Time, prefix, from netip.Prefix, metric uint16) {
	if !e.begin(now) || !prefix.IsValid() || metric == Infinity || from.Bits() > 0 && from.Addr().Is4() != prefix.Addr().Is4() {
		return // what cannot be said
	}
	p := e.entry(keyOf(prefix, from))
	x := p.extra()
	if x.own == nil {
		x.own = &ownRoute{}
	}
	x.own.metric = metric
	p.reconsider(now)
}

// Withdraw retracts it. While neighbours may point at us it stays unreachable.
func (e *Engine) Withdraw(now time.Time, prefix, from netip.Prefix) {
	if !e.begin(now) || !prefix.IsValid() {
		return
	}
	if p := e.find(keyOf(prefix, from)); p != nil && p.own() != nil {
		p.x.own = nil
		p.reconsider(now)
	}
}

// Stop retracts everything and takes all routes out of the kernel. The engine
// does nothing any more.
func (e *Engine) Stop(now time.Time) {
	if !e.begin(now) {
		return
	}
	for _, l := range e.links {
		l.sayFarewell(now)
	}
	for _, p := range e.sortedEntries() {
		p.endHold()
		p.chosen = 0
		if p.x != nil {
			p.x.own = nil
		}
		if f := p.failure(); f != nil {
			f.retryAt = 0
		}
		p.markChanged()
	}
	e.seqno.release()
	e.isOver = true
}

// find is the entry of a destination, or nil.
func (e *Engine) find(k key) *entry {
	d, isKnown := e.destOf(k)
	if !isKnown {
		return nil
	}
	return e.entries.find(d)
}

// destOf is false for a source prefix that no entry has.
func (e *Engine) destOf(k key) (dest, bool) {
	var source uint32
	if k.from.IsValid() {
		if source = e.froms.find(k.from); source == 0 {
			return dest{}, false
		}
	}
	return destOf(k.prefix, source), true
}

// entry is the entry of a destination, made if there is none.
func (e *Engine) entry(k key) *entry {
	if p := e.find(k); p != nil {
		return p
	}
	var source uint32
	if k.from.IsValid() {
		source = e.froms.use(k.from)
	}
	p := &entry{dest: destOf(k.prefix, source), e: e}
	p.advertised.metric = Infinity
	e.entries.add(p)
	e.order.move(p)
	return p
}

func (e *Engine) link(index int) *link {
	at, isThere := e.linkAt(index)
	if !isThere {
		return nil
	}
	return e.links[at]
}

func (e *Engine) linkAt(index int) (int, bool) {
	return slices.BinarySearchFunc(e.links, index, func(l *link, index int) int { return cmp.Compare(l.Index, index) })
}

func (e *Engine) emit(event Event) { e.out.Events = append(e.out.Events, event) }

// between is a random duration in [lo, hi).
func (e *Engine) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(e.Rand.Int64N(int64(hi-lo)))
}
