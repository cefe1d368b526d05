package tunnel

import (
	"slices"
	"time"

	"re6st/tunnel/control"
)

// view is one Input while a decision about it is being made.
type view struct {
	Input
	now      time.Time
	taken    map[PeerID]bool // already part of a round or of the decision
	decision Decision
}

// regular are the own tunnels that count for the number that is wanted: those on demand come on top, and of a pair that
// is being exchanged one counts.
func (v *view) regular() []Own {
	out := make([]Own, 0, len(v.Own))
	for _, o := range v.Own {
		if o.Reason != control.Demand && !o.Replacing {
			out = append(out, o)
		}
	}
	return out
}

func (v *view) count(r control.Reason) int {
	n := 0
	for _, o := range v.regular() {
		if o.Reason == r {
			n++
		}
	}
	return n
}

// eligible are the nodes to which a tunnel may be opened. Those that are known to carry nothing for others are so only
// if there are no others: they open tunnels of their own, by which they are reached. Who has no tunnel at all takes any.
func (v *view) eligible() []PeerID {
	out := make([]PeerID, 0, len(v.Known))
	var ends []PeerID
	for _, k := range v.Known {
		a, answered := v.Answers[k.Peer]
		useless := answered && (a.Failed || a.Room == 0)
		if k.Neighbour || k.Blocked || useless || v.taken[k.Peer] {
			continue
		}
		if answered && a.NoTransit && v.Connected > 0 {
			ends = append(ends, k.Peer)
		} else {
			out = append(out, k.Peer)
		}
	}
	if len(out) == 0 {
		return ends
	}
	return out
}

// withTransit are those that lead elsewhere. To fill a gap one that does not is better than none.
func (v *view) withTransit(r round, fit []PeerID) []PeerID {
	isEnd := func(p PeerID) bool { return v.Answers[p].NoTransit }
	lead := slices.DeleteFunc(slices.Clone(fit), isEnd)
	isGap := r.purpose == fill && r.victim == (PeerID{})
	if len(lead) == 0 && isGap && !slices.ContainsFunc(v.eligible(), func(p PeerID) bool { return !isEnd(p) }) {
		return fit
	}
	return lead
}

// open adds a tunnel to the decision.
func (v *view) open(p PeerID, reason control.Reason, replaces PeerID) {
	v.taken[p] = true
	v.decision.Open = append(v.decision.Open, Open{Peer: p, Reason: reason, Method: v.method(p), Replaces: replaces})
}

// method follows from who can be called: a node behind NAT is asked through the mesh to call back.
func (v *view) method(p PeerID) Method {
	for _, k := range v.Known {
		switch {
		case k.Peer != p || !k.NAT:
		case v.NAT:
			return Punch
		default:
			return CallBack
		}
	}
	return Direct
}

// destinationsVia counts the destinations of which a neighbour is the next hop.
func (v *view) destinationsVia() map[PeerID]int {
	n := make(map[PeerID]int)
	for _, d := range v.Destinations {
		if d.Metric < Unreachable {
			n[d.Via]++
		}
	}
	return n
}

// victim is the elected own tunnel that serves the fewest destinations; of equal ones the oldest. One that carries much
// traffic to its peer stays.
func (v *view) victim() (PeerID, bool) {
	via := v.destinationsVia()
	var best *Own
	own := v.regular()
	for i, o := range own {
		if o.Reason != control.Elected || !o.Up || o.Leaving || v.isBusy(o.Peer) {
			continue
		}
		if best == nil || via[o.Peer] < via[best.Peer] || via[o.Peer] == via[best.Peer] && o.Since.Before(best.Since) {
			best = &own[i]
		}
	}
	if best == nil {
		return PeerID{}, false
	}
	return best.Peer, true
}

// oldestRandom is the random tunnel whose turn it is to go.
func (v *view) oldestRandom() (PeerID, bool) {
	var best *Own
	own := v.regular()
	for i, o := range own {
		if o.Reason == control.Random && o.Up && !o.Leaving && (best == nil || o.Since.Before(best.Since)) {
			best = &own[i]
		}
	}
	if best == nil {
		return PeerID{}, false
	}
	return best.Peer, true
}

// surplus is what to close when there are too many.
func (v *view) surplus() (PeerID, bool) {
	if p, ok := v.victim(); ok {
		return p, true
	}
	return v.oldestRandom()
}

// complete is true when every member of a round has answered.
func (v *view) complete(r round) bool {
	for _, m := range r.members {
		if _, ok := v.Answers[m]; !ok {
			return false
		}
	}
	return true
}

// settle ends a round. Who did not answer, became a neighbour meanwhile, or has no room, is out.
func (v *view) settle(r round) {
	var fit []PeerID
	for _, m := range r.members {
		if a, ok := v.Answers[m]; ok && !a.Failed && a.Room > 0 && !v.isNeighbour(m) {
			fit = append(fit, m)
		}
	}
	fit = v.withTransit(r, fit)
	if len(fit) == 0 || r.victim != (PeerID{}) && !v.replaceable(r.victim) {
		return
	}
	if r.purpose == fill {
		v.open(v.leastLoaded(fit), r.reason, r.victim)
		return
	}
	if z, ok := v.mostSaving(fit, r.victim); ok {
		v.open(z, r.reason, r.victim)
	}
}

func (v *view) isNeighbour(p PeerID) bool {
	for _, k := range v.Known {
		if k.Peer == p {
			return k.Neighbour
		}
	}
	return true // forgotten meanwhile
}

func (v *view) replaceable(victim PeerID) bool {
	for _, o := range v.Own {
		if o.Peer == victim {
			return o.Up && !o.Leaving
		}
	}
	return false
}

func (v *view) leastLoaded(fit []PeerID) PeerID {
	best := fit[0]
	for _, p := range fit[1:] {
		if v.Answers[p].Incoming < v.Answers[best].Incoming {
			best = p
		}
	}
	return best
}

// mostSaving is the candidate that shortens the way to itself most, if it is better than what the victim saves.
func (v *view) mostSaving(fit []PeerID, victim PeerID) (PeerID, bool) {
	kept := v.savingOfOwn(victim)
	best, most, ok := PeerID{}, 0.0, false
	for _, p := range fit {
		rtt := v.Answers[p].RTT
		if rtt == 0 {
			continue // reached through the mesh only: nothing is known of the direct way
		}
		if s := v.without(p, victim) - cost(rtt); s > savingFactor*kept && (!ok || s > most) {
			best, most, ok = p, s, true
		}
	}
	return best, ok && most > 0
}

// savingOfOwn is what the tunnel to a neighbour shortens the way to that neighbour.
func (v *view) savingOfOwn(p PeerID) float64 {
	for _, o := range v.Own {
		if o.Peer == p {
			return max(0, v.without(p, p)-cost(o.RTT))
		}
	}
	return 0
}

// without is the metric to a node if a neighbour were gone.
func (v *view) without(p, gone PeerID) float64 {
	d, ok := v.Destinations[p]
	switch {
	case !ok:
		return Unreachable
	case d.Via == gone:
		return float64(d.Alternate)
	}
	return float64(d.Metric)
}

// cost is the metric that a tunnel of this RTT would have: 4 for the hop and 4 per millisecond.
func cost(rtt time.Duration) float64 {
	return min(costMax, hopCost+costPerMs*float64(rtt)/float64(time.Millisecond))
}
