package babel

import "time"

// instant is a time in hundredths of a second, the unit of Babel's intervals: four
// octets without a pointer, where a time.Time has 24 with one. Zero means never.
// It wraps after 497 days; two instants compare right within half of that, and
// whatever is waited for is due within hours.
type instant uint32

const (
	tickLen = 10 * time.Millisecond
	// tickStart keeps what is a little before the epoch apart from never.
	tickStart = time.Hour
)

// tick is the instant of a time, rounded down: what was due then is due.
func (e *Engine) tick(now time.Time) instant {
	return instant(e.ticks(now)).orFirst()
}

// after is a deadline, rounded up: never early.
func (e *Engine) after(now time.Time, d time.Duration) instant {
	return instant(e.ticks(now.Add(d + tickLen - 1))).orFirst()
}

// deadline is a time as a deadline; never if it is zero.
func (e *Engine) deadline(at time.Time) instant {
	if at.IsZero() {
		return 0
	}
	return e.after(at, 0)
}

func (e *Engine) ticks(t time.Time) int64 { return int64((t.Sub(e.epoch) + tickStart) / tickLen) }

// timeOf is the time of an instant, the one that is next to the last input.
func (e *Engine) timeOf(at instant) time.Time {
	if at == 0 {
		return time.Time{}
	}
	last := e.ticks(e.latest)
	ahead := int64(int32(at - instant(last)))
	return e.epoch.Add(time.Duration(last+ahead)*tickLen - tickStart)
}

// orFirst keeps a time that has wrapped onto zero from meaning never.
func (at instant) orFirst() instant { return max(at, 1) }

// isDue tells whether a deadline that is set has come.
func (at instant) isDue(now instant) bool { return at != 0 && int32(now-at) >= 0 }

// isBefore orders two instants that are set.
func (at instant) isBefore(other instant) bool { return int32(at-other) < 0 }

// sooner is the first of two deadlines, of which either may be never.
func sooner(a, b instant) instant {
	if a == 0 || b != 0 && b.isBefore(a) {
		return b
	}
	return a
}
