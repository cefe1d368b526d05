package babel

import (
	"math/bits"
	"time"
)

const (
	// A link is busy when it carried data in activityMin of the last
	// activityLooks looks. A burst is not enough: the control API's exchanges, a
	// keepalive or a neighbour solicitation last no two seconds, a conversation
	// does.
	activityMin   = 3
	activityLooks = 4
	// activityHold keeps a link busy for a while, so that a conversation with
	// pauses does not change the interval at each of them.
	activityHold = 10 * time.Second
)

// Activity tells the links that carry data from those that do not, so that
// Hellos are frequent where a failure would be felt, and cheap elsewhere. It
// looks at packet counters; its zero value is ready.
type Activity struct {
	links map[int]traffic
}

type traffic struct {
	packets   uint64
	looks     uint8 // the latest in the lowest bit: whether there was data
	busyUntil time.Time
}

// Observe takes the number of packets that a link has carried so far, without
// Babel's own, and says whether the link is busy. It is to be called about once
// a second.
func (a *Activity) Observe(now time.Time, index int, packets uint64) (isBusy bool) {
	if a.links == nil {
		a.links = make(map[int]traffic)
	}
	t, isKnown := a.links[index]
	t.looks = t.looks << 1 & (1<<activityLooks - 1)
	// Counters that went back are those of another link of the same index.
	if isKnown && packets > t.packets {
		t.looks |= 1
	}
	if bits.OnesCount8(t.looks) >= activityMin {
		t.busyUntil = now.Add(activityHold)
	}
	t.packets = packets
	a.links[index] = t
	return now.Before(t.busyUntil)
}

// Forget drops a link that is gone.
func (a *Activity) Forget(index int) { delete(a.links, index) }
