package babel

import (
	"time"

	"re6st/babel/wire"
)

const (
	// dropsQuiet is how long the socket must have lost nothing before neighbours
	// are asked: their answer would only be lost in the same flood.
	dropsQuiet = 300 * time.Millisecond
	// dropsWaitMin is the least time between two rounds of requests; it doubles
	// while the answers themselves are lost.
	dropsWaitMin = 2 * time.Second
	dropsWaitMax = 2 * time.Minute
	// dropsGap is between the requests to two neighbours of a link: each answers
	// with a dump.
	dropsGap = 500 * time.Millisecond
)

// drops is what is done about datagrams that our socket has lost.
type drops struct {
	askAt time.Time // of the next request; zero: nothing to ask
	left  int       // neighbours of this round that were not asked yet; 0: none begun
	again bool      // lost during the round: another one follows
	began time.Time // of the last round
	wait  time.Duration
}

// SocketDrops says that the socket of a link has lost datagrams: Updates may have
// been among them. The neighbours are asked for everything, one after the other,
// when the flood is over. However often it is called, it makes no storm.
func (e *Engine) SocketDrops(now time.Time, index int) {
	l := e.link(index)
	if !e.begin(now) || l == nil {
		return
	}
	d := &l.drops
	d.again = d.left > 0
	d.askAt = later(now.Add(dropsQuiet), d.next())
	l.wake()
}

// next is the earliest time of the next request.
func (d *drops) next() time.Time {
	if d.left > 0 || d.began.IsZero() {
		return time.Time{}
	}
	return d.began.Add(d.wait)
}

// askAgain asks the next neighbour of the round, or the first of another one.
func (l *link) askAgain(now time.Time) {
	d := &l.drops
	d.askAt = time.Time{}
	if d.left == 0 {
		d.begin(now, len(l.neighbours))
	}
	if d.left = min(d.left, len(l.neighbours)); d.left == 0 {
		return
	}
	d.left--
	l.neighbours[d.left].ask(now, &wire.RouteRequest{})
	switch {
	case d.left > 0:
		d.askAt = now.Add(dropsGap)
	case d.again:
		d.again, d.askAt = false, d.began.Add(d.wait)
	}
}

// begin is a new round: the sooner after the last, the longer until the next.
func (d *drops) begin(now time.Time, neighbours int) {
	if d.began.IsZero() || now.Sub(d.began) > 2*dropsWaitMax {
		d.wait = dropsWaitMin
	} else {
		d.wait = min(2*d.wait, dropsWaitMax)
	}
	d.began, d.left = now, neighbours
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
