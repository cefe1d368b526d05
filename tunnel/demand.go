package tunnel

import (
	"cmp"
	"slices"
	"time"

	"re6st/tunnel/control"
)

// Tunnels on demand spare the relays. They gain little latency in a mesh that is well chosen, so they are few, and there
// must be much traffic for a while.
const (
	demandOpenRate  = 125_000.0 // bytes per second: 1 Mbit/s
	demandCloseRate = demandOpenRate / 10
	// demandOpenWait is how long traffic of this node's own must last, and demandCloseWait how long there must be little. A
	// short refresh shortens them: to half of one, so that the tunnel carries within two of the traffic's beginning, and to
	// two.
	demandOpenWait  = 5 * time.Second
	demandCloseWait = time.Minute
	// A relay waits so many times longer: whoever sends it the traffic can spare more relays, and has the first go.
	demandRelayFactor = 4
	// demandShun is for how long a peer gets no other such tunnel after one that the routing did not use: the way by relays
	// is the better one.
	demandShun = 10 * time.Minute
	// demandExchange is how much more a destination must carry than that whose tunnel it takes.
	demandExchange = 2
)

// demandSince is since when a destination's traffic is on one side of the threshold.
type demandSince struct {
	high  bool
	since time.Time
	due   time.Time // when this is long enough to act
	at    time.Time // when it was looked at last
}

func (d Demand) all() float64 { return d.BytesPerSecond + d.Carried }

// onDemand opens tunnels to the destinations that carry most, and closes those that no longer do.
func (s *Selector) onDemand(v *view) {
	rate := make(map[PeerID]float64, len(v.Demand))
	for _, d := range v.Demand {
		rate[d.Peer] = d.all()
	}
	held := s.holdDemand(v, rate)
	for _, d := range v.busiest() {
		wait := v.demandWait()
		if d.BytesPerSecond < demandOpenRate {
			wait *= demandRelayFactor
		}
		isWanted := d.all() >= demandOpenRate && s.mayDemand(v, d.Peer)
		if !s.lasts(v.now, d.Peer, true, isWanted, wait) {
			continue
		}
		if len(held) < v.Parameters.DemandTunnels {
			v.open(d.Peer, control.Demand, PeerID{})
			held = append(held, Own{Peer: d.Peer}) // not up: nothing takes its place
		} else if i := leastDemanded(held, rate); i >= 0 && d.all() > demandExchange*rate[held[i].Peer] {
			v.open(d.Peer, control.Demand, held[i].Peer)
			held[i] = Own{Peer: d.Peer}
		}
	}
	for p, x := range s.demand {
		if !x.at.Equal(v.now) {
			delete(s.demand, p) // neither a tunnel on demand nor traffic any more
		}
	}
}

// holdDemand returns the tunnels on demand that stay. It closes those that carry little, those that the routing does not
// use, and the least used of those that are too many now: the network's parameter may have changed.
func (s *Selector) holdDemand(v *view, rate map[PeerID]float64) []Own {
	var held []Own
	for _, o := range v.Own {
		switch {
		case o.Reason != control.Demand || o.Leaving:
		case s.lasts(v.now, o.Peer, false, rate[o.Peer] < demandCloseRate || v.isBypassed(o), v.demandPatience()):
			if rate[o.Peer] >= demandCloseRate {
				s.shunned[o.Peer] = v.now.Add(demandShun)
			}
			v.decision.Close = append(v.decision.Close, o.Peer)
		default:
			held = append(held, o)
		}
	}
	slices.SortStableFunc(held, func(a, b Own) int { return cmp.Compare(rate[b.Peer], rate[a.Peer]) })
	for len(held) > max(0, v.Parameters.DemandTunnels) {
		last := len(held) - 1
		v.decision.Close = append(v.decision.Close, held[last].Peer)
		held = held[:last]
	}
	return held
}

// mayDemand tells whether a tunnel to the peer could be opened. One that is full may have a place for such tunnels.
func (s *Selector) mayDemand(v *view, p PeerID) bool {
	for q, until := range s.shunned {
		if !v.now.Before(until) {
			delete(s.shunned, q)
		}
	}
	if _, isShunned := s.shunned[p]; isShunned || v.taken[p] {
		return false
	}
	for _, k := range v.Known {
		if k.Peer == p {
			return !k.Neighbour && (!k.Blocked || k.Full) && !v.Answers[p].Failed
		}
	}
	return false
}

// leastDemanded is the index of the tunnel that could give its place, or -1.
func leastDemanded(held []Own, rate map[PeerID]float64) int {
	best := -1
	for i, o := range held {
		if o.Up && !o.Replacing && (best < 0 || rate[o.Peer] < rate[held[best].Peer]) {
			best = i
		}
	}
	return best
}

// busiest is the demand, most first.
func (v *view) busiest() []Demand {
	return slices.SortedFunc(slices.Values(v.Demand), func(a, b Demand) int {
		return cmp.Or(cmp.Compare(b.all(), a.all()), compareIDs(a.Peer, b.Peer))
	})
}

// isBusy is true for the peers that would get a tunnel on demand if they had none: theirs is not one to be replaced.
func (v *view) isBusy(p PeerID) bool {
	for i, d := range v.busiest() {
		switch {
		case i == v.Parameters.DemandTunnels || d.all() < demandOpenRate:
			return false
		case d.Peer == p:
			return true
		}
	}
	return false
}

// isBypassed is true of a tunnel that is not the way to its own peer.
func (v *view) isBypassed(o Own) bool {
	d, ok := v.Destinations[o.Peer]
	return o.Up && ok && d.Metric < Unreachable && d.Via != o.Peer
}

func (v *view) demandWait() time.Duration {
	return min(demandOpenWait, v.Parameters.Refresh/2)
}

func (v *view) demandPatience() time.Duration {
	return min(demandCloseWait, 2*v.Parameters.Refresh)
}

// lasts is true when a condition has held for a while, once for each time that it begins to.
func (s *Selector) lasts(now time.Time, p PeerID, high, holds bool, wait time.Duration) bool {
	x, ok := s.demand[p]
	if !holds {
		if ok && x.high == high {
			delete(s.demand, p)
		}
		return false
	}
	if !ok || x.high != high {
		x = demandSince{high: high, since: now}
	}
	x.at, x.due = now, x.since.Add(wait)
	if now.Before(x.due) {
		s.demand[p] = x
		return false
	}
	delete(s.demand, p)
	return true
}
