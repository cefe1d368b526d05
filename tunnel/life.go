package tunnel

import (
	"net/netip"
	"time"

	"re6st/tunnel/control"
)

const (
	drainCost   = 8000             // part of the written budget of metrics: far above any path, far below infinity
	drainLeast  = 3 * time.Second  // until the peer's updates are here
	replaceLast = 20 * time.Second // a tunnel that carries nothing by then will not
	crossWindow = 3 * time.Second  // in which the peer's offer may have been sent before ours arrived
	offerTries  = 3
)

// tunnel is one tunnel, from wish to end.
type tunnel struct {
	id        control.TunnelID
	peer      PeerID
	direction Direction
	reason    control.Reason
	method    Method
	replaces  PeerID

	state  State
	opened time.Time
	since  time.Time // in this state
	until  time.Time // of this state; zero: no bound

	targets []Target // for the offer, not yet tried
	target  Target   // that the offer went to
	tries   int
	created bool // the device exists
	told    bool // the peer knows, or may know, of it

	call     uint64 // waiting for a Reply; 0: none
	offer    control.Offer
	observed netip.AddrPort

	key        control.Key // ours
	port       uint16
	remote     control.Key
	mtu        int
	endpoints  []netip.AddrPort // of the peer's device, not yet tried
	endpoint   netip.AddrPort
	endpointAt time.Time // when the next is tried; zero: no more
	wasQuiet   bool      // the peer had its chance to begin

	rtt       time.Duration
	stats     Stats
	rxAt      time.Time
	weDrain   bool // this side began
	checkedAt time.Time
}

// deadline is when a tunnel needs attention by itself.
func (t *tunnel) deadline() time.Time {
	d := t.until
	if !t.endpointAt.IsZero() && (d.IsZero() || t.endpointAt.Before(d)) {
		d = t.endpointAt
	}
	if t.state == Up && t.replaces != (PeerID{}) || t.state == Draining {
		if c := t.checkedAt.Add(time.Second); d.IsZero() || c.Before(d) {
			d = c
		}
	}
	return d
}

// move makes a transition if the table has it.
func (m *Manager) move(now time.Time, t *tunnel, on Cause, detail string) bool {
	to, ok := next(t.state, on)
	if !ok {
		return false
	}
	from := t.state
	if from != to {
		t.state, t.since, t.until = to, now, time.Time{}
		if b, bounded := bounds[to]; bounded {
			t.until = now.Add(b)
		}
		m.dirty = true
	}
	e := Event{Tunnel: t.id, Direction: t.direction, Reason: t.reason, From: from, To: to, Cause: on, Detail: detail}
	if k := m.peers[t.peer]; k != nil {
		e.Peer = k.Peer
	}
	m.out.Events = append(m.out.Events, e)
	return true
}

// add puts a tunnel into the books.
func (m *Manager) add(now time.Time, t *tunnel, on Cause) {
	t.opened = now
	m.tunnels[t.id], m.byPeer[t.peer] = t, t
	m.move(now, t, on, "")
}

// end closes a tunnel, and undoes what was done for it in the opposite order.
func (m *Manager) end(now time.Time, t *tunnel, on Cause, detail string) {
	from := t.state
	if !m.move(now, t, on, detail) {
		return
	}
	k := m.peers[t.peer]
	if t.call != 0 {
		m.do(Reply{Call: t.call, Tunnel: t.id, Refusal: control.Refuse(control.Busy, "the tunnel was closed: %s", on)})
		t.call = 0
	}
	if from == Up || from == Draining {
		m.do(Detach{Tunnel: t.id})
	}
	if t.told && on != Hungup && on != Replaced && k != nil {
		m.do(Notify{Tunnel: t.id, Peer: k.Peer, Targets: m.lastTargets(now, t, k), Closed: true})
	}
	if t.created {
		m.do(Destroy{Tunnel: t.id})
	}
	delete(m.tunnels, t.id)
	if m.byPeer[t.peer] == t {
		delete(m.byPeer, t.peer)
	}
	m.blame(now, t, from, on)
}

// blame decides on the back-off after an end.
func (m *Manager) blame(now time.Time, t *tunnel, from State, on Cause) {
	k := m.peers[t.peer]
	switch {
	case k == nil:
	case on == Lost:
		m.pause(now, k, holdLost)
	case on == TimedOut && (from == Negotiating || from == Handshaking):
		m.fail(now, k, holdPair)
	case on == TimedOut && from == Candidate:
		m.fail(now, k, holdUnreachable)
	case on == Hungup && from != Up && from != Draining:
		m.pause(now, k, holdBusy)
	}
}

// lastTargets are where the peer can be told that it is over.
func (m *Manager) lastTargets(now time.Time, t *tunnel, k *peer) []Target {
	all := m.targets(now, k, t.method)
	if t.target != (Target{}) {
		all = append([]Target{t.target}, all...)
	}
	return all[:min(len(all), 3)]
}

// advance does what is due for one tunnel.
func (m *Manager) advance(now time.Time, t *tunnel) {
	switch {
	case t.state == Draining && m.isDrained(now, t):
		m.end(now, t, TimedOut, "drained")
	case !t.until.IsZero() && !now.Before(t.until):
		m.end(now, t, TimedOut, "")
	case t.state == Handshaking && !t.endpointAt.IsZero() && !now.Before(t.endpointAt):
		m.connect(now, t)
	case t.state == Up && now.Sub(t.rxAt) >= m.silence:
		m.end(now, t, Lost, "silent")
	case t.state == Up && t.replaces != (PeerID{}):
		m.takeOver(now, t)
	}
}

// isDrained is true when the side that began may close: its own routes have left, and the peer had time to do the same.
func (m *Manager) isDrained(now time.Time, t *tunnel) bool {
	t.checkedAt = now
	return t.weDrain && m.via[t.peer] == 0 && now.Sub(t.since) >= drainLeast
}

// takeOver drains the victim of an exchange once the new tunnel carries routes.
func (m *Manager) takeOver(now time.Time, t *tunnel) {
	t.checkedAt = now
	if m.via[t.peer] == 0 && now.Sub(t.since) < replaceLast {
		return
	}
	victim := m.byPeer[t.replaces]
	t.replaces = PeerID{}
	if victim != nil && victim.direction == Out && victim.state == Up {
		m.drain(now, victim, "replaced")
	}
	m.dirty = true
}

// drain begins the orderly end of a tunnel. One that is not up yet just ends.
func (m *Manager) drain(now time.Time, t *tunnel, detail string) {
	if t.state != Up {
		m.end(now, t, Replaced, detail)
		return
	}
	t.weDrain = true
	m.startDrain(now, t, detail)
	if k := m.peers[t.peer]; k != nil {
		m.do(Notify{Tunnel: t.id, Peer: k.Peer, Targets: m.lastTargets(now, t, k)})
	}
}

func (m *Manager) startDrain(now time.Time, t *tunnel, detail string) {
	if m.move(now, t, Drained, detail) {
		t.checkedAt = now
		m.do(SetCost{Tunnel: t.id, Extra: drainCost})
		if !t.weDrain {
			t.until = t.until.Add(bounds[Draining]) // it is the other side's to close
		}
	}
}

// Patched takes a PATCH of the peer.
func (m *Manager) Patched(now time.Time, from PeerID, id control.TunnelID, p control.Patch) {
	if t := m.tunnels[id]; t != nil && t.peer == from && p.Draining {
		m.startDrain(now, t, "by the peer")
	}
}

// Deleted takes a DELETE of the peer.
func (m *Manager) Deleted(now time.Time, from PeerID, id control.TunnelID) {
	if t := m.tunnels[id]; t != nil && t.peer == from {
		m.end(now, t, Hungup, "")
	}
}

// Has tells whether there is such a tunnel with a peer.
func (m *Manager) Has(from PeerID, id control.TunnelID) bool {
	t := m.tunnels[id]
	return t != nil && t.peer == from
}

// NeighbourLost tells that the routing hears nobody at the other end, though it should.
func (m *Manager) NeighbourLost(now time.Time, id control.TunnelID) {
	if t := m.tunnels[id]; t != nil {
		m.end(now, t, Lost, "the routing lost the neighbour")
	}
}

// DeviceFailed tells that a device is gone or useless.
func (m *Manager) DeviceFailed(now time.Time, id control.TunnelID, err error) {
	if t := m.tunnels[id]; t != nil {
		m.end(now, t, Failed, err.Error())
	}
}
