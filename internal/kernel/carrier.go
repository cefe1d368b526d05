package kernel

import (
	"log/slog"
	"time"
)

// The kernel tells of lost carriers once a second, so that a driver that goes mad
// does not flood its listeners (linkwatch_fire_event in net/core/link_watch.c).
// When a switch dies, one port is told of at once and the others up to a second
// later, and what is sent over them is lost. But when asked, it says what is. So
// after a lost carrier it is asked, for as long as the next ones may be late.
const (
	carrierPause = 100 * time.Millisecond
	// carrierTime is two of the kernel's seconds: what was found by asking is told
	// of at the end of the one, which begins the other.
	carrierTime = 2200 * time.Millisecond
)

// carriers says when to ask. It is the watcher's.
type carriers struct{ next, until time.Time }

// lost: a carrier was.
func (c *carriers) lost(now time.Time) { c.next, c.until = now.Add(carrierPause), now.Add(carrierTime) }

// before is the time for which to wait at most.
func (c *carriers) before(t time.Time) time.Time {
	if c.next.IsZero() || t.Before(c.next) {
		return t
	}
	return c.next
}

// isDue says whether to ask now, and puts the next time off.
func (c *carriers) isDue(now time.Time) bool {
	if c.next.IsZero() || now.Before(c.next) {
		return false
	}
	if c.next = now.Add(carrierPause); now.After(c.until) {
		c.next = time.Time{}
	}
	return true
}

// askCarriers heeds what the kernel has not told yet. Links that come, come up or
// go are told of at once, and are left to their events.
func (h *Host) askCarriers(d *dirt, log *slog.Logger) {
	links, err := h.Links()
	if err != nil {
		log.Warn("looking for lost carriers", "err", err)
		return
	}
	for _, l := range links {
		if !l.Up && h.subscribers.isUp(l.Index) {
			h.noteLink(d, LinkEvent{Link: l})
			d.carrier = true
		}
	}
}
