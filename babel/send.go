package babel

import (
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

// class orders what waits to be sent: what is urgent overtakes.
type class uint8

const (
	urgentNews class = iota // routes lost, or with another router-id
	news
	periodic
)

// job is a list of entries on its way into packets. What is said of each is
// decided when its packet is made.
type job struct {
	entries []*entry
	class   class
	asks    bool         // for acknowledgments, of whoever is there when it leaves
	asked   []*neighbour // the same, when it is sent again
	to      *neighbour   // nil: everyone
	copies  int          // to be sent beside the first one, for those who are not asked
	tries   int          // of the same entries before
}

// bulk is how many entries are too many to be said several times because
// someone does not acknowledge: the periodic dump will repeat them.
const bulk = 128

func (l *link) beginDump(now time.Time) {
	// The interval is a promise: never late, and not much more often.
	l.dumpAt = now.Add(l.UpdateInterval - l.e.between(0, l.UpdateInterval/64+1))
	asks := l.dumpAcks
	l.dumpAcks = false
	if !l.hasAudience() {
		return
	}
	l.dumped = now
	entries := l.e.sortedEntries()
	// One dump at a time: a new one says all that is left of the old one.
	l.jobs = slices.DeleteFunc(l.jobs, func(j *job) bool { return j.class == periodic })
	l.addJob(&job{entries: entries, class: periodic, asks: asks})
}

func (l *link) beginTrigger(now time.Time) {
	l.dirtyAt = time.Time{}
	var urgent []*entry
	for c := range l.dirty {
		entries := l.dirty[c]
		l.dirty[c] = nil
		slices.SortFunc(entries, compareEntries)
		entries = slices.Compact(entries)
		if class(c) == urgentNews {
			urgent = entries
		} else if len(urgent) > 0 {
			entries = slices.DeleteFunc(entries, func(p *entry) bool {
				_, isSaid := slices.BinarySearchFunc(urgent, p, compareEntries)
				return isSaid
			})
		}
		if len(entries) == 0 {
			continue
		}
		l.addFresh(class(c), entries)
	}
}

// isFresh: news that was not sent before.
func (j *job) isFresh() bool { return j.tries == 0 && j.class != periodic }

// addFresh adds news to what of its kind is still waiting. A link on which nothing
// leaves any more must not make that long: each entry is there once.
func (l *link) addFresh(c class, entries []*entry) {
	at := slices.IndexFunc(l.jobs, func(j *job) bool { return j.isFresh() && j.class == c })
	if at < 0 {
		l.addJob(&job{class: c, asks: true})
		at = slices.IndexFunc(l.jobs, func(j *job) bool { return j.isFresh() && j.class == c })
	}
	j := l.jobs[at]
	j.entries = append(j.entries, entries...)
	if len(j.entries) > 2*l.e.entries.count+bulk {
		j.entries = slices.DeleteFunc(j.entries, (*entry).isGone)
		slices.SortFunc(j.entries, compareEntries)
		j.entries = slices.Compact(j.entries)
	}
	j.copies = 0
	if c == urgentNews || len(j.entries) <= bulk {
		j.copies = l.copies() - 1
	}
}

// addJob puts it after those that are as urgent.
func (l *link) addJob(j *job) {
	at := slices.IndexFunc(l.jobs, func(x *job) bool { return x.class > j.class })
	if at < 0 {
		at = len(l.jobs)
	}
	l.jobs = slices.Insert(l.jobs, at, j)
}

// nextJob is the first that may be sent now, or nil. Retractions, and what is
// sent again, need not wait until there is room on the way.
func (l *link) nextJob() *job {
	l.jobs = slices.DeleteFunc(l.jobs, func(j *job) bool { return len(j.entries) == 0 })
	if len(l.jobs) == 0 {
		return nil
	}
	isFull := l.isFull()
	for _, j := range l.jobs {
		if !isFull || j.class == urgentNews || j.tries > 0 {
			return j
		}
	}
	return nil
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
	b.end()
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
			u := l.updateOf(now, p)
			if !b.enc.AddUpdate(&u) {
				b.flush()
				b.enc.AddUpdate(&u)
			}
		}
		n.asks, n.replies = nil, nil
		b.end()
	}
}

// transmitJobs fills packets with updates while the bucket allows. The first
// may already have a Hello in it.
func (l *link) transmitJobs(now time.Time, group *batch) {
	for {
		j := l.nextJob()
		if j == nil || !l.bucket.take(now) {
			return
		}
		b := group
		if j.to != nil {
			b = l.newBatch(j.to.addr)
		}
		l.transmitSome(now, b, j)
		if b != group {
			b.end()
		} else {
			b.flush()
		}
	}
}

// transmitSome puts as much of a job as fits into one packet, and of the news
// after it if there is room.
func (l *link) transmitSome(now time.Time, b *batch, j *job) {
	u, ok := l.next(now, j)
	if !ok && l.following(j) == nil {
		return
	}
	asked, hasOthers := j.asked, true
	if j.asks {
		asked, hasOthers = l.audience(now)
	}
	if len(l.flights) >= flightsMax {
		asked = nil
	}
	f := &flight{class: j.class, tries: j.tries + 1, sent: now, awaited: slices.Clone(asked)}
	if len(asked) > 0 {
		f.opaque = l.nextOpaque()
		b.add(&wire.AckRequest{Opaque: f.opaque, Interval: wire.IntervalOf(ackInterval)})
	}
	for {
		if hasOthers {
			f.copies = max(f.copies, j.copies)
		}
		for ; ok && b.enc.AddUpdate(&u); u, ok = l.next(now, j) {
			l.counters.updatesOut++
			if len(asked) > 0 || f.copies > 0 {
				f.entries = append(f.entries, j.entries[0])
			}
			j.entries = j.entries[1:]
		}
		next := l.following(j)
		if ok || next == nil {
			break // the packet is full, or there is no more
		}
		j = next
		u, ok = l.next(now, j)
	}
	l.await(now, f)
}

// following is more news, after that of the job.
func (l *link) following(j *job) *job {
	if !j.isFresh() {
		return nil
	}
	at := slices.Index(l.jobs, j)
	for _, next := range l.jobs[at+1:] {
		if next.isFresh() {
			return next
		}
	}
	return nil
}

// nextOpaque leaves zero to the probes.
func (l *link) nextOpaque() uint16 {
	if l.opaque++; l.opaque == 0 {
		l.opaque++
	}
	return l.opaque
}

// next is the Update for the first entry of the job of which there is something
// to say.
func (l *link) next(now time.Time, j *job) (wire.Update, bool) {
	for len(j.entries) > 0 {
		if u, ok := l.advertisement(now, j.entries[0], j.class != periodic); ok {
			return u, true
		}
		j.entries = j.entries[1:]
	}
	return wire.Update{}, false
}

// sendNow sends a TLV by itself: an acknowledgment, a probe.
func (l *link) sendNow(dst netip.Addr, tlv wire.TLV) {
	b := l.newBatch(dst)
	b.add(tlv)
	b.end()
}

// batch makes packets for one destination out of TLVs.
type batch struct {
	l   *link
	dst netip.Addr
	enc *wire.Encoder
}

func (l *link) newBatch(dst netip.Addr) *batch {
	e := l.e
	if len(e.batches) == 0 {
		e.batches = append(e.batches, &batch{enc: wire.NewEncoder(0)})
	}
	last := len(e.batches) - 1
	b := e.batches[last]
	e.batches = e.batches[:last]
	b.l, b.dst = l, dst
	b.enc.Limit(l.packetMax())
	b.enc.Spare(l.reserved)
	return b
}

// end is the last flush: its memory serves another batch.
func (b *batch) end() {
	b.flush()
	b.l.e.batches = append(b.l.e.batches, b)
	b.l = nil
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
	stampAt := b.enc.StampAt()
	data := b.enc.Take(b.l.e.lend())
	b.l.counters.packetsOut++
	b.l.counters.bytesOut += uint64(len(data) + b.l.reserved)
	b.l.e.out.Packets = append(b.l.e.out.Packets, Packet{
		Interface: b.l.Index, Dst: b.dst, Data: data, stampAt: stampAt, seal: b.l.newSeal(len(data)),
	})
}

func (e *Engine) groupAddr() netip.Addr { return wire.Group() }

// farewellCopies: there will be no other time.
const farewellCopies = 3

// sayFarewell retracts everything, and promises a Hello so soon that whoever
// misses the retraction still sees us go.
func (l *link) sayFarewell(now time.Time) {
	for range farewellCopies {
		b := l.newBatch(l.e.groupAddr())
		hello := l.hello(now)
		hello.Interval = wire.IntervalOf(0)
		b.enc.AddHello(&hello)
		b.add(&wire.Update{Interval: wire.IntervalOf(l.UpdateInterval), Metric: Infinity})
		b.end()
	}
}
