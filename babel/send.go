package babel

import (
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

const (
	// A neighbour's receive buffer holds some 90 full datagrams by default, and
	// no implementation read faster than a few hundred in a second.
	bucketSize = 8
	bucketRate = 300 // packets a second

	// copies of a triggered update where nobody acknowledges (section 3.7.2).
	copiesWired    = 2
	copiesWireless = 3
	copyInterval   = 300 * time.Millisecond
	// triesMax of an acknowledged one: at 20 % loss either way, one in 3,500
	// waits for the periodic dump.
	triesMax     = 8
	ackWaitMin   = 200 * time.Millisecond
	ackWaitMax   = 3 * time.Second
	ackInterval  = 100 * time.Millisecond
	flightsMax   = 4096
	helloStartIn = 250 * time.Millisecond
)

// bucket paces the packets of updates.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) take(now time.Time) bool {
	if now.After(b.at) {
		b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*bucketRate, bucketSize)
		b.at = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// ready is when there will be a token.
func (b *bucket) ready() time.Time {
	missing := max(1-b.tokens, 0)
	return b.at.Add(time.Duration(missing/bucketRate*float64(time.Second)).Round(time.Microsecond) + time.Microsecond)
}

// job is a list of entries on its way into packets. What is said of each is
// decided when its packet is made.
type job struct {
	entries   []*entry
	triggered bool
	ack       bool
	tries     int // of the same entries before
}

// flight is a packet of updates that may have to be sent again: until it is
// acknowledged, or a few times where nobody acknowledges.
type flight struct {
	opaque   uint16
	entries  []*entry
	tries    int
	sent     time.Time
	resendAt time.Time
	isCopy   bool // no acknowledgment is awaited
}

func (l *link) beginDump(now time.Time) {
	l.dumpAt = now.Add(l.UpdateInterval - l.e.between(0, l.UpdateInterval/16+1))
	acks := l.dumpAcks && l.Kind == Tunnel
	l.dumpAcks = false
	if !l.hasAudience() {
		return
	}
	l.dumped = now
	entries := l.e.sortedEntries()
	// One dump at a time: a new one says all that is left of the old one.
	l.jobs = slices.DeleteFunc(l.jobs, func(j *job) bool { return !j.triggered })
	l.jobs = append(l.jobs, &job{entries: entries, ack: acks})
}

func (l *link) beginTrigger(now time.Time) {
	l.dirtyAt = time.Time{}
	entries := slices.Clone(l.dirty)
	l.dirty = l.dirty[:0]
	slices.SortFunc(entries, compareEntries)
	entries = slices.Compact(entries)
	l.addTriggered(&job{entries: entries, triggered: true, ack: l.Kind == Tunnel})
}

// addTriggered puts news before dumps.
func (l *link) addTriggered(j *job) {
	at := slices.IndexFunc(l.jobs, func(j *job) bool { return !j.triggered })
	if at < 0 {
		at = len(l.jobs)
	}
	l.jobs = slices.Insert(l.jobs, at, j)
}

// checkFlights sends again what nobody acknowledged.
func (l *link) checkFlights(now time.Time) {
	var again []*flight
	l.flights = slices.DeleteFunc(l.flights, func(f *flight) bool {
		if f.resendAt.After(now) {
			return false
		}
		again = append(again, f)
		return true
	})
	for _, f := range again {
		if f.tries >= triesMax || !l.hasAudience() {
			continue
		}
		l.counters.resent++
		l.addTriggered(&job{entries: f.entries, triggered: true, ack: !f.isCopy, tries: f.tries})
	}
}

// acknowledged takes the flight out, and ends what waited for it.
func (l *link) acknowledged(opaque uint16) {
	i := slices.IndexFunc(l.flights, func(f *flight) bool { return !f.isCopy && f.opaque == opaque })
	if i < 0 {
		return
	}
	f := l.flights[i]
	l.flights = slices.Delete(l.flights, i, i+1)
	for _, p := range f.entries {
		// What left before the loss did not say it.
		if f.sent.After(p.heldSince) {
			p.acknowledged(l)
		}
	}
}

// transmit makes packets of what is due.
func (l *link) transmit(now time.Time) {
	b := l.newBatch(l.e.groupAddr())
	if isDue(l.helloAt, now) {
		l.addHello(now, b)
	}
	if isDue(l.controlAt, now) || !b.enc.IsEmpty() {
		l.controlAt = time.Time{}
		for _, tlv := range l.asks {
			b.add(tlv)
		}
		l.asks = nil
		// After the Hello: it may be what makes us a neighbour.
		defer l.transmitUnicast(now)
	}
	l.transmitJobs(now, b)
	b.flush()
}

func (l *link) transmitUnicast(now time.Time) {
	for _, n := range l.neighbours {
		if len(n.asks)+len(n.replies) == 0 {
			continue
		}
		b := l.newBatch(n.addr)
		for _, tlv := range n.asks {
			b.add(tlv)
		}
		for _, p := range n.replies {
			b.add(l.updateOf(now, p))
		}
		n.asks, n.replies = nil, nil
		b.flush()
	}
}

// transmitJobs fills packets with updates while the bucket allows. The first
// may already have a Hello in it.
func (l *link) transmitJobs(now time.Time, b *batch) {
	for len(l.jobs) > 0 {
		j := l.jobs[0]
		if len(j.entries) == 0 {
			l.jobs = l.jobs[1:]
			continue
		}
		if !l.bucket.take(now) {
			return
		}
		l.transmitSome(now, b, j)
		b.flush()
	}
}

// transmitSome puts as much of a job as fits into one packet.
func (l *link) transmitSome(now time.Time, b *batch, j *job) {
	u := l.next(now, j)
	if u == nil {
		return
	}
	isAwaited := j.ack && l.isAnyoneReachable() && len(l.flights) < flightsMax
	if isAwaited {
		l.opaque++
		b.add(&wire.AckRequest{Opaque: l.opaque, Interval: wire.IntervalOf(ackInterval)})
	}
	sent := make([]*entry, 0, 64)
	for ; u != nil && b.enc.Add(u); u = l.next(now, j) {
		p := j.entries[0]
		l.counters.updatesOut++
		sent = append(sent, p)
		j.entries = j.entries[1:]
	}
	l.await(now, j, sent, isAwaited)
}

// next is the Update for the first entry of the job of which there is something
// to say, or nil.
func (l *link) next(now time.Time, j *job) *wire.Update {
	for len(j.entries) > 0 {
		if u := l.advertisement(now, j.entries[0], j.triggered); u != nil {
			return u
		}
		j.entries = j.entries[1:]
	}
	return nil
}

// await remembers a packet that may have to be sent again.
func (l *link) await(now time.Time, j *job, sent []*entry, isAwaited bool) {
	f := &flight{opaque: l.opaque, entries: sent, tries: j.tries + 1, sent: now}
	switch {
	case len(sent) == 0 || len(l.flights) >= flightsMax:
		return
	case isAwaited:
		f.resendAt = now.Add(l.ackWait(f.tries))
	case j.triggered && l.Kind != Tunnel && f.tries < l.copies():
		f.isCopy = true
		f.resendAt = now.Add(copyInterval + l.e.between(0, copyInterval/2))
	default:
		return
	}
	l.flights = append(l.flights, f)
}

func (l *link) copies() int {
	if l.Kind == Wireless {
		return copiesWireless
	}
	return copiesWired
}

// ackWait doubles with each try, and begins above the round-trip time.
func (l *link) ackWait(tries int) time.Duration {
	wait := ackWaitMin
	for _, n := range l.neighbours {
		if n.rtt.isKnown {
			wait = max(wait, ackWaitMin/2+time.Duration(2*n.rtt.ms*float64(time.Millisecond)))
		}
	}
	wait = min(wait<<(tries-1), ackWaitMax)
	return wait + l.e.between(0, wait/8)
}

// addHello puts the Hello and the IHUs into the packet. IHUs with timestamps
// must share it with the Hello (RFC 9616, section 3.1).
func (l *link) addHello(now time.Time, b *batch) {
	l.helloSeqno++
	hello := &wire.Hello{Seqno: l.helloSeqno, Interval: wire.IntervalOf(l.HelloInterval)}
	isTimed := l.RTT || l.Kind == Tunnel
	if isTimed {
		hello.Timestamp = wire.Timestamp{Present: true, Transmit: l.e.Timestamp(now)}
	}
	b.add(hello)
	for _, n := range l.neighbours {
		l.addIHU(now, b, n, isTimed)
	}
	next := l.HelloInterval - l.e.between(0, l.HelloInterval/16+1)
	if l.helloLeft > 0 {
		l.helloLeft--
		next = min(next, helloStartIn+l.e.between(0, helloStartIn/4))
	}
	l.helloAt = now.Add(next)
}

func (l *link) addIHU(now time.Time, b *batch, n *neighbour, isTimed bool) {
	rx := n.rxcost()
	// On a lossy link with each Hello (appendix B).
	if n.ihuIn--; n.ihuIn > 0 && rx <= costNominal {
		return
	}
	n.ihuIn = ihuEvery
	if n.ihuFirst > 0 {
		n.ihuFirst--
		n.ihuIn = 1
	}
	n.rxsaid = rx
	ihu := &wire.IHU{RxCost: rx, Interval: wire.IntervalOf(ihuEvery * l.HelloInterval), Address: n.addr}
	if isTimed {
		ihu.Echo = n.rtt.echo(now)
	}
	if !b.enc.Add(ihu) {
		ihu.Echo = wire.Echo{} // not without the Hello
		b.add(ihu)
	}
}

// sendNow sends a TLV by itself: an acknowledgment, a probe.
func (l *link) sendNow(dst netip.Addr, tlv wire.TLV) {
	b := l.newBatch(dst)
	b.add(tlv)
	b.flush()
}

// batch makes packets for one destination out of TLVs.
type batch struct {
	l   *link
	dst netip.Addr
	enc *wire.Encoder
}

func (l *link) newBatch(dst netip.Addr) *batch {
	b := &batch{l, dst, wire.NewEncoder(l.packetMax())}
	b.enc.Spare(l.reserved)
	return b
}

// packetMax is what the TLVs of a packet may fill: the link's MTU, "but not less
// than 512 octets" and no jumbogram (section 4), without what the MAC adds at the
// end.
func (l *link) packetMax() int {
	return max(min(l.MTU, mtuMax)-packetOverhead, packetMin) - l.reserved
}

func (b *batch) add(tlv wire.TLV) {
	if !b.enc.Add(tlv) {
		b.flush()
		b.enc.Add(tlv)
	}
}

func (b *batch) flush() {
	if b.enc.IsEmpty() {
		return
	}
	data := b.enc.Bytes()
	b.l.counters.packetsOut++
	b.l.counters.bytesOut += uint64(len(data) + b.l.reserved)
	b.l.e.out.Packets = append(b.l.e.out.Packets, Packet{
		Interface: b.l.Index, Dst: b.dst, Data: data, stampAt: b.enc.StampAt(), seal: b.l.newSeal(len(data)),
	})
	b.enc.Reset()
}

func (e *Engine) groupAddr() netip.Addr { return wire.Group() }

// sayFarewell retracts everything, twice: there will be no third time.
func (l *link) sayFarewell(now time.Time) {
	for range 2 {
		b := l.newBatch(l.e.groupAddr())
		l.addHello(now, b)
		b.add(&wire.Update{Interval: wire.IntervalOf(l.UpdateInterval), Metric: Infinity})
		b.flush()
	}
}
