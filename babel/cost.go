package babel

import (
	"math"
	"time"

	"re6st/babel/wire"
)

const (
	costWired    = 96 // appendix B
	costWireless = 256
	// Of a tunnel: 4 + 4 per millisecond, at most 2,000. A hop weighs 1 ms.
	costTunnelHop = 4
	costTunnelMs  = 4
	costTunnelMax = 2000
	// costUnmeasured is a tunnel's as long as its RTT is not known.
	costUnmeasured = 96
	lossFactorMax  = 4
	// costTunnelLoss is what loss costs at least, as if the tunnel cost so much
	// without: to a short one, too, a lost packet is a long delay. A second miss
	// of 16 is news then.
	costTunnelLoss = 96
	// lossShare of the nominal cost is what each of the last 16 Hellos that was
	// missed adds on a wired link. It tells a good link from an equal one that
	// loses a tenth within seconds, and a single miss is no news to anyone else.
	lossShare = 6

	rttPenalty = 150 // RFC 9616, section 4.2
	rttMin     = 10 * time.Millisecond
	rttMax     = 120 * time.Millisecond
)

// nominal is the rxcost of a link without loss.
func (l *link) nominal() uint16 {
	switch {
	case l.Kind == Tunnel:
		// What each end says of a tunnel is the loss. What that costs is decided
		// by whoever knows the RTT.
		return costUnmeasured
	case l.RxCost != 0:
		return l.RxCost
	case l.Kind == Wireless:
		return costWireless
	}
	return costWired
}

// rxcost is what we say in IHUs: how well we hear the neighbour.
func (n *neighbour) rxcost() uint16 {
	nominal := float64(n.link.nominal())
	cost := 0.0
	switch n.link.Kind {
	case Wireless:
		// ETX: beta is the share of the last six multicast Hellos.
		beta := n.multicast.heardOf(6)
		if beta == 0 {
			return Infinity
		}
		cost = nominal * 6 / float64(beta)
	case Tunnel:
		cost = nominal * n.lossFactor()
	default:
		cost = nominal * (1 + float64(n.missed16())/lossShare)
	}
	if n.link.Kind != Wireless && !n.isHeard() {
		return Infinity
	}
	return finite(cost)
}

// finite rounds a cost. "The cost of a link must be strictly positive" (section
// 3.4.3); a large one is not none.
func finite(cost float64) uint16 {
	return uint16(min(max(math.Round(cost), 1), Infinity-1))
}

// isHeard is 2-out-of-3 on either history, unless probes have shown that the
// neighbour is dead. A tunnel that is new believes the first Hello, as WireGuard
// has shown already that the peer is there, and one that lost some believes
// probes.
func (n *neighbour) isHeard() bool {
	m, u := &n.multicast, &n.unicast
	switch {
	case n.suspect.isDead:
		return false
	case m.isGood() || u.isGood():
		return true
	case n.link.Kind != Tunnel:
		return false
	}
	isFirst := m.length+u.length < 3 && m.bits|u.bits >= 0x8000
	return isFirst || n.suspect.isInDoubt()
}

// lossFactor is 1 without loss. It is squared: what loses a tenth is worse for
// most traffic than a way that is a tenth longer.
func (n *neighbour) lossFactor() float64 {
	heard := historyMax / float64(max(historyMax-n.missed16(), 1))
	return min(heard*heard, lossFactorMax)
}

// missed16 is of the better one of the histories that have begun.
func (n *neighbour) missed16() int {
	missed := historyMax
	for _, h := range []*history{&n.multicast, &n.unicast} {
		if h.isBegun {
			missed = min(missed, h.missed16())
		}
	}
	return missed
}

// linkCost is section 3.4.3: infinite when either side does not hear the other.
func (n *neighbour) linkCost() uint16 {
	rx, tx := n.rxcost(), n.txcost
	if rx == Infinity || tx == Infinity {
		return Infinity
	}
	l := n.link
	cost, nominal := 0.0, float64(l.nominal())
	switch l.Kind {
	case Tunnel:
		// txcost is nominal times the loss that the neighbour sees.
		loss := float64(rx) / nominal * min(max(float64(tx)/nominal, 1), lossFactorMax)
		base := n.tunnelCost()
		cost = max(base*loss, base+costTunnelLoss*(loss-1))
	case Wireless:
		// max(txcost, 256) * rxcost / 256 (appendix A.2.2), which the cost of the
		// RTT is added to.
		cost = max(float64(tx), costWireless)*float64(rx)/costWireless + n.rttCost()
	default:
		// txcost (appendix A.2.1), and the loss that we see and the neighbour does
		// not.
		cost = float64(tx) + float64(rx) - nominal + n.rttCost()
	}
	return finite(cost + float64(l.ExtraCost))
}

// tunnelCost is without loss.
func (n *neighbour) tunnelCost() float64 {
	l := n.link
	hop := float64(costTunnelHop)
	if l.RxCost != 0 {
		hop = float64(l.RxCost)
	}
	switch {
	case !n.rtt.isKnown:
		return max(hop, costUnmeasured)
	case l.shapesRTT():
		return hop + n.rttCost()
	}
	return max(min(hop+costTunnelMs*n.rtt.ms, costTunnelMax), hop)
}

func (l *link) shapesRTT() bool { return l.RTTMin != 0 || l.RTTMax != 0 || l.RTTPenalty != 0 }

// rttCost is RFC 9616, section 4.2: nothing up to a first bound, everything above
// a second one, and linear in between.
func (n *neighbour) rttCost() float64 {
	if !n.rtt.isKnown {
		return 0
	}
	l := n.link
	low, high, penalty := rttMin, rttMax, uint16(rttPenalty)
	if l.shapesRTT() {
		low, high, penalty = l.RTTMin, l.RTTMax, l.RTTPenalty
	}
	rtt := n.rtt.duration()
	switch {
	case rtt <= low:
		return 0
	case rtt >= high:
		return float64(penalty)
	}
	return float64(penalty) * float64(rtt-low) / float64(high-low)
}

// reckon computes the cost anew. Noise below 1/16 is not passed on: each change
// visits every route over the link.
func (n *neighbour) reckon(now time.Time) {
	cost, was := n.linkCost(), n.cost
	if rx := n.rxcost(); (rx == Infinity) != (n.rxsaid == Infinity) {
		// The other side must know at once (F-10).
		n.ihuBy = time.Time{}
		n.link.helloSoon(now)
		n.rxsaid = rx
	}
	n.noteLoss(now)
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

// noteLoss is for a Hello that one of the two sides missed. The other side learns
// it at once, as it may be the one that should leave the link; and smoothing, which
// is against noise, has nothing to do with it.
func (n *neighbour) noteLoss(now time.Time) {
	rx, tx := n.rxcost(), n.txcost
	if rx == Infinity || tx == Infinity || n.link.Kind == Wireless {
		return
	}
	if rx > n.rxsaid {
		n.rxsaid = rx
		n.ask(now, &wire.IHU{RxCost: rx, Interval: wire.IntervalOf(ihuEvery * n.link.HelloInterval), Address: n.addr})
	}
	if n.isReachable() && (rx > n.rxseen || tx > n.txseen) {
		n.forgetSmoothing()
	}
	n.rxseen, n.txseen = rx, tx
}

// forgetSmoothing makes the next metric of each route count at once.
func (n *neighbour) forgetSmoothing() {
	for _, r := range n.learnt() {
		r.set(smooth, false)
	}
}

// SetExtraCost adds to the cost of a link: to drain it, or as a penalty.
func (e *Engine) SetExtraCost(now time.Time, index int, cost uint16) {
	l := e.link(index)
	if !e.begin(now) || l == nil || l.ExtraCost == cost {
		return
	}
	l.ExtraCost = cost
	for _, n := range l.neighbours {
		n.forgetSmoothing() // an order is no noise
		n.setCost(now, n.linkCost())
	}
}

// metricOf adds a link's cost to a neighbour's metric: strictly larger, and
// infinite when either is or when it does not fit (section 3.5.2).
func metricOf(cost, metric uint16) uint16 {
	return uint16(min(uint32(cost)+uint32(metric), Infinity))
}
