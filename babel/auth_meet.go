package babel

import (
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

// meeting is how a link with keys begins. A router that has restarted forgot the
// feasibility distances by which its neighbours may be routing through it, and
// must not use what they tell before they know of the restart: that would make a
// loop. Without MAC they know by its first Hello. With a MAC they drop that until
// they have challenged it, and go on saying "I hear you", which is about the
// Hellos of the earlier life. So the first Hellos ask for an acknowledgment, and
// before that an IHU does not count.
type meeting struct {
	until  time.Time
	opaque uint16
	met    []netip.Addr
}

// meetMax is for neighbours that do not acknowledge, against the standard.
const meetMax = 10 * time.Second

func (l *link) beginMeeting(now time.Time) {
	if l.auth != nil {
		// The upper half is far from the numbers of flights, and chance from those of
		// an earlier life.
		l.auth.meeting = meeting{until: now.Add(meetMax), opaque: 1<<15 | uint16(l.e.Rand.Uint32())}
	}
}

func (a *auth) isMeeting(now time.Time) bool { return a != nil && now.Before(a.meeting.until) }

// addMeeting asks who has heard the Hello before it.
func (l *link) addMeeting(now time.Time, b *batch) {
	if l.auth.isMeeting(now) {
		b.add(&wire.AckRequest{Opaque: l.auth.meeting.opaque, Interval: wire.IntervalOf(ackInterval)})
	}
}

// meet takes an Ack. That it names the number is the proof, also of one that has
// no keys yet and is accepted unsigned.
func (a *auth) meet(now time.Time, from netip.Addr, opaque uint16) {
	if a.isMeeting(now) && opaque == a.meeting.opaque && !slices.Contains(a.meeting.met, from) {
		a.meeting.met = append(a.meeting.met, from)
	}
}

// isForEarlierLife tells whether an IHU may not be about us.
func (a *auth) isForEarlierLife(now time.Time, from netip.Addr) bool {
	return a.isMeeting(now) && !slices.Contains(a.meeting.met, from)
}
