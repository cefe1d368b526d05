package babel

import "time"

const (
	// A neighbour's receive buffer holds some 90 full datagrams by default, and
	// no implementation read faster than a few hundred in a second.
	bucketSize    = 8
	bucketLeast   = 8   // packets to wake up for
	bucketRate    = 300 // packets a second
	bucketRateMin = 40
	// slowerGap: losses that are noticed together have one cause.
	slowerGap = 200 * time.Millisecond
)

// bucket paces the packets of updates. It goes slower when acknowledgments are
// missing and recovers with those that come.
type bucket struct {
	tokens   float64
	at       time.Time
	rate     float64
	slowedAt time.Time
}

func newBucket(now time.Time) bucket {
	return bucket{tokens: bucketSize, at: now, rate: bucketRate}
}

func (b *bucket) take(now time.Time) bool {
	if now.After(b.at) {
		b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*b.rate, bucketSize)
		b.at = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// ready is when there will be tokens for a few packets: a wake-up costs more
// than a packet.
func (b *bucket) ready() time.Time {
	missing := max(bucketLeast-b.tokens, 0)
	return b.at.Add(time.Duration(missing/b.rate*float64(time.Second)).Round(time.Microsecond) + time.Microsecond)
}

func (b *bucket) slower(now time.Time) {
	if now.Sub(b.slowedAt) >= slowerGap {
		b.rate, b.slowedAt = max(b.rate/2, bucketRateMin), now
	}
}

func (b *bucket) faster() { b.rate = min(b.rate+2, bucketRate) }
