package babel

import (
	"slices"
	"time"
)

// source is a feasibility distance: the best we ever advertised for a
// destination and a router-id (section 3.2.5).
type source struct {
	id      RouterID
	seqno   uint16
	metric  uint16
	expires time.Time
}

// sourceTimeMin is appendix B's 3 minutes.
const sourceTimeMin = 3 * time.Minute

// sourceTime is how long a distance is kept after it was last advertised. With
// long Update intervals it must be longer than the 3.5 intervals for which
// neighbours remember the route, or one that still points at us is feasible.
func (e *Engine) sourceTime() time.Duration { return max(sourceTimeMin, 4*e.updateMax()) }

func (p *entry) source(id RouterID) *source {
	for i := range p.sources {
		if p.sources[i].id == id {
			return &p.sources[i]
		}
	}
	return nil
}

// isFeasible is the feasibility condition, section 3.5.1: no distance, or a newer
// seqno, or the same and a strictly smaller metric of the neighbour's.
func (r *route) isFeasible() bool {
	return r.p.isFeasible(r.id, r.seqno, r.refMetric)
}

func (p *entry) isFeasible(id RouterID, seqno, metric uint16) bool {
	if metric == Infinity || p.e.Fault == FaultFeasibility {
		return true
	}
	s := p.source(id)
	return s == nil || isNewer(seqno, s.seqno) || seqno == s.seqno && metric < s.metric
}

// noteFeasibility is section 3.7.3, before each finite Update.
func (p *entry) noteFeasibility(now time.Time, id RouterID, seqno, metric uint16) {
	s := p.source(id)
	if s == nil {
		p.sources = append(p.sources, source{id: id, seqno: seqno, metric: metric})
		s = &p.sources[len(p.sources)-1]
	}
	switch {
	case isNewer(seqno, s.seqno):
		s.seqno, s.metric = seqno, metric
	case seqno == s.seqno:
		s.metric = min(s.metric, metric)
	}
	s.expires = now.Add(p.e.sourceTime())
	p.wakeAt(s.expires)
}

// lapseMin is no pause that an engine with links makes: it says Hello.
const lapseMin = 30 * time.Second

// lapse: time has passed that we have not seen, because the host was suspended or
// its clock stepped. It need not have passed for the neighbours: what they
// remember of us holds as long as it would have.
func (e *Engine) lapse(now time.Time) {
	for _, p := range e.entries {
		for i := range p.sources {
			p.sources[i].expires = now.Add(e.sourceTime())
		}
	}
}

func (p *entry) collectSources(now time.Time) {
	p.sources = slices.DeleteFunc(p.sources, func(s source) bool { return isDue(s.expires, now) })
}
