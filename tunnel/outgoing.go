package tunnel

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"

	"re6st/tunnel/control"
)

// open begins a tunnel that the selector wants.
func (m *Manager) open(now time.Time, o Open) {
	k := m.peers[o.Peer]
	if k == nil || m.byPeer[o.Peer] != nil || m.stopped {
		return
	}
	t := &tunnel{
		id: m.newID(), peer: o.Peer, direction: Out, reason: o.Reason, method: o.Method, replaces: o.Replaces,
		mtu: m.mtu, checkedAt: now,
	}
	m.add(now, t, Opened)
	if a, ok := k.fresh(now); ok && !a.Failed && k.target != (Target{}) {
		m.reached(now, t, k)
		return
	}
	m.wantProbe(k)
}

func (m *Manager) newID() control.TunnelID {
	var id control.TunnelID
	binary.BigEndian.PutUint64(id[:8], m.rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], m.rand.Uint64()|1) // never all zeros
	return id
}

// methodOf is the way to a node that somebody asked for.
func (m *Manager) methodOf(p PeerID) Method {
	if t := m.byPeer[p]; t != nil {
		return t.method
	}
	return Direct
}

// reached begins the exchange with a peer of whom an endpoint answered.
func (m *Manager) reached(now time.Time, t *tunnel, k *peer) {
	if k.answer.Room == 0 && t.reason != control.Demand { // for those there may be a reserve
		m.end(now, t, Failed, "no room")
		m.pause(now, k, holdFull)
		k.full = true
		return
	}
	t.rtt = k.answer.RTT
	t.targets = slices.DeleteFunc(m.targets(now, k, t.method), func(x Target) bool { return x == k.target })
	t.targets = append([]Target{k.target}, t.targets...)
	if t.method != Direct { // through the mesh first, even if some endpoint answers now and then
		slices.SortStableFunc(t.targets, func(a, b Target) int { return overlayFirst(a) - overlayFirst(b) })
	}
	m.move(now, t, Reached, "")
	m.do(Create{Tunnel: t.id, Peer: k.Peer, MTU: t.mtu})
}

func overlayFirst(t Target) int {
	if t.Overlay {
		return 0
	}
	return 1
}

// Created takes the end of a Create.
func (m *Manager) Created(now time.Time, id control.TunnelID, key control.Key, port uint16, err error) {
	t := m.tunnels[id]
	switch {
	case t == nil || t.state != Negotiating || t.created:
		if err == nil && t == nil {
			m.do(Destroy{Tunnel: id}) // it ended meanwhile
		}
	case err != nil:
		m.pause(now, m.peers[t.peer], holdBusy)
		m.end(now, t, Failed, err.Error())
	case t.direction == Out:
		t.created, t.key, t.port = true, key, port
		m.sendOffer(now, t)
	default:
		t.created, t.key, t.port = true, key, port
		m.accept(now, t)
	}
}

// sendOffer sends the offer to the next place where the peer may be. The id stays the same: whichever arrives counts
// once.
func (m *Manager) sendOffer(now time.Time, t *tunnel) {
	k := m.peers[t.peer]
	if len(t.targets) == 0 || t.tries == offerTries || k == nil {
		m.fail(now, k, holdUnreachable)
		m.end(now, t, Failed, "the offer was not answered")
		return
	}
	t.tries++
	t.target, t.targets = t.targets[0], t.targets[1:]
	t.told = true
	m.do(SendOffer{Tunnel: t.id, Peer: k.Peer, Target: t.target, Offer: control.Offer{
		Protocol: control.Protocol, PublicKey: t.key, Port: t.port, Endpoints: m.ownEndpoints(t.port),
		MTU: t.mtu, Reason: t.reason, Versions: m.versions, NoTransit: m.noTransit,
	}})
}

// ownEndpoints are where a device of ours may be reached: our addresses, then how others see us (a NAT often keeps the
// port).
func (m *Manager) ownEndpoints(port uint16) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range slices.Concat(m.addresses, m.seenAs[:]) {
		if a.IsValid() {
			out = append(out, netip.AddrPortFrom(a, port))
		}
	}
	return control.Usable(out, m.networks)
}

// Answered takes the end of a SendOffer.
func (m *Manager) Answered(now time.Time, id control.TunnelID, a control.Answer, err error) {
	t := m.tunnels[id]
	if t == nil || t.direction != Out || t.state != Negotiating || !t.created {
		return
	}
	var refusal *control.Refusal
	if err == nil {
		err = control.Compatible(a.Protocol, m.parameters.MinProtocol)
	}
	switch {
	case err == nil:
		m.agree(now, t, a)
	case errors.As(err, &refusal):
		m.refused(now, t, refusal)
	default:
		if !t.target.Overlay {
			m.dials.note(now, t.target.Addr, false)
		}
		m.sendOffer(now, t)
	}
}

func (m *Manager) agree(now time.Time, t *tunnel, a control.Answer) {
	if k := m.peers[t.peer]; k != nil {
		k.NoTransit = a.NoTransit
	}
	if !t.target.Overlay {
		m.observe(a.Observed)
	}
	t.remote, t.mtu = a.PublicKey, min(t.mtu, a.MTU)
	t.endpoints = reachable(t.target.Addr.Addr(), t.target.Overlay, a.Port, a.Endpoints)
	m.move(now, t, Agreed, "")
	m.connect(now, t)
}

// reachable orders the endpoints of a device: the address where the other side was reached just now is the best.
func reachable(proven netip.Addr, overlay bool, port uint16, claimed []netip.AddrPort) []netip.AddrPort {
	out := claimed
	if !overlay && proven.IsValid() {
		first := netip.AddrPortFrom(proven, port)
		out = append([]netip.AddrPort{first}, slices.DeleteFunc(slices.Clone(claimed), func(e netip.AddrPort) bool { return e == first })...)
	}
	out = control.Usable(out, nil)
	return slices.Clone(out[:min(len(out), handshakeTries)])
}

// connect gives the device its next endpoint, and says when the one after it is due.
//
// The answerer is quiet at first, and has no endpoint: the first packet that its kernel sends over the new interface
// (a multicast listener report, at once) would begin a handshake. If both ends begin at once, each answers the other's
// initiation and throws away its own, whose response then fits nothing; and both try again at the same time. It begins
// by itself between two of the offerer's attempts, in case the offerer's packets come through only after some of its own.
func (m *Manager) connect(now time.Time, t *tunnel) {
	t.endpointAt = time.Time{}
	if t.direction == In && !t.wasQuiet {
		t.wasQuiet, t.endpointAt = true, now.Add(handshakeEvery/2)
		m.do(Connect{Tunnel: t.id, PublicKey: t.remote, Quiet: true})
		return
	}
	if len(t.endpoints) > 0 {
		t.endpoint, t.endpoints = t.endpoints[0], t.endpoints[1:]
	}
	if len(t.endpoints) > 0 {
		t.endpointAt = now.Add(handshakeEvery)
	}
	m.do(Connect{Tunnel: t.id, PublicKey: t.remote, Endpoint: t.endpoint})
}

// refused ends a tunnel that the peer does not want, and decides when to ask again.
func (m *Manager) refused(now time.Time, t *tunnel, r *control.Refusal) {
	k := m.peers[t.peer]
	t.told = false
	m.end(now, t, Failed, r.Error())
	if k == nil {
		return
	}
	switch r.Code {
	case control.Crossed:
		m.pause(now, k, holdCrossed) // its own offer is on the way
	case control.Full, control.Closing:
		k.answer.Room = 0
		m.pause(now, k, max(holdFull, time.Duration(r.RetryAfter)))
		k.full = r.Code == control.Full && t.reason != control.Demand
	case control.Busy:
		m.pause(now, k, max(holdBusy, time.Duration(r.RetryAfter)))
	case control.Unknown, control.Outdated, control.Invalid, control.Denied, control.Internal:
		m.fail(now, k, holdPair)
	default:
		m.fail(now, k, holdPair)
	}
}
