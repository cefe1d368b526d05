package babel

import (
	"math"
	"time"
)

const (
	costNominal = 96 // appendix B
	// Of a tunnel: 4 + 4 per millisecond, at most 2,000. A hop weighs 1 ms.
	costTunnelHop  = 4
	costTunnelMs   = 4
	costTunnelMax  = 2000
	lossFactorMax  = 4
	costWireless   = 256
	costRTTPenalty = 150 // RFC 9616, section 4.2
	rttLowMs       = 10
	rttHighMs      = 120
)

// rxcost is what we say in IHUs: how well we hear the neighbour.
func (n *neighbour) rxcost() uint16 {
	switch n.link.Kind {
	case Tunnel:
		if !n.isHeard() {
			return Infinity
		}
		return uint16(costNominal * n.lossFactor())
	case Wireless:
		// ETX: beta is the share of the last six multicast Hellos.
		beta := n.multicast.heardOf(6)
		if beta == 0 {
			return Infinity
		}
		return uint16(costWireless * 6 / beta)
	}
	if !n.isHeard() {
		return Infinity
	}
	return costNominal
}

// isHeard is 2-out-of-3 on either history. A tunnel that is new believes the
// first Hello: WireGuard has shown already that the peer is there.
func (n *neighbour) isHeard() bool {
	m, u := &n.multicast, &n.unicast
	if m.isGood() || u.isGood() {
		return true
	}
	if n.link.Kind != Tunnel {
		return false
	}
	isFirst := m.length+u.length < 3 && m.bits|u.bits >= 0x8000
	return isFirst || n.suspect.isInDoubt()
}

// lossFactor is 1 without loss.
func (n *neighbour) lossFactor() float64 {
	return min(historyMax/float64(max(n.heard16(), 1)), lossFactorMax)
}

// heard16 is of the better one of the histories that have begun.
func (n *neighbour) heard16() int {
	heard := 0
	for _, h := range []*history{&n.multicast, &n.unicast} {
		if h.isBegun {
			heard = max(heard, h.heard16())
		}
	}
	return heard
}

// linkCost is section 3.4.3: infinite when either side does not hear the other.
func (n *neighbour) linkCost() uint16 {
	rx, tx := n.rxcost(), n.txcost
	if rx == Infinity || tx == Infinity {
		return Infinity
	}
	var cost float64
	switch n.link.Kind {
	case Tunnel:
		// txcost is nominal times the loss that the neighbour sees.
		loss := float64(rx) / costNominal * min(max(float64(tx)/costNominal, 1), lossFactorMax)
		cost = costNominal * loss
		if n.rtt.isKnown {
			cost = min(costTunnelHop+costTunnelMs*n.rtt.ms, costTunnelMax) * loss
		}
	case Wireless:
		cost = max(float64(tx), costWireless) * float64(rx) / costWireless
	default:
		cost = float64(tx)
	}
	if n.link.Kind != Tunnel && n.rtt.isKnown {
		cost += costRTTPenalty * min(max(n.rtt.ms-rttLowMs, 0)/(rttHighMs-rttLowMs), 1)
	}
	cost += float64(n.link.ExtraCost)
	// "The cost of a link must be strictly positive"; a large one is not none.
	return uint16(min(max(math.Round(cost), 1), Infinity-1))
}

// reckon computes the cost anew. Noise below 1/16 is not passed on: each change
// visits every route over the link.
func (n *neighbour) reckon(now time.Time) {
	cost, was := n.linkCost(), n.cost
	if rx := n.rxcost(); (rx == Infinity) != (n.rxsaid == Infinity) {
		// The other side must know at once (F-10).
		n.ihuIn = 0
		n.link.helloSoon(now)
		n.rxsaid = rx
	}
	if cost != Infinity && was != Infinity {
		delta := max(cost, was) - min(cost, was)
		if int(delta) <= max(int(was)/16, 1) {
			return
		}
		if n.recostMin.After(now) {
			n.recostAt = n.recostMin
			n.wake()
			return
		}
	}
	if was == Infinity && cost != Infinity && !n.mayRise(now) {
		return
	}
	n.setCost(now, cost)
}

// SetExtraCost adds to the cost of a link: to drain it, or as a penalty.
func (e *Engine) SetExtraCost(now time.Time, index int, cost uint16) {
	l := e.link(index)
	if !e.begin(now) || l == nil || l.ExtraCost == cost {
		return
	}
	l.ExtraCost = cost
	for _, n := range l.neighbours {
		for _, r := range n.routes {
			r.smoothedAt = time.Time{} // an order is no noise
		}
		n.setCost(now, n.linkCost())
	}
}

// metricOf adds a link's cost to a neighbour's metric: strictly larger, and
// infinite when either is or when it does not fit (section 3.5.2).
func metricOf(cost, metric uint16) uint16 {
	return uint16(min(uint32(cost)+uint32(metric), Infinity))
}
