package babel

import (
	"time"

	"re6st/babel/wire"
)

const (
	probeInterval = 50 * time.Millisecond
	probesMax     = 6
)

// suspicion decides whether a tunnel that missed two Hellos is dead or only
// lossy: a burst of acknowledged unicast probes, and whatever the neighbour
// sends counts as life.
//
//	heard -> two misses -> probing -> nothing in 300 ms: dead
//	  ^                        \-> any packet: vouched, until the next miss
//	  \---- any Hello
type suspicion struct {
	began   time.Time // zero: not probing
	probes  int
	probeAt time.Time
	vouched bool
}

func (s *suspicion) clear() { *s = suspicion{} }

func (s *suspicion) due() time.Time { return s.probeAt }

// isInDoubt: the link counts as up until proved dead.
func (s *suspicion) isInDoubt() bool { return s.vouched || !s.began.IsZero() }

// suspectMaybe is called after each missed Hello.
func (n *neighbour) suspectMaybe(now time.Time) {
	s := &n.suspect
	isGood := n.multicast.isGood() || n.unicast.isGood()
	if n.link.Kind != Tunnel || isGood || !n.isReachable() || !s.began.IsZero() {
		return
	}
	*s = suspicion{began: now, probeAt: now}
}

// probe sends the next probe or gives the verdict.
func (n *neighbour) probe(now time.Time) {
	s := &n.suspect
	if !isDue(s.probeAt, now) {
		return
	}
	switch {
	case n.heard.After(s.began):
		*s = suspicion{vouched: true}
	case s.probes == probesMax:
		s.clear()
	default:
		s.probes++
		// Far away, an answer takes its time.
		s.probeAt = now.Add(probeInterval + time.Duration(n.rtt.ms*float64(time.Millisecond))/3)
		n.link.sendNow(n.addr, &wire.AckRequest{Opaque: 0, Interval: 1})
	}
}
