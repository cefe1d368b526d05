package babel

import (
	"slices"
	"time"
)

// source is a feasibility distance: the best we ever advertised for a
// destination and a router-id (section 3.2.5).
type source struct {
	id      RouterID
	expires instant
	seqno   uint16
	metric  uint16
}

// isSet: no router-id is all zeros.
func (s *source) isSet() bool { return s.id != RouterID{} }

// sourceTimeMin is appendix B's 3 minutes.
const sourceTimeMin = 3 * time.Minute

// sourceTime is how long a distance is kept after it was last advertised. With
// long Update intervals it must be longer than the 3.5 intervals for which
// neighbours remember the route, or one that still points at us is feasible.
func (e *Engine) sourceTime() time.Duration { return max(sourceTimeMin, 4*e.updateMax()) }

// sourceOf is the distance for a router-id, or nil. One router-id announces a
// prefix, nearly always: the second and further ones are apart.
func (p *entry) sourceOf(id RouterID) *source {
	if p.source.id == id && p.source.isSet() {
		return &p.source
	}
	if p.x != nil {
		for i := range p.x.sources {
			if p.x.sources[i].id == id {
				return &p.x.sources[i]
			}
		}
	}
	return nil
}

// addSource makes the distance for a router-id that has none.
func (p *entry) addSource(id RouterID) *source {
	if !p.source.isSet() {
		p.source = source{id: id}
		return &p.source
	}
	x := p.extra()
	x.sources = append(x.sources, source{id: id})
	return &x.sources[len(x.sources)-1]
}

func (p *entry) sourceCount() (count int) {
	p.eachSource(func(*source) { count++ })
	return count
}

// eachSource calls f for every distance.
func (p *entry) eachSource(f func(*source)) {
	if p.source.isSet() {
		f(&p.source)
	}
	if p.x != nil {
		for i := range p.x.sources {
			f(&p.x.sources[i])
		}
	}
}

// isFeasible is the feasibility condition, section 3.5.1: no distance, or a newer
// seqno, or the same and a strictly smaller metric of the neighbour's.
func (p *entry) isFeasible(id RouterID, seqno, metric uint16) bool {
	if metric == Infinity || p.e.Fault == FaultFeasibility {
		return true
	}
	s := p.sourceOf(id)
	return s == nil || isNewer(seqno, s.seqno) || seqno == s.seqno && metric < s.metric
}

// noteFeasibility is section 3.7.3, before each finite Update.
func (p *entry) noteFeasibility(now time.Time, id RouterID, seqno, metric uint16) {
	if p.e.Fault == FaultSource {
		return
	}
	s := p.sourceOf(id)
	switch {
	case s == nil:
		s = p.addSource(id)
		s.seqno, s.metric = seqno, metric
	case isNewer(seqno, s.seqno):
		s.seqno, s.metric = seqno, metric
	case seqno == s.seqno:
		s.metric = min(s.metric, metric)
	}
	s.expires = p.e.after(now, p.e.sourceTime())
	p.wakeAt(s.expires)
}

// lapseMin is no pause that an engine with links makes: it says Hello.
const lapseMin = 30 * time.Second

// lapse: time has passed that we have not seen, because the host was suspended or
// its clock stepped. It need not have passed for the neighbours: what they
// remember of us holds as long as it would have.
func (e *Engine) lapse(now time.Time) {
	if len(e.links) > 0 {
		e.lapsed = now
	}
	at := e.after(now, e.sourceTime())
	for p := range e.entries.each() {
		p.eachSource(func(s *source) {
			if s.expires.isBefore(at) {
				s.expires = at
			}
		})
	}
}

func (p *entry) sourceDue() instant {
	at := p.source.expires
	if p.x != nil {
		for i := range p.x.sources {
			at = sooner(at, p.x.sources[i].expires)
		}
	}
	return at
}

func (p *entry) collectSources(t instant) {
	if p.source.expires.isDue(t) {
		p.source = source{}
	}
	if p.x == nil {
		return
	}
	p.x.sources = slices.DeleteFunc(p.x.sources, func(s source) bool { return s.expires.isDue(t) })
	if n := len(p.x.sources); n > 0 && !p.source.isSet() {
		p.source = p.x.sources[n-1]
		p.x.sources = p.x.sources[:n-1]
	}
}
