package border

import "time"

const (
	// probeCalm is the time between two echoes while answers come.
	probeCalm = time.Second
	// probeDoubtAfter without an answer, echoes go out each probeDoubt: so a lossy
	// path answers some of them, and a dead one is known soon.
	probeDoubtAfter = 1500 * time.Millisecond
	probeDoubt      = 200 * time.Millisecond
	// probeDeadAfter without an answer the target is dead. It leaves 1.5 s of the
	// 5 s in which a gateway has to withdraw (F-26).
	probeDeadAfter = 3500 * time.Millisecond
)

// Sign is what is known of a target.
type Sign int

// The signs.
const (
	Unknown Sign = iota // asked, and it is too early to tell
	Alive
	Dead
)

func (s Sign) String() string {
	return [...]string{"unknown", "alive", "dead"}[s]
}

// Probe says when to ask a target for an echo, and what its answers and its
// silence mean. The zero value asks at once.
type Probe struct {
	began    time.Time // of the silence: the first echo, or the last answer
	sent     time.Time
	hasLived bool // it answered, and was not found dead since
}

// Next is when to ask; the zero time means at once.
func (p *Probe) Next(now time.Time) time.Time {
	if p.sent.IsZero() {
		return now
	}
	if p.IsInDoubt(now) {
		return p.sent.Add(probeDoubt)
	}
	// Not later than doubt begins.
	next := p.sent.Add(probeCalm)
	if doubt := p.began.Add(probeDoubtAfter); p.hasLived && doubt.After(p.sent) && doubt.Before(next) {
		return doubt
	}
	return next
}

// IsInDoubt says whether an answer is overdue, or the first one awaited, and the
// target not yet dead.
func (p *Probe) IsInDoubt(now time.Time) bool {
	silence := now.Sub(p.began)
	isOverdue := !p.hasLived || silence >= probeDoubtAfter
	return !p.began.IsZero() && isOverdue && silence < probeDeadAfter
}

// Sent notes an echo.
func (p *Probe) Sent(now time.Time) {
	if p.began.IsZero() {
		p.began = now
	}
	p.sent = now
}

// Answered notes an answer, whichever echo it is to.
func (p *Probe) Answered(now time.Time) {
	p.began, p.hasLived = now, true
}

// Sign judges.
func (p *Probe) Sign(now time.Time) Sign {
	switch {
	case p.began.IsZero():
		return Unknown
	case now.Sub(p.began) >= probeDeadAfter:
		p.hasLived = false
		return Dead
	case p.hasLived:
		return Alive
	}
	return Unknown
}
