package trace

import (
	"net/netip"
	"time"
)

const (
	hopsMax  = 32
	horizon  = 8 // hop limits that are tried beyond the last one that was answered
	rounds   = 3 // requests for each hop limit
	interval = 200 * time.Millisecond
	// patience is how long an answer may take, where others take no less than a
	// quarter of it; deadline is how long all may take together.
	patience    = time.Second
	patienceMin = 400 * time.Millisecond
	deadline    = 1800 * time.Millisecond
)

// Hop is what was seen at one hop limit.
type Hop struct {
	Limit    int
	Address  netip.Addr // who answered first; zero: nobody
	Kind     Kind
	Sent     int
	Received int
	RTT      time.Duration // the least
}

// plan decides what to send and when a survey is over. The time is an argument.
type plan struct {
	start    time.Time
	hops     [hopsMax + 1]Hop // by hop limit; 0 is not used
	horizon  int
	end      int // hop limit at which the way ends; 0: not known
	lastSent time.Time
	next     time.Time
	sent     map[uint16]probe
	seq      uint16
}

type probe struct {
	limit int
	at    time.Time
}

func newPlan(now time.Time, seq uint16) *plan {
	p := &plan{start: now, next: now, horizon: horizon, sent: map[uint16]probe{}, seq: seq}
	for i := range p.hops {
		p.hops[i].Limit = i
	}
	return p
}

// last is the largest hop limit that is still of interest.
func (p *plan) last() int {
	if p.end > 0 {
		return p.end
	}
	return min(p.horizon, hopsMax)
}

// due gives the hop limits to send to now, with their sequence numbers.
func (p *plan) due(now time.Time) (limits []int, seqs []uint16) {
	if now.Before(p.next) {
		return nil, nil
	}
	p.next = now.Add(interval)
	for i := 1; i <= p.last(); i++ {
		h := &p.hops[i]
		if h.Sent == rounds {
			continue
		}
		h.Sent++
		p.seq++
		p.sent[p.seq] = probe{i, now}
		limits, seqs = append(limits, i), append(seqs, p.seq)
		p.lastSent = now
	}
	return limits, seqs
}

// answered takes an answer. It is false where that belongs to nothing that is
// still open.
func (p *plan) answered(now time.Time, from netip.Addr, kind Kind, seq uint16) bool {
	s, ok := p.sent[seq]
	if !ok {
		return false
	}
	delete(p.sent, seq)
	h := &p.hops[s.limit]
	h.Received++
	if rtt := now.Sub(s.at); h.RTT == 0 || rtt < h.RTT {
		h.RTT = rtt
	}
	// That it was reached outweighs that, while routes changed, somebody on the
	// way answered.
	if h.Kind == Silence || kind == Arrived && h.Kind != Arrived {
		h.Address, h.Kind = from, kind
	}
	switch {
	case kind != Passed && (p.end == 0 || s.limit < p.end):
		p.end = s.limit
	case kind == Passed && p.end == 0:
		p.horizon = max(p.horizon, s.limit+horizon)
	}
	return true
}

// isOver tells whether nothing more is to be expected.
func (p *plan) isOver(now time.Time) bool {
	if now.Sub(p.start) >= deadline {
		return true
	}
	isAnswered := true
	for i := 1; i <= p.last(); i++ {
		if p.hops[i].Sent < rounds {
			return false
		}
		isAnswered = isAnswered && p.hops[i].Received == p.hops[i].Sent
	}
	return isAnswered || now.Sub(p.lastSent) >= p.patience()
}

// patience: the last hop that answered is a measure for the next.
func (p *plan) patience() time.Duration {
	var slowest time.Duration
	for i := range p.hops {
		slowest = max(slowest, p.hops[i].RTT)
	}
	if slowest == 0 {
		return patience
	}
	return min(max(4*slowest, patienceMin), patience)
}

// wake is when to look again, if nothing is heard until then.
func (p *plan) wake() time.Time {
	at := p.start.Add(deadline)
	if p.next.Before(at) {
		at = p.next
	}
	if end := p.lastSent.Add(p.patience()); end.Before(at) {
		at = end
	}
	return at
}

// result is the way as it was seen: nothing beyond its end, no silence after the
// last hop that answered.
func (p *plan) result() Result {
	last := p.last()
	if p.end == 0 {
		for last > 0 && p.hops[last].Kind == Silence {
			last--
		}
	}
	r := Result{Hops: append([]Hop(nil), p.hops[1:last+1]...)}
	r.Reached = last > 0 && r.Hops[last-1].Kind == Arrived
	return r
}
