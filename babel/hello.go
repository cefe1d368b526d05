package babel

import (
	"time"

	"re6st/babel/wire"
)

// Hellos and IHUs: what keeps us in the neighbour tables of others.

const (
	// helloStartIn is between the Hellos of a start.
	helloStartIn = 250 * time.Millisecond
	helloBurst   = 4
	// helloGap is the least time between two Hellos in haste.
	helloGap = 50 * time.Millisecond
	// helloLost is the longest interval while a neighbour is missing, so that it
	// finds us within three seconds of being back, and lostFor for how long.
	helloLost = 2500 * time.Millisecond
	lostFor   = 5 * time.Minute
	// multicastEvery: with Unicast Hellos, how many times rarer multicast ones are.
	multicastEvery = 4

	ihuEvery = 3 // "with every 3rd Hello" (appendix B)
	ihuStart = 6 // the first RTT samples come fast
)

// multicastInterval is between two multicast Hellos.
func (l *link) multicastInterval() time.Duration {
	if l.UnicastHello {
		return multicastEvery * l.HelloInterval
	}
	return l.HelloInterval
}

func (l *link) isTimed() bool { return l.RTT || l.Kind == Tunnel }

// hello is the next multicast Hello.
func (l *link) hello(now time.Time) wire.Hello {
	l.helloSeqno++
	return wire.Hello{Seqno: l.helloSeqno, Timestamp: l.stamp(now)}
}

func (l *link) stamp(now time.Time) wire.Timestamp {
	if !l.isTimed() {
		return wire.Timestamp{}
	}
	return wire.Timestamp{Present: true, Transmit: l.e.Timestamp(now)}
}

// addHello puts the Hello and the IHUs that are due into the packet. It promises
// the next one for when that will really be sent, and it is never later: what
// changes afterwards can only bring it forward (section 3.4.1: the interval is
// "increased right before sending a Hello").
func (l *link) addHello(now time.Time, b *batch) {
	interval := l.multicastInterval()
	promise := interval - l.e.between(0, interval/16+1)
	hello := l.hello(now)
	hello.Interval = wire.IntervalOf(promise)
	b.enc.AddHello(&hello) // it comes first, and fits
	l.addMeeting(now, b)
	l.counters.hellosOut++
	next := promise
	if isRest := l.addIHUs(now, b); isRest {
		next = min(next, interval/8)
	}
	if now.Before(l.lostUntil) {
		next = min(next, helloLost)
	}
	if l.helloLeft > 0 {
		l.helloLeft--
		next = min(next, helloStartIn+l.e.between(0, helloStartIn/4))
	}
	l.helloed, l.helloAt = now, now.Add(next)
}

// addIHUs adds those that cannot wait for another Hello. "IHU TLVs with
// timestamps MUST share the packet with a Hello" (RFC 9616, section 3.1): with
// many neighbours there are some left then, for a Hello of their own.
func (l *link) addIHUs(now time.Time, b *batch) (isRest bool) {
	all := l.neighbours
	for i := range all {
		n := all[(l.ihuNext+i)%len(all)]
		if !n.owesIHU(now) {
			continue
		}
		ihu := n.newIHU(now)
		if b.enc.AddIHU(&ihu) {
			n.saidIHU(now)
			continue
		}
		if ihu.Echo.Present {
			l.ihuNext = (l.ihuNext + i) % len(all)
			return true
		}
		b.flush()
		b.enc.AddIHU(&ihu)
		n.saidIHU(now)
	}
	return false
}

// owesIHU: with each third Hello, on a lossy link with each (appendix B); or
// sooner, if the next Hello will be later than we promised the IHU.
func (n *neighbour) owesIHU(now time.Time) bool {
	return n.ihuFirst > 0 || n.rxcost() > n.link.nominal() || now.Add(n.link.HelloInterval).After(n.ihuBy)
}

func (n *neighbour) newIHU(now time.Time) wire.IHU {
	l := n.link
	ihu := wire.IHU{RxCost: n.rxcost(), Interval: wire.IntervalOf(ihuEvery * l.HelloInterval), Address: n.addr}
	if l.isTimed() {
		ihu.Echo = n.rtt.echo(now)
	}
	return ihu
}

func (n *neighbour) saidIHU(now time.Time) {
	n.link.counters.ihusOut++
	n.rxsaid = n.rxcost()
	n.ihuBy = now.Add(ihuEvery * n.link.HelloInterval)
	n.ihuFirst = max(n.ihuFirst-1, 0)
}

// sayHello sends a scheduled Unicast Hello, which has seqnos of its own.
func (n *neighbour) sayHello(now time.Time) {
	l := n.link
	promise := l.HelloInterval - l.e.between(0, l.HelloInterval/16+1)
	n.helloAt = now.Add(promise)
	n.helloSeqno++
	hello := wire.Hello{Unicast: true, Seqno: n.helloSeqno, Interval: wire.IntervalOf(promise), Timestamp: l.stamp(now)}
	b := l.newBatch(n.addr)
	b.enc.AddHello(&hello) // it comes first, and fits
	l.counters.unicastHellos++
	if n.owesIHU(now) {
		ihu := n.newIHU(now)
		b.enc.AddIHU(&ihu)
		n.saidIHU(now)
	}
	b.end()
}

// helloSoon makes the next Hello, with IHUs, urgent: two more follow in haste. Many
// neighbours can be a reason at once, so there is a least time between two.
func (l *link) helloSoon(now time.Time) {
	if !l.hurries.take(now, 1, hurriesBurst, hurriesRate) {
		return // the regular one will do
	}
	at := later(now.Add(l.e.between(urgentMin, urgentMax)), l.helloed.Add(helloGap))
	l.helloAt = earliest(l.helloAt, at)
	l.helloLeft = max(l.helloLeft, 2)
	l.wake()
}
