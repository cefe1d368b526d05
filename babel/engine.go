package babel

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

// Engine is one Babel router. It is not safe for concurrent use: one loop owns it.
type Engine struct {
	Config
	epoch   time.Time // of timestamps: the time of the first input
	latest  time.Time // of the latest input
	isOver  bool      // after Stop
	seqno   ownSeqno
	links   []*link // by Index, ascending
	entries map[key]*entry
	timers  timers

	routeCount int      // of all neighbours
	changed    []*entry // whose forwarding may differ from what is installed
	out        Output
	deferred   []deferred
	decoder    wire.Decoder
}

// key names a destination: RFC 9079 makes the source prefix part of it.
type key struct{ prefix, from netip.Prefix }

// keyOf brings a prefix pair to its one form.
func keyOf(prefix, from netip.Prefix) key {
	prefix = prefix.Masked()
	if !from.IsValid() || from.Bits() == 0 {
		return key{prefix: prefix}
	}
	return key{prefix, from.Masked()}
}

func (k key) compare(o key) int {
	return cmp.Or(
		comparePrefix(k.prefix, o.prefix),
		comparePrefix(k.from, o.from),
	)
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
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
	return &Engine{
		Config:  config,
		seqno:   newOwnSeqno(config.Seqno),
		entries: make(map[key]*entry),
	}
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
		e.seqno.advance(now)
		e.answerDeferred(now)
	}
}

// Deadline is when Advance has something to do; zero if never.
func (e *Engine) Deadline() time.Time {
	if e.isOver {
		return time.Time{}
	}
	return earliest(e.timers.next(), e.seqno.retryAt, e.seqno.bumpAt)
}

// Output drains the effects.
func (e *Engine) Output() Output {
	for _, p := range e.changed {
		p.isChanged = false
		p.install(&e.out)
	}
	clear(e.changed)
	e.changed = e.changed[:0]
	e.out.Reserve, e.out.HasReserve = e.seqno.reserve()
	out := e.out
	e.out = Output{}
	return out
}

// Originate announces a prefix of ours, with a metric to begin with.
func (e *Engine) Originate(now time.Time, prefix, from netip.Prefix, metric uint16) {
	if !e.begin(now) || !prefix.IsValid() || metric == Infinity {
		return
	}
	p := e.entry(keyOf(prefix, from))
	p.own = &ownRoute{metric}
	p.reconsider(now)
}

// Withdraw retracts it. While neighbours may point at us it stays unreachable.
func (e *Engine) Withdraw(now time.Time, prefix, from netip.Prefix) {
	if !e.begin(now) || !prefix.IsValid() {
		return
	}
	if p := e.entries[keyOf(prefix, from)]; p != nil && p.own != nil {
		p.own, p.ownAttachment = nil, attachment{}
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
		p.own, p.selected, p.isHeld, p.retryAt = nil, nil, false, time.Time{}
		p.markChanged()
	}
	e.seqno.release()
	e.isOver = true
}

func (e *Engine) entry(k key) *entry {
	p := e.entries[k]
	if p == nil {
		p = &entry{e: e, key: k}
		p.advertised.metric = Infinity
		p.timer.owner = p
		e.entries[k] = p
	}
	return p
}

// sortedEntries is every entry, in an order that the seed decides.
func (e *Engine) sortedEntries() []*entry {
	all := make([]*entry, 0, len(e.entries))
	for _, p := range e.entries {
		all = append(all, p)
	}
	slices.SortFunc(all, compareEntries)
	return all
}

// compareEntries is the order of a dump: what compresses best.
func compareEntries(a, b *entry) int {
	ida, idb := a.routerID(), b.routerID()
	return cmp.Or(slices.Compare(ida[:], idb[:]), a.key.compare(b.key))
}

func (e *Engine) link(index int) *link {
	at, ok := slices.BinarySearchFunc(e.links, index, func(l *link, index int) int { return l.Index - index })
	if !ok {
		return nil
	}
	return e.links[at]
}

func (e *Engine) emit(event Event) { e.out.Events = append(e.out.Events, event) }

// between is a random duration in [lo, hi).
func (e *Engine) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(e.Rand.Int64N(int64(hi-lo)))
}
