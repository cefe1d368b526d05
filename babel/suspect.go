package babel

import (
	"time"

	"re6st/babel/wire"
)

const (
	// A burst of probes is so many, within a quarter of the Hello interval and
	// these bounds: at 30 % loss either way, one in 800 is not answered.
	probesMax = 10
	burstMin  = 200 * time.Millisecond
	burstMax  = time.Second
	// silenceMin is how long nothing at all must have been heard before a single
	// missed Hello is believed: a busy host may be late. Two are believed sooner.
	silenceMin = time.Second
	// suspectsMax of a shared link: when a switch dies, not everyone probes
	// everyone.
	suspectsMax = 8
)

// suspicion decides whether a neighbour that missed a Hello is dead: a burst of
// acknowledged unicast probes, and whatever it sends counts as life.
//
//	heard -> a miss -> probing -> nothing until the end: dead
//	  ^                       \-> any packet: vouched, until the next miss
//	  \---- any Hello
//
// Dead is dead, whatever 2-out-of-3 says. A tunnel that is vouched for lives,
// whatever 2-out-of-3 says: loss is not death.
type suspicion struct {
	began   time.Time // zero: not probing
	until   time.Time // when the verdict falls
	probes  int
	probeAt time.Time
	gap     time.Duration
	vouched bool
	isDead  bool
}

func (s *suspicion) due() time.Time { return s.probeAt }

// isInDoubt: the link counts as up until proved dead.
func (s *suspicion) isInDoubt() bool { return s.vouched || !s.began.IsZero() }

// suspectMaybe is called after each missed Hello, of the history.
func (n *neighbour) suspectMaybe(now time.Time, h *history) {
	s, l := &n.suspect, n.link
	isMany := l.Kind != Tunnel && len(l.neighbours) > suspectsMax
	if l.Kind == Wireless || isMany || !n.isReachable() || !s.began.IsZero() || h.interval == 0 {
		return
	}
	// Far away, an answer takes its time.
	burst := min(max(h.interval/4, burstMin), burstMax)
	answer := n.rtt.duration() * 3 / 2
	second := now.Add(h.interval) // when the next Hello is missed
	until := later(now.Add(burst+answer), earliest(n.heard.Add(silenceMin), second))
	*s = suspicion{began: now, until: until, probeAt: now, gap: burst / probesMax}
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
	case s.probes < probesMax:
		s.probes++
		s.probeAt = now.Add(s.gap)
		n.link.sendNow(n.addr, &wire.AckRequest{Opaque: 0, Interval: 1})
	case s.until.After(now):
		s.probeAt = s.until
	default:
		// One that was never heard to acknowledge is only counted.
		*s = suspicion{isDead: !n.ackedAt.IsZero()}
	}
}

// expireIHU: no IHU has come for 3.5 of its intervals. With a little loss three in
// a row go missing several times a day on a busy node; an Acknowledgment proves
// both directions as an IHU does, so a tunnel asks for one before it gives up.
func (n *neighbour) expireIHU(now time.Time) {
	isAnswered := n.ihuAsks > 0 && now.Sub(n.ackedAt) < time.Second
	switch {
	case n.link.Kind != Tunnel || n.txcost == Infinity || n.ackedAt.IsZero():
	case isAnswered:
		n.ihuAsks, n.txUntil = 0, now.Add(ihuEvery*n.link.HelloInterval)
		return
	case n.ihuAsks < probesMax:
		n.ihuAsks++
		n.txUntil = now.Add(burstMin/4 + n.rtt.duration()/3)
		n.link.sendNow(n.addr, &wire.AckRequest{Opaque: 0, Interval: 1})
		return
	}
	n.ihuAsks = 0
	n.txcost, n.txUntil = Infinity, time.Time{}
}
