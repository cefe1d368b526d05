package babel

import "time"

// timer is something with a deadline. at is never later than what its owner is
// really waiting for: deadlines that move away cost nothing until the old one
// fires and the owner looks again.
type timer struct {
	at    time.Time // zero: not in the heap
	index int
	owner fires
}

type fires interface {
	// fire does what is due.
	fire(now time.Time)
	// due is the next deadline, zero if there is none.
	due() time.Time
}

// timers is a heap by at. container/heap would box each value.
type timers []*timer

// wake makes t fire at the time or before.
func (h *timers) wake(t *timer, at time.Time) {
	switch {
	case at.IsZero():
	case t.at.IsZero():
		t.at, t.index = at, len(*h)
		*h = append(*h, t)
		h.up(t.index)
	case at.Before(t.at):
		t.at = at
		h.up(t.index)
	}
}

func (h *timers) remove(t *timer) {
	if t.at.IsZero() {
		return
	}
	i, last := t.index, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	t.at = time.Time{}
	if i < last {
		h.down(i)
		h.up(i)
	}
}

// run fires everything that is due. An owner that is due again at once is a bug
// that would never end: it waits until the next Advance.
func (h *timers) run(now time.Time) {
	var again []*timer
	for len(*h) > 0 && !(*h)[0].at.After(now) {
		t := (*h)[0]
		h.remove(t)
		t.owner.fire(now)
		h.remove(t) // fire may have woken its own
		if next := t.owner.due(); next.After(now) {
			h.wake(t, next)
		} else if !next.IsZero() {
			again = append(again, t)
		}
	}
	for _, t := range again {
		h.wake(t, now.Add(time.Millisecond))
	}
}

// next is the first deadline. Those that have moved away are put where they
// belong now, so that nobody is woken for nothing.
func (h *timers) next() time.Time {
	for len(*h) > 0 {
		t := (*h)[0]
		due := t.owner.due()
		if !due.IsZero() && !due.After(t.at) {
			return t.at
		}
		h.remove(t)
		h.wake(t, due)
	}
	return time.Time{}
}

func (h timers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].at.Before(h[parent].at) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h timers) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].at.Before(h[least].at) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

// earliest is the first of the times that are not zero.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// isDue tells whether a deadline that is set has come.
func isDue(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }
