package babel

import "time"

// alarm is when an entry wants to be looked at. Entries are many and their
// deadlines move with each Update, so theirs are no timers: eight octets in a
// heap, which is not touched when a deadline moves away. An alarm that rings is
// good if it is the one that the entry still waits for.
type alarm struct {
	at     instant
	number int32
}

type alarms []alarm

// before is by time, and by number so that the order follows from the inputs.
func (a alarm) before(b alarm) bool {
	return a.at.isBefore(b.at) || a.at == b.at && a.number < b.number
}

// wakeAt makes the entry fire at the instant or before.
func (p *entry) wakeAt(at instant) {
	if at == 0 || p.isGone() || p.wake != 0 && !at.isBefore(p.wake) {
		return
	}
	p.wake = at
	p.e.alarms.add(alarm{at, p.number})
	if len(p.e.alarms) > 2*p.e.entries.count+64 {
		p.e.rebuildAlarms()
	}
}

// rebuildAlarms leaves out those that nobody waits for.
func (e *Engine) rebuildAlarms() {
	old := e.alarms
	e.alarms = make(alarms, 0, e.entries.count+e.entries.count/8+16)
	for _, a := range old {
		if p := e.whose(a); p != nil {
			e.alarms.add(a)
			p.wake = 0 // once
		}
	}
	for _, a := range e.alarms {
		e.entries.all[a.number].wake = a.at
	}
}

// whose is the entry that still waits for the alarm, or nil.
func (e *Engine) whose(a alarm) *entry {
	if int(a.number) >= len(e.entries.all) {
		return nil
	}
	if p := e.entries.all[a.number]; p != nil && p.wake == a.at {
		return p
	}
	return nil
}

// nextAlarm is when the next entry wants to be looked at. Those whose deadline
// has moved away wait for the new one.
func (e *Engine) nextAlarm() time.Time {
	for len(e.alarms) > 0 {
		at := e.alarms[0].at
		p := e.whose(e.alarms[0])
		due := instant(0)
		if p != nil {
			due = p.due()
		}
		if due != 0 && !at.isBefore(due) {
			return e.timeOf(at)
		}
		e.alarms.pop()
		if p != nil {
			p.wake = 0
			p.wakeAt(due)
		}
	}
	return time.Time{}
}

// ring fires the entries that are due. One that is due again at once is a bug
// that would never end: it waits for the next tick.
func (e *Engine) ring(now time.Time) {
	var again []*entry
	t := e.tick(now)
	for len(e.alarms) > 0 && e.alarms[0].at.isDue(t) {
		p := e.whose(e.alarms.pop())
		if p == nil {
			continue
		}
		p.wake = 0
		p.fire(now)
		p.wakeAt(p.due())
		if p.wake.isDue(t) {
			p.wake = 0
			again = append(again, p)
		}
	}
	for _, p := range again {
		p.wakeAt((t + 1).orFirst())
	}
}

// A heap of four children: fewer levels, and the children share a cache line.
const alarmChildren = 4

func (h *alarms) add(a alarm) {
	*h = append(*h, a)
	s, i := *h, len(*h)-1
	for i > 0 {
		parent := (i - 1) / alarmChildren
		if !a.before(s[parent]) {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	s[i] = a
}

func (h *alarms) pop() alarm {
	s := *h
	first, last := s[0], len(s)-1
	a := s[last]
	s = s[:last]
	*h = s
	if last == 0 {
		return first
	}
	i := 0
	for {
		least := alarmChildren*i + 1
		if least >= last {
			break
		}
		for c := least + 1; c < min(alarmChildren*i+1+alarmChildren, last); c++ {
			if s[c].before(s[least]) {
				least = c
			}
		}
		if !s[least].before(a) {
			break
		}
		s[i] = s[least]
		i = least
	}
	s[i] = a
	return first
}
