package babel

import (
	"time"

	"re6st/babel/wire"
)

const (
	// rttSmoothing is the weight of the past (RFC 9616, section 4.1).
	rttSmoothing = 0.836
	// rttAgeMax bounds what a timestamp may span (section 3), and how long a
	// sample is worth anything.
	rttAgeMax = 3 * time.Minute
)

// rtt is the round-trip time to a neighbour (RFC 9616).
type rtt struct {
	isKnown bool
	ms      float64 // smoothed
	at      time.Time

	// Of the neighbour's last Hello: its clock, ours, and when.
	hasHello bool
	transmit uint32
	receive  uint32
	heard    time.Time
}

func (r *rtt) noteHello(now time.Time, transmit, receive uint32) {
	r.hasHello, r.transmit, r.receive, r.heard = true, transmit, receive, now
}

// echo is what goes into our IHU. An old stamp would only be refused.
func (r *rtt) echo(now time.Time) wire.Echo {
	if !r.hasHello || now.Sub(r.heard) > rttAgeMax {
		return wire.Echo{}
	}
	return wire.Echo{Present: true, Origin: r.transmit, Receive: r.receive}
}

// sample takes the four times of section 3: our Hello left at t1 and came at t1r
// (the neighbour's clock), its packet left at t2 and came at t2r. All are modulo
// 2^32 microseconds; spans that are negative or too long are no sample.
func (r *rtt) sample(now time.Time, t1, t1r, t2, t2r uint32) {
	const longest = uint32(rttAgeMax / time.Microsecond)
	there, here := t2-t1r, t2r-t1
	if there > longest || here > longest {
		return
	}
	// Clocks differ in rate: never below zero, which would wrap to an hour.
	ms := max(float64(int64(here)-int64(there)), 0) / 1000
	if r.isKnown && now.Sub(r.at) < rttAgeMax {
		ms = rttSmoothing*r.ms + (1-rttSmoothing)*ms
	}
	r.isKnown, r.ms, r.at = true, ms, now
}

// age drops what is known when no sample has come for too long: the neighbour does
// not say timestamps any more.
func (r *rtt) age(now time.Time) {
	if isDue(r.due(), now) {
		r.isKnown = false
	}
}

func (r *rtt) due() time.Time {
	if !r.isKnown {
		return time.Time{}
	}
	return r.at.Add(rttAgeMax)
}

func (r *rtt) duration() time.Duration {
	return time.Duration(r.ms * float64(time.Millisecond))
}
