package origin

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"re6st/addressing"
)

const (
	wantsMax      = 1 << 16
	wantsOfOneMax = 4096 // that one neighbour makes us have: made-up router-ids must not crowd out others'
	sendersMax    = 8    // neighbours remembered for one router-id
	backoffMin    = time.Second
	backoffMax    = 5 * time.Minute
	// pressingAttempts is how often an urgent one goes before the others.
	pressingAttempts = 3
	forgottenAfter   = 15 * time.Minute
)

// Wants decides which certificates to ask of whom, and when. First is asked who
// sent what needs the certificate, for he must have it to have believed it
// himself; then the other neighbours in turn, with a back-off that doubles. Each
// neighbour has one question at a time, about many certificates. A neighbour is
// known by the index of its interface. It is not for concurrent use.
type Wants struct {
	batch   int
	entries map[addressing.RouterID]*want
	load    map[int]int // entries by first sender
	asking  map[int]bool
}

// want is one router-id whose certificate is missing, or does not list what is
// announced.
type want struct {
	id       addressing.RouterID
	urgent   bool // an update waits; else it is for names only
	first    int  // counts for this neighbour in load
	senders  []sender
	attempts int // without success
	rotation int // through the neighbours that sent nothing
	asked    bool
	due      time.Time
	seen     time.Time // when it was last wanted
}

type sender struct {
	neighbour int
	isEmpty   bool // it was asked, and has none
}

// Question is what to ask of a neighbour.
type Question struct {
	Neighbour int
	IDs       []addressing.RouterID
}

// NewWants makes a planner of questions about at most batch certificates.
func NewWants(batch int) *Wants {
	return &Wants{batch: max(batch, 1), entries: map[addressing.RouterID]*want{}, load: map[int]int{}, asking: map[int]bool{}}
}

// Len is the number of router-ids that are wanted.
func (w *Wants) Len() int { return len(w.entries) }

// Want notes that a neighbour sent what needs the certificate of id. An urgent
// one is asked for before the others. It reports whether the neighbour has been
// asked already, and has no certificate: then it announced what it cannot prove.
func (w *Wants) Want(now time.Time, id addressing.RouterID, neighbour int, urgent bool) (isUnproved bool) {
	e := w.entries[id]
	if e == nil {
		if len(w.entries) >= wantsMax || w.load[neighbour] >= wantsOfOneMax {
			return false
		}
		e = &want{id: id, first: neighbour, due: now}
		w.entries[id] = e
		w.load[neighbour]++
	}
	if urgent && !e.urgent {
		e.urgent, e.due = true, now
	}
	e.seen = now
	i := slices.IndexFunc(e.senders, func(s sender) bool { return s.neighbour == neighbour })
	if i >= 0 {
		return e.senders[i].isEmpty
	}
	if len(e.senders) < sendersMax {
		e.senders = append(e.senders, sender{neighbour: neighbour})
		if urgent && !e.asked {
			e.due = now // somebody new to ask
		}
	}
	return false
}

// Got says that the certificate is there.
func (w *Wants) Got(id addressing.RouterID) (wasUrgent bool) {
	e := w.entries[id]
	if e == nil {
		return false
	}
	w.drop(e)
	return e.urgent
}

func (w *Wants) drop(e *want) {
	delete(w.entries, e.id)
	if w.load[e.first]--; w.load[e.first] == 0 {
		delete(w.load, e.first)
	}
}

// Next is a question that is due, to one of the neighbours that there are; it has
// to be Answered. pressing leaves out those that are not urgent. The neighbours' order matters: it is the order of asking those
// that sent nothing.
func (w *Wants) Next(now time.Time, neighbours []int, pressing bool) (Question, bool) {
	due := make([]*want, 0, len(w.entries))
	for _, e := range w.entries {
		if !e.asked && !e.due.After(now) && (!pressing || e.isPressing()) {
			due = append(due, e)
		}
	}
	slices.SortFunc(due, func(a, b *want) int {
		return cmp.Or(-compareBool(a.isPressing(), b.isPressing()), a.due.Compare(b.due), bytes.Compare(a.id[:], b.id[:]))
	})
	var q Question
	for _, e := range due {
		to, ok := e.target(neighbours)
		switch {
		case !ok || w.asking[to] || len(q.IDs) > 0 && to != q.Neighbour:
			continue
		case len(q.IDs) == w.batch:
			return w.ask(q), true
		}
		q.Neighbour = to
		q.IDs = append(q.IDs, e.id)
	}
	if len(q.IDs) == 0 {
		return Question{}, false
	}
	return w.ask(q), true
}

func (w *Wants) ask(q Question) Question {
	w.asking[q.Neighbour] = true
	for _, id := range q.IDs {
		w.entries[id].asked = true
	}
	return q
}

// isPressing: what could not be proved for a while has no precedence any more.
func (e *want) isPressing() bool { return e.urgent && e.attempts < pressingAttempts }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// target is who to ask next, of those that there are: the senders that are not
// known to have nothing, then all in turn.
func (e *want) target(neighbours []int) (int, bool) {
	for _, s := range e.senders {
		if !s.isEmpty && slices.Contains(neighbours, s.neighbour) {
			return s.neighbour, true
		}
	}
	if len(neighbours) == 0 {
		return 0, false
	}
	return neighbours[e.rotation%len(neighbours)], true
}

// Answered ends a question. For those that got lists, Got was or will be called;
// unreached says that there was no answer at all, so that nothing follows from it
// about what the neighbour has. It returns the urgent ones that the neighbour
// sent and cannot prove.
func (w *Wants) Answered(now time.Time, q Question, got []addressing.RouterID, unreached bool) (unproved []addressing.RouterID) {
	delete(w.asking, q.Neighbour)
	for _, id := range q.IDs {
		e := w.entries[id]
		if e == nil || slices.Contains(got, id) {
			continue
		}
		e.asked = false
		e.attempts++
		e.due = now.Add(backoff(e.attempts))
		i := slices.IndexFunc(e.senders, func(s sender) bool { return s.neighbour == q.Neighbour })
		switch {
		case i < 0 || e.senders[i].isEmpty:
			e.rotation++
		case unreached:
			// Another sender may answer; this one comes last of them next time.
			e.senders = append(slices.Delete(e.senders, i, i+1), sender{neighbour: q.Neighbour})
		default:
			e.senders[i].isEmpty = true
			if e.urgent {
				unproved = append(unproved, id)
			}
			if slices.ContainsFunc(e.senders, func(s sender) bool { return !s.isEmpty }) {
				e.due = now
			}
		}
	}
	return unproved
}

func backoff(attempts int) time.Duration {
	return min(backoffMin<<min(attempts-1, 16), backoffMax)
}

// Deadline is when Next may have something that it has not now; zero: only when
// something is wanted anew or a question is answered.
func (w *Wants) Deadline() time.Time {
	var first time.Time
	for _, e := range w.entries {
		if !e.asked && (first.IsZero() || e.due.Before(first)) {
			first = e.due
		}
	}
	return first
}

// Tidy forgets what nobody has wanted for a while, and neighbours that are gone.
func (w *Wants) Tidy(now time.Time, neighbours []int) {
	for _, e := range w.entries {
		e.senders = slices.DeleteFunc(e.senders, func(s sender) bool { return !slices.Contains(neighbours, s.neighbour) })
		if !e.asked && now.Sub(e.seen) > forgottenAfter {
			w.drop(e)
		}
	}
}
