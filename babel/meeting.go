package babel

import (
	"time"

	"re6st/babel/wire"
)

const (
	askAllWait = 2 * time.Second
	// The first few come after the same wait, the others after twice the last: a
	// cut of one direction may swallow them, and the next dump may be minutes away.
	askAllsQuick = 3
	askAllsMax   = 8
	// One that does tell, but not all that it once told, may have nothing more.
	askAllsMore = 2
	// askAllLast is how long Updates that keep coming are waited for.
	askAllLast = 10 * time.Second
)

// noteTold: the neighbour tells its routes.
func (n *neighbour) noteTold(now time.Time, isFinite bool) {
	if n.link.Kind != Tunnel {
		// It was asked when it came; but not yet if this is in the very packet that
		// made it reachable, and a change of its routes instead of all of them.
		if n.askAlls > 0 {
			n.askAllAt = time.Time{}
		}
		return
	}
	if isFinite {
		if n.told == 0 {
			n.askAlls = max(n.askAlls, askAllsMax-askAllsMore)
		}
		n.told++
		n.toldAt = now
	}
}

// askAll is for a neighbour that should have told its routes by now. On a tunnel
// it does so unasked; but if only we had lost it, after a suspend or because its
// packets alone were lost, it does not know, and the few Updates that come are
// what happens to change. So it must have told as much as it ever had.
func (n *neighbour) askAll(now time.Time) {
	n.askAllAt = time.Time{}
	next := n.toldAt.Add(askAllWait)
	switch {
	case n.told > 0 && next.After(now) && now.Sub(n.since) < askAllLast:
		n.askAllAt = next // it is telling them
		return
	case n.told > 0 && n.told >= n.link.toldMost && !n.isDoubtful() && !n.link.e.isAfterLapse(now):
		return
	}
	if n.askAlls++; n.askAlls <= askAllsMax {
		n.askAllAt = now.Add(askAllWait)
		if n.told == 0 {
			n.askAllAt = now.Add(askAllWait << max(n.askAlls-askAllsQuick, 0))
		}
		n.ask(now, &wire.RouteRequest{})
	}
}

// isAfterLapse: time has passed unseen, neighbours were forgotten, and with them how
// much they used to tell. To them nothing has happened: they tell what changes only,
// which may be more than we remember.
func (e *Engine) isAfterLapse(now time.Time) bool {
	return !e.lapsed.IsZero() && now.Sub(e.lapsed) < doubtTime
}

// isDoubtful: some of its routes were not said again since it was lost.
func (n *neighbour) isDoubtful() bool {
	for _, r := range n.learnt() {
		if r.is(doubtful) {
			return true
		}
	}
	return false
}

const (
	// doubtTime is for how long a route of a neighbour that was lost is believed
	// without being said again: it tells everything now, or is asked to. A large
	// table takes longer.
	doubtTime = 60 * time.Second
	doubtRate = 500 // routes a second
	// freshTime: the neighbour could use the link before we could, and may have
	// told everything already.
	freshTime = 5 * time.Second
)

// doubtRoutes is for a tunnel's neighbour that has come back with the routes that
// we knew. What it retracted meanwhile we did not hear, and with the long Update
// intervals of tunnels it would be a black hole for a quarter of an hour.
func (n *neighbour) doubtRoutes(now time.Time) {
	if n.link.Kind != Tunnel {
		return
	}
	e := n.link.e
	fresh := e.tick(now.Add(-freshTime))
	until := e.after(now, doubtTime+time.Duration(len(n.routes))*time.Second/doubtRate)
	for p, r := range n.learnt() {
		told := r.expires - expiryTicks(r.interval)
		if until.isBefore(r.expires) && told.isBefore(fresh) {
			r.expires = until
			r.set(asked, true) // all at once, not one by one
			p.wakeAt(p.routeDue(r))
		}
	}
}
