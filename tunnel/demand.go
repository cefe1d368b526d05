package tunnel

import (
	"time"

	"re6st/tunnel/control"
)

// Tunnels on demand spare the relays. They gain little latency in a mesh that is well chosen, so they are few, and there
// must be much traffic for a while.
const (
	demandOpenRate  = 125_000.0 // bytes per second: 1 Mbit/s
	demandCloseRate = demandOpenRate / 10
	demandOpenWait  = 5 * time.Second
	demandCloseWait = time.Minute
	demandMax       = 4
)

// demandSince is since when a destination's traffic is on one side of the threshold.
type demandSince struct {
	high bool
	due  time.Time // when this is long enough to act
	at   time.Time // when it was looked at last
}

// onDemand opens tunnels to the destinations that carry most, and closes those that no longer do.
func (s *Selector) onDemand(v *view) {
	rate := make(map[PeerID]float64, len(v.Demand))
	for _, d := range v.Demand {
		rate[d.Peer] = d.BytesPerSecond
	}
	held := 0
	for _, o := range v.Own {
		if o.Reason != control.Demand {
			continue
		}
		held++
		if s.lasts(v.now, o.Peer, false, rate[o.Peer] < demandCloseRate, demandCloseWait) {
			v.decision.Close = append(v.decision.Close, o.Peer)
		}
	}
	eligible := make(map[PeerID]bool)
	if len(v.Demand) > 0 {
		for _, p := range v.eligible() {
			eligible[p] = true
		}
	}
	for _, d := range v.Demand {
		lasts := s.lasts(v.now, d.Peer, true, eligible[d.Peer] && d.BytesPerSecond >= demandOpenRate, demandOpenWait)
		if lasts && held < demandMax {
			held++
			v.open(d.Peer, control.Demand, PeerID{})
		}
	}
	for p, x := range s.demand {
		if !x.at.Equal(v.now) {
			delete(s.demand, p) // neither a tunnel on demand nor traffic any more
		}
	}
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
		s.demand[p] = demandSince{high: high, due: now.Add(wait), at: now}
		return false
	}
	if now.Before(x.due) {
		x.at = now
		s.demand[p] = x
		return false
	}
	delete(s.demand, p)
	return true
}
