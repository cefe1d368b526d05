package traffic

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Way is who forwarded, and therefore counted, a packet. The counters of the two
// begin and end apart.
type Way uint8

// The ways. What goes by Process visits no interface: their counters lack it.
const (
	Kernel Way = iota
	Process
)

// Flow is a counter of packets that left into a tunnel.
type Flow struct {
	Way Way
	// To is the route's destination prefix; invalid: not told.
	To netip.Prefix
	// From and Into are the interfaces. From is told by Process only.
	From, Into int
	Transit    bool // came out of a tunnel
	Count
}

// Link is an interface with its own counters.
type Link struct {
	Index  int
	Rx, Tx Count
}

// Sample is what all counters say at one moment. What is missing is gone.
type Sample struct {
	Links []Link
	Flows []Flow
	// Unknown says why there are no Flows of the kernel: of what went its way only
	// the sums are known.
	Unknown string
}

// Config bounds a Meter; the zero value of each field has a sense.
type Config struct {
	Destinations int           // told apart; default 128
	Smoothing    time.Duration // time constant of the rates; default 2 s
}

const (
	defaultDestinations = 128
	defaultSmoothing    = 2 * time.Second
	// flowsMax bounds what is looked at of one sample: the maps of the kernel's
	// programs are smaller.
	flowsMax = 1 << 16
)

// key is a counter's identity.
type key struct {
	way        Way
	to         netip.Prefix
	from, into int
	transit    bool
}

func (f Flow) key() key { return key{f.Way, f.To, f.From, f.Into, f.Transit} }

// Meter turns samples into sums and rates. One owner at a time.
type Meter struct {
	config  Config
	at      time.Time // of the last sample
	unknown string

	counters     map[key]Count // as last read
	links        map[int]*link
	destinations map[netip.Prefix]*Destination
	other        Destination
	own, carried Stream
}

type link struct {
	Tunnel
	rx, tx Count // the interface's, as last read
}

// New returns a Meter that has seen nothing.
func New(c Config) *Meter {
	c.Destinations = cmp.Or(c.Destinations, defaultDestinations)
	c.Smoothing = cmp.Or(c.Smoothing, defaultSmoothing)
	return &Meter{
		config: c, counters: map[key]Count{}, links: map[int]*link{}, destinations: map[netip.Prefix]*Destination{},
	}
}

// Observe takes a sample.
func (m *Meter) Observe(now time.Time, s Sample) {
	m.unknown = s.Unknown
	m.observeLinks(s.Links)
	m.observeFlows(now, s.Flows[:min(len(s.Flows), flowsMax)])
	isFirst := m.at.IsZero()
	dt := now.Sub(m.at)
	if !isFirst && dt <= 0 {
		return // what is fresh waits for time to pass
	}
	m.at = now
	weight := 0.0
	if isFirst {
		dt = time.Second // any: since when the counters count is not known, so this makes no rate
	} else {
		weight = weightOf(dt, m.config.Smoothing)
	}
	m.eachStream(func(x *Stream) { x.step(dt, weight) })
}

func (m *Meter) eachStream(f func(*Stream)) {
	f(&m.own)
	f(&m.carried)
	f(&m.other.Own)
	f(&m.other.Carried)
	for _, d := range m.destinations {
		f(&d.Own)
		f(&d.Carried)
	}
	for _, l := range m.links {
		f(&l.Rx)
		f(&l.Tx)
		f(&l.Own)
		f(&l.Carried)
	}
}

// observeLinks takes what the interfaces counted, and forgets those that are gone.
func (m *Meter) observeLinks(links []Link) {
	isThere := make(map[int]bool, len(links))
	for _, x := range links {
		if isThere[x.Index] {
			continue
		}
		isThere[x.Index] = true
		l := m.links[x.Index]
		if l == nil {
			l = &link{Tunnel: Tunnel{Index: x.Index}}
			m.links[x.Index] = l
		}
		l.Rx.add(x.Rx.since(l.rx))
		l.Tx.add(x.Tx.since(l.tx))
		l.rx, l.tx = x.Rx, x.Tx
	}
	for index := range m.links {
		if !isThere[index] {
			delete(m.links, index)
		}
	}
}

// observeFlows takes what came since the last sample. A counter that is missing
// is forgotten: when it comes back it counts from zero.
func (m *Meter) observeFlows(now time.Time, flows []Flow) {
	counters := make(map[key]Count, len(flows))
	for _, f := range flows {
		counters[f.key()] = counters[f.key()].plus(f.Count)
	}
	newcomers := map[netip.Prefix]*newcomer{}
	for k, c := range counters {
		fresh := c.since(m.counters[k])
		if fresh == (Count{}) {
			continue
		}
		m.count(k, fresh)
		if d := m.destinations[k.to]; d != nil {
			d.add(k, fresh)
			continue
		}
		n := newcomers[k.to]
		if n == nil {
			n = &newcomer{to: k.to}
			newcomers[k.to] = n
		}
		n.bytes += fresh.Bytes
		n.parts = append(n.parts, part{k, fresh})
	}
	m.counters = counters
	m.admit(now, newcomers)
}

// count is for the sums and the tunnels.
func (m *Meter) count(k key, fresh Count) {
	streamOf(&m.own, &m.carried, k.transit).add(fresh)
	if l := m.links[k.into]; l != nil {
		streamOf(&l.Own, &l.Carried, k.transit).add(fresh)
		if k.way == Process {
			l.Tx.add(fresh)
		}
	}
	if l := m.links[k.from]; l != nil && k.way == Process {
		l.Rx.add(fresh)
	}
}

func streamOf(own, carried *Stream, isTransit bool) *Stream {
	if isTransit {
		return carried
	}
	return own
}

// newcomer is a destination that is not told apart yet.
type newcomer struct {
	to    netip.Prefix
	bytes uint64
	parts []part
}

type part struct {
	key   key
	fresh Count
}

// crowdingFactor is how much more a newcomer must carry than the one that has to
// go: two that carry the same do not take turns.
const crowdingFactor = 2

// admit gives newcomers a place, those that carry most first: a free one, or that
// of a destination which carries much less. The rest is other.
func (m *Meter) admit(now time.Time, newcomers map[netip.Prefix]*newcomer) {
	if len(newcomers) == 0 {
		return
	}
	queue := make([]*newcomer, 0, len(newcomers))
	for _, n := range newcomers {
		queue = append(queue, n)
	}
	slices.SortFunc(queue, func(a, b *newcomer) int { return cmp.Or(cmp.Compare(b.bytes, a.bytes), a.to.Compare(b.to)) })
	seconds := max(now.Sub(m.at).Seconds(), 1)
	var least []*Destination // who has to go first is at the end
	if len(m.destinations)+len(queue) > m.config.Destinations {
		least = m.byLoad(seconds)
	}
	for _, n := range queue {
		d := &m.other
		switch {
		case !n.to.IsValid():
		case len(m.destinations) < m.config.Destinations:
			d = m.place(n.to)
		default:
			last := len(least) - 1
			if last >= 0 && float64(n.bytes)/seconds > crowdingFactor*least[last].load(seconds) {
				delete(m.destinations, least[last].Prefix)
				least = least[:last]
				d = m.place(n.to)
			}
		}
		for _, p := range n.parts {
			d.add(p.key, p.fresh)
		}
	}
}

func (m *Meter) place(to netip.Prefix) *Destination {
	d := &Destination{Prefix: to}
	m.destinations[to] = d
	return d
}

// byRate are the destinations, those that carry most first.
func (m *Meter) byRate() []*Destination {
	all := make([]*Destination, 0, len(m.destinations))
	for _, d := range m.destinations {
		all = append(all, d)
	}
	slices.SortFunc(all, (*Destination).compare)
	return all
}

// byLoad is byRate with what came since the last sample.
func (m *Meter) byLoad(seconds float64) []*Destination {
	all := m.byRate()
	slices.SortStableFunc(all, func(a, b *Destination) int { return cmp.Compare(b.load(seconds), a.load(seconds)) })
	return all
}
