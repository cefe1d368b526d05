package babel

// Sizes counts what an engine stores, and what it has yet to do. After whatever
// happened they return to what they were.
type Sizes struct {
	Entries    int // destinations
	Routes     int // learnt, all neighbours together
	Sources    int // feasibility distances
	Requests   int // seqno requests that wait for their answers
	Held       int // destinations that are kept unreachable
	Flights    int // packets that wait for an acknowledgment, or their copy
	Queued     int // entries that are to be announced
	Neighbours int
	Timers     int
}

// Sizes costs a walk over all entries.
func (e *Engine) Sizes() Sizes {
	s := Sizes{Entries: e.entries.count, Timers: len(e.timers)}
	for p := range e.entries.each() {
		s.Routes += len(p.routes)
		s.Sources += p.sourceCount()
		if p.wake != 0 {
			s.Timers++
		}
		s.Requests += len(p.requests())
		if p.isHeld() {
			s.Held++
		}
	}
	for _, l := range e.links {
		s.Neighbours += len(l.neighbours)
		s.Flights += len(l.flights)
		s.Queued += len(l.dirty[urgentNews]) + len(l.dirty[news])
		for _, j := range l.jobs {
			s.Queued += len(j.entries)
		}
	}
	return s
}
