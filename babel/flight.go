package babel

import (
	"slices"
	"time"

	"re6st/babel/wire"
)

const (
	// copies of an urgent update where not everyone acknowledges (section 3.7.2).
	copiesWired    = 2
	copiesWireless = 3
	copyInterval   = 300 * time.Millisecond
	// triesMax of an acknowledged one: at 20 % loss either way, one in 200,000
	// waits for the periodic dump.
	triesMax = 12
	// muteTries without any answer, ever: the neighbour does not acknowledge.
	muteTries   = 3
	ackWaitMin  = 200 * time.Millisecond
	ackWaitMax  = 3 * time.Second
	ackInterval = 100 * time.Millisecond
	flightsMax  = 4096
	// ackersMax: Acknowledgments are for links with few neighbours (section 3.3).
	ackersMax = 8
	// windowMax is how many packets may be on their way: at 300 a second, enough
	// for a round trip of 400 ms.
	windowMax = 128
	// lostTime is for how long a neighbour that has just become unreachable is
	// told what it may miss: it may never have noticed.
	lostTime = 15 * time.Second
)

// flight is a packet of updates that may have to be sent again: until everyone
// has acknowledged it, or a few times where not everyone does.
type flight struct {
	opaque   uint16
	entries  []*entry
	class    class
	tries    int
	sent     time.Time
	resendAt time.Time
	awaited  []*neighbour // who has not acknowledged
	copies   int          // still to be sent for the others
}

// isAsked tells whether the neighbour is asked to acknowledge: it is one of few,
// and never failed to.
func (n *neighbour) isAsked(now time.Time) bool {
	if n.isMute || n.link.Kind != Tunnel && len(n.link.neighbours) > ackersMax {
		return false
	}
	return n.isReachable() || !n.lostAt.IsZero() && now.Sub(n.lostAt) < lostTime
}

// audience is who will be asked to acknowledge, and whether others listen.
func (l *link) audience(now time.Time) (asked []*neighbour, hasOthers bool) {
	for _, n := range l.neighbours {
		if n.isAsked(now) {
			asked = append(asked, n)
		} else {
			hasOthers = hasOthers || n.isReachable()
		}
	}
	return asked, hasOthers
}

func (l *link) copies() int {
	if l.Kind == Wireless {
		return copiesWireless
	}
	return copiesWired
}

// isFull stops what is not urgent while too much is on its way. On a shared link
// one deaf neighbour must not stop the others: only what is fresh counts.
func (l *link) isFull() bool {
	if len(l.flights) < windowMax {
		return false
	}
	n := 0
	for _, f := range l.flights {
		if len(f.awaited) > 0 && (f.tries == 1 || l.Kind == Tunnel) {
			n++
		}
	}
	return n >= windowMax
}

// checkFlights sends again what somebody did not acknowledge.
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
		l.resend(now, f)
	}
}

func (l *link) resend(now time.Time, f *flight) {
	f.awaited = slices.DeleteFunc(f.awaited, func(n *neighbour) bool {
		if f.tries >= muteTries && n.ackedAt.IsZero() {
			n.isMute = true
			l.e.noLongerAwaited(n)
		}
		return !n.isAsked(now)
	})
	isAgain := len(f.awaited) > 0 && f.tries < triesMax
	if !isAgain && f.copies == 0 {
		return
	}
	if isAgain && f.tries == 1 {
		l.bucket.slower(now)
	}
	l.counters.resent++
	j := &job{entries: f.entries, class: f.class, tries: f.tries, copies: max(f.copies-1, 0)}
	if isAgain {
		j.asked = f.awaited
		if len(f.awaited) == 1 && f.copies == 0 {
			j.to = f.awaited[0]
		}
	}
	l.addJob(j)
}

// askMute tries once more whether a tunnel's neighbour acknowledges: it was asked in
// vain, perhaps as the link lost what was said at first, and what it missed then
// would be said again minutes later.
func (n *neighbour) askMute(now time.Time) {
	if n.isMute && n.link.Kind == Tunnel && n.isReachable() {
		n.ask(now, &wire.AckRequest{Opaque: 0, Interval: wire.IntervalOf(ackInterval)})
	}
}

// acknowledged notes that a neighbour has got a packet.
func (n *neighbour) acknowledged(now time.Time, opaque uint16) {
	l := n.link
	if n.isMute && l.Kind == Tunnel {
		l.dumpSoon(now) // what was said meanwhile may be lost
	}
	n.ackedAt, n.isMute = now, false
	i := slices.IndexFunc(l.flights, func(f *flight) bool { return f.opaque == opaque })
	if i < 0 {
		return
	}
	f := l.flights[i]
	at := slices.Index(f.awaited, n)
	if at < 0 {
		return
	}
	f.awaited = slices.Delete(f.awaited, at, at+1)
	for _, p := range f.entries {
		p.acknowledged(n, f.sent)
	}
	if len(f.awaited) == 0 && f.copies == 0 {
		l.flights = slices.Delete(l.flights, i, i+1)
	}
	l.bucket.faster()
}

// forgetFlights ends what waits for a neighbour that is gone.
func (l *link) forgetFlights(n *neighbour) {
	l.flights = slices.DeleteFunc(l.flights, func(f *flight) bool {
		f.awaited = slices.DeleteFunc(f.awaited, func(x *neighbour) bool { return x == n })
		return len(f.awaited) == 0 && f.copies == 0
	})
	for _, j := range l.jobs {
		if j.to == n {
			j.entries = nil
		}
		j.asked = slices.DeleteFunc(slices.Clone(j.asked), func(x *neighbour) bool { return x == n })
	}
}

// await remembers a packet that may have to be sent again.
func (l *link) await(now time.Time, f *flight) {
	if len(f.entries) == 0 || len(f.awaited) == 0 && f.copies == 0 || len(l.flights) >= flightsMax {
		return
	}
	if len(f.awaited) > 0 {
		f.resendAt = now.Add(l.ackWait(f))
	} else {
		f.resendAt = now.Add(copyInterval + l.e.between(0, copyInterval/2))
	}
	l.flights = append(l.flights, f)
}

// ackWait doubles with each try, and begins above the round-trip time.
func (l *link) ackWait(f *flight) time.Duration {
	wait := ackWaitMin
	for _, n := range f.awaited {
		if n.rtt.isKnown {
			wait = max(wait, ackWaitMin/2+2*n.rtt.duration())
		}
	}
	wait = min(wait<<(f.tries-1), ackWaitMax)
	return wait + l.e.between(0, wait/8)
}
