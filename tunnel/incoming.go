package tunnel

import (
	"net/netip"
	"time"

	"re6st/tunnel/control"
)

// Offered takes an offer of a peer whose certificate was verified. observed is where it called from, zero if through the
// mesh. The call is answered by a Reply, at once or when the device is there.
func (m *Manager) Offered(now time.Time, call uint64, from Peer, observed netip.AddrPort, id control.TunnelID, o control.Offer) {
	k, refusal := m.examine(now, from, id, o)
	if refusal != nil {
		m.do(Reply{Call: call, Tunnel: id, Refusal: refusal})
		return
	}
	if !observed.IsValid() || !control.IsUsable(observed, m.networks) {
		observed = netip.AddrPort{}
	}
	m.learnCaller(now, k, observed)
	k.NoTransit = o.NoTransit
	t := m.tunnels[id]
	if t != nil {
		m.again(now, t, call, observed, o)
		return
	}
	if old := m.byPeer[k.id]; old != nil {
		m.end(now, old, Replaced, "by an offer of the peer")
	}
	k.hold = 0
	t = &tunnel{id: id, peer: k.id, direction: In, reason: o.Reason, call: call, offer: o, observed: observed, told: true, checkedAt: now}
	t.mtu = min(m.mtu, o.MTU)
	m.add(now, t, Offered)
	m.do(Create{Tunnel: id, Peer: k.Peer, MTU: t.mtu})
}

// learnCaller notes where a peer called from, if nothing better is known: over HTTP/3 that is where it can be called, even
// through its NAT. Without it, a peer that found us could not be told when its tunnel ends.
func (m *Manager) learnCaller(now time.Time, k *peer, observed netip.AddrPort) {
	if len(k.Endpoints) == 0 && observed.IsValid() {
		endpoints := []netip.AddrPort{observed, netip.AddrPortFrom(observed.Addr(), control.Port)}
		m.learn(now, Peer{Prefix: k.Prefix, Endpoints: endpoints}, true)
	}
}

// examine says what speaks against an offer. What an outsider can make us do is bounded here, before any device exists.
func (m *Manager) examine(now time.Time, from Peer, id control.TunnelID, o control.Offer) (*peer, *control.Refusal) {
	if m.stopped {
		return nil, control.Refuse(control.Closing, "the node is stopping")
	}
	if err := control.Compatible(o.Protocol, m.parameters.MinProtocol); err != nil {
		return nil, control.Refuse(control.Outdated, "%s", err)
	}
	k := m.learn(now, Peer{Name: from.Name, Prefix: from.Prefix}, false)
	if k == nil {
		return nil, control.Refuse(control.Denied, "no tunnel with that node")
	}
	if !k.offers.take(now, offerBurst, offerInterval) {
		return nil, control.Refuse(control.Busy, "too many offers").After(offerInterval)
	}
	if t := m.tunnels[id]; t != nil {
		return k, m.examineRepeated(t, k, o)
	}
	old := m.byPeer[k.id]
	if old != nil && m.stands(now, old) {
		return nil, control.Refuse(control.Crossed, "our own offer %s stands", old.id)
	}
	all, onDemand, pending := m.incoming()
	if old != nil && old.direction == In { // it would take its own place
		all--
		if old.reason == control.Demand {
			onDemand--
		}
	}
	if o.Reason != control.Demand {
		all -= min(onDemand, m.demandReserve()) // those are in the reserve
	}
	limit := m.parameters.MaxIncoming
	if o.Reason == control.Demand {
		limit += m.demandReserve()
	}
	switch {
	case all >= limit:
		return nil, control.Refuse(control.Full, "%d incoming tunnels", all)
	case pending >= pendingMax:
		return nil, control.Refuse(control.Busy, "%d tunnels are being set up", pending).After(time.Second)
	}
	return k, nil
}

// examineRepeated is for an id that is in use.
func (m *Manager) examineRepeated(t *tunnel, k *peer, o control.Offer) *control.Refusal {
	switch {
	case t.peer != k.id || t.direction == Out:
		return control.Refuse(control.Invalid, "the id is in use")
	case t.state != Negotiating && t.state != Handshaking:
		return control.Refuse(control.Invalid, "the tunnel is %s", t.state)
	case t.state == Handshaking && o.MTU < t.mtu:
		return control.Refuse(control.Invalid, "another MTU than before")
	}
	return nil
}

// stands decides between our offer to a peer and one that just came from it: that of the smaller router-id stands, if
// they can have crossed. Otherwise the peer has lost what we believe to have.
func (m *Manager) stands(now time.Time, ours *tunnel) bool {
	if ours.direction == In || compareIDs(m.self, ours.peer) > 0 {
		return false
	}
	switch ours.state {
	case Negotiating:
		return true
	case Handshaking, Up:
		return now.Sub(ours.opened) < crossWindow
	default:
		return false
	}
}

// again takes an offer for a tunnel that there is: its answer was lost, or is still being made. The last one counts.
func (m *Manager) again(now time.Time, t *tunnel, call uint64, observed netip.AddrPort, o control.Offer) {
	if t.call != 0 {
		m.do(Reply{Call: t.call, Tunnel: t.id, Refusal: control.Refuse(control.Busy, "asked again meanwhile")})
	}
	t.call, t.offer, t.observed = call, o, observed
	if t.state == Handshaking && m.move(now, t, Offered, "again") {
		m.answer(now, t)
	}
}

// accept answers the first offer, the device being there.
func (m *Manager) accept(now time.Time, t *tunnel) {
	m.move(now, t, Agreed, "")
	m.answer(now, t)
}

func (m *Manager) answer(now time.Time, t *tunnel) {
	t.remote, t.wasQuiet = t.offer.PublicKey, false
	t.endpoints = reachable(t.observed.Addr(), !t.observed.IsValid(), t.offer.Port, t.offer.Endpoints)
	m.do(Reply{Call: t.call, Tunnel: t.id, Answer: control.Answer{
		Protocol: control.Protocol, PublicKey: t.key, Port: t.port, Endpoints: m.ownEndpoints(t.port),
		MTU: t.mtu, Observed: t.observed, Versions: m.versions, NoTransit: m.noTransit,
	}})
	t.call = 0
	m.connect(now, t)
}
