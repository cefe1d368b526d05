package babel

import (
	"slices"
	"time"
)

// isNewer compares seqnos modulo 2^16 (RFC 8966, section 3.2.1).
func isNewer(a, b uint16) bool { return int16(a-b) > 0 }

const (
	// seqnoBlock is how many seqnos one durable write reserves: a restart skips
	// at most so many, and half the space must not be skipped while neighbours
	// remember (three minutes at least).
	seqnoBlock = 16
	// seqnoBumpMin is between two increments for requests: a neighbour that asks
	// without end cannot make the seqno wrap within the life of a source.
	seqnoBumpMin = 100 * time.Millisecond
	// After seqnoBumps of them there is one a second, or whoever asks without end
	// would keep the disk busy with reservations.
	seqnoBumps     = 64
	seqnoBumpsRate = 1
	// seqnoJumpMin is between two jumps above a seqno that we do not remember.
	seqnoJumpMin  = time.Second
	seqnoRetryMin = time.Second
	// seqnoGapMax is for how long a request that was far ahead is remembered.
	seqnoGapMax = 30 * time.Second
)

// ownSeqno is the router's seqno. It survives restarts: before a seqno is used,
// a bound above it is durable. current < limit at any time.
type ownSeqno struct {
	current uint16
	limit   uint16 // first that is not reserved, as if the last wish had come true
	durable uint16 // the same, before the last wish
	wish    bool   // limit has not been said yet
	retryAt time.Time
	bumped  time.Time
	bumps   allowance
	jumped  time.Time
	bumpAt  time.Time // of an increment that came too early
	gapAt   time.Time // when a request was far ahead of us
}

func newOwnSeqno(first uint16) ownSeqno {
	return ownSeqno{current: first, limit: first + seqnoBlock, durable: first, wish: true}
}

// extend reserves a block from the current seqno on.
func (s *ownSeqno) extend() {
	if !s.wish {
		s.durable = s.limit
	}
	s.limit, s.wish = s.current+seqnoBlock, true
}

// bump is the answer to a seqno request: "increase by 1", whatever it asks for
// (section 3.8.1.2). False: too early.
func (s *ownSeqno) bump(now time.Time) bool {
	if s.bumpReady(now).After(now) || !isNewer(s.limit, s.current+1) {
		return false
	}
	s.current, s.bumped = s.current+1, now
	s.bumps.spent++
	// Ahead of need: a failing disk then costs nothing for half a block.
	if int16(s.limit-s.current) <= seqnoBlock/2 && s.retryAt.IsZero() {
		s.extend()
	}
	return true
}

// bumpReady is when there may be another increment.
func (s *ownSeqno) bumpReady(now time.Time) time.Time {
	return later(s.bumped.Add(seqnoBumpMin), now.Add(s.bumps.wait(now, 1, seqnoBumps, seqnoBumpsRate)))
}

// demand is a seqno request for us. Nobody can know a seqno above ours: a request
// that is further ahead means that our record was lost. The first gets what the
// RFC gives it; if it comes again, others starve until we are there. False: it is
// too early for an increment.
func (s *ownSeqno) demand(now time.Time, seqno uint16, b *budget) bool {
	isAhead := isNewer(seqno, s.current+1)
	waited := now.Sub(s.gapAt)
	if isAhead && waited >= seqnoJumpMin && waited <= seqnoGapMax {
		s.exceed(now, seqno-1, b)
		return true
	}
	if isAhead && waited > seqnoGapMax {
		s.gapAt = now
	}
	if s.bump(now) {
		return true
	}
	s.bumpAt = s.bumpReady(now)
	return !s.bumpAt.After(now) // else it is the reservation that is missing
}

// deferred is an answer that waits for the next increment.
type deferred struct {
	n *neighbour
	p *entry
}

const deferredMax = 1024

// answerDeferred makes the increment that came too early, one for all who wait.
func (e *Engine) answerDeferred(now time.Time) {
	if !isDue(e.seqno.bumpAt, now) {
		return
	}
	e.seqno.bumpAt = time.Time{}
	if len(e.deferred) == 0 {
		return
	}
	e.seqno.bump(now)
	for _, d := range e.deferred {
		if slices.Contains(d.n.link.neighbours, d.n) {
			d.n.reply(now, d.p)
		}
	}
	e.deferred = nil
}

// exceed goes above a seqno of ours that someone remembers and we do not.
func (s *ownSeqno) exceed(now time.Time, heard uint16, b *budget) bool {
	if !isNewer(heard, s.current) || now.Sub(s.jumped) < seqnoJumpMin || !s.retryAt.IsZero() {
		return false
	}
	if !b.jumps.take(now, 1, jumpsBurst, jumpsRate) {
		return false
	}
	s.current, s.jumped = heard+1, now
	s.extend()
	return true
}

// reserve says the wish, once.
func (s *ownSeqno) reserve() (uint16, bool) {
	was := s.wish
	s.wish = false
	return s.limit, was
}

// release gives the rest of the block back: the next life begins right above.
func (s *ownSeqno) release() {
	s.limit, s.wish = s.current+1, true
}

func (s *ownSeqno) advance(now time.Time) {
	if isDue(s.retryAt, now) {
		s.retryAt = time.Time{}
		s.extend()
	}
}

// ReserveFailed says that the last Output.Reserve is not durable: its packets
// were dropped, the seqno stays below what is durable, and the wish comes again.
func (e *Engine) ReserveFailed(now time.Time) {
	if !e.begin(now) {
		return
	}
	s := &e.seqno
	s.limit = s.durable
	if !isNewer(s.limit, s.current) {
		s.current = s.limit - 1
	}
	s.retryAt = now.Add(seqnoRetryMin)
}
