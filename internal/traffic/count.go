package traffic

import (
	"math"
	"time"
)

// Count is an amount of traffic.
type Count struct{ Packets, Bytes uint64 }

func (c Count) plus(o Count) Count { return Count{c.Packets + o.Packets, c.Bytes + o.Bytes} }

// since is how much came after an earlier reading of the same counter. One that
// is smaller than before began anew in between.
func (c Count) since(before Count) Count {
	if c.Packets < before.Packets || c.Bytes < before.Bytes {
		return c
	}
	return Count{c.Packets - before.Packets, c.Bytes - before.Bytes}
}

// Rate is traffic per second.
type Rate struct{ Packets, Bytes float64 }

// Stream is some traffic: how much in all, and how fast now.
type Stream struct {
	Total Count
	Rate  Rate

	fresh Count // not in Rate yet
}

func (s *Stream) add(c Count) {
	s.Total = s.Total.plus(c)
	s.fresh = s.fresh.plus(c)
}

// still is below what anybody wants to see: one small packet in a minute.
const still = 1.0

// step takes what is fresh into the rate: it came within dt, and has this weight
// against what was before.
func (s *Stream) step(dt time.Duration, weight float64) {
	seconds := dt.Seconds()
	s.Rate.Packets += weight * (float64(s.fresh.Packets)/seconds - s.Rate.Packets)
	s.Rate.Bytes += weight * (float64(s.fresh.Bytes)/seconds - s.Rate.Bytes)
	if s.fresh == (Count{}) && s.Rate.Bytes < still {
		s.Rate = Rate{}
	}
	s.fresh = Count{}
}

// weightOf is that of a sample after dt in an average that forgets with a time
// constant: uneven samples count for as long as they lasted.
func weightOf(dt, constant time.Duration) float64 {
	return 1 - math.Exp(-dt.Seconds()/constant.Seconds())
}
