package tunnel

import (
	"net/netip"
	"slices"
	"time"

	"re6st/tunnel/control"
)

// ProbeResult is the end of a Probe.
type ProbeResult struct {
	Target Target           // that answered; meaningless if Err
	Failed []netip.AddrPort // endpoints of the underlay that did not
	Info   control.NodeInfo
	RTT    time.Duration // of the exchange with Target
	Err    error         // nobody answered, or not who was expected
}

// wantProbe queues a question to a node.
func (m *Manager) wantProbe(k *peer) {
	if !k.probing {
		k.probing = true
		m.probeQueue = append(m.probeQueue, k.id)
	}
}

// pumpProbes sends what the limits allow of the queue.
func (m *Manager) pumpProbes(now time.Time) {
	for len(m.probeQueue) > 0 && m.probes < probesMax {
		k := m.peers[m.probeQueue[0]]
		if k == nil {
			m.probeQueue = m.probeQueue[1:]
			continue
		}
		targets := m.targets(now, k, m.methodOf(k.id))
		if len(targets) == 0 {
			m.probeQueue = m.probeQueue[1:]
			m.unreachable(now, k, "no endpoint to call now")
			continue
		}
		if !m.dials.calls.take(now, callBurst, callInterval) {
			return
		}
		m.probeQueue = m.probeQueue[1:]
		m.probes++
		m.do(Probe{Peer: k.Peer, Targets: targets})
	}
}

// targets are the places where a node may be called now. The underlay comes first, since only there the direct path is
// measured, unless the node is known not to be callable there.
func (m *Manager) targets(now time.Time, k *peer, method Method) []Target {
	var direct, overlay []Target
	for _, e := range k.Endpoints {
		if m.dials.allowed(now, e) {
			direct = append(direct, Target{Addr: e})
		}
	}
	if d, ok := m.routes[k.id]; ok && d.Metric < Unreachable {
		overlay = append(overlay, Target{Addr: netip.AddrPortFrom(k.Address(), control.Port), Overlay: true})
	}
	if method != Direct {
		return slices.Concat(overlay, direct)
	}
	return slices.Concat(direct, overlay)
}

// isCallable is true if there is a target.
func (m *Manager) isCallable(now time.Time, k *peer) bool {
	if d, ok := m.routes[k.id]; ok && d.Metric < Unreachable {
		return true
	}
	return slices.ContainsFunc(k.Endpoints, func(e netip.AddrPort) bool { return m.dials.allowed(now, e) })
}

// Probed takes the end of a Probe.
func (m *Manager) Probed(now time.Time, id PeerID, r ProbeResult) {
	m.probes = max(0, m.probes-1)
	k := m.peers[id]
	if k == nil || !k.probing {
		return
	}
	for _, e := range r.Failed {
		m.dials.note(now, e, false)
	}
	if r.Err == nil {
		r.Err = control.Compatible(r.Info.Protocol, m.parameters.MinProtocol)
	}
	if r.Err != nil {
		m.unreachable(now, k, r.Err.Error())
		return
	}
	if !r.Target.Overlay {
		m.dials.note(now, r.Target.Addr, true)
		m.observe(r.Info.Observed)
	}
	before := slices.Clone(k.Endpoints)
	m.learn(now, Peer{Name: r.Info.Name, Prefix: k.Prefix, Endpoints: withFirst(r.Info.Endpoints, r.Target)}, false)
	k.target, k.seenAt = r.Target, now
	if r.Target.Overlay && m.anyNew(now, before, k.Endpoints) {
		k.probing = false // it said where else it is: ask there, for that alone tells the direct path
		m.wantProbe(k)
		return
	}
	k.nat = r.Target.Overlay
	k.probing = false
	k.answeredAt = now
	k.answer = ProbeAnswer{RTT: r.RTT, Incoming: r.Info.Incoming, Room: r.Info.Room, NoTransit: r.Info.NoTransit}
	k.NoTransit = r.Info.NoTransit
	if r.Target.Overlay {
		k.answer.RTT = 0
	}
	m.dirty = true
	if t := m.byPeer[id]; t != nil && t.state == Candidate {
		m.reached(now, t, k)
	}
}

// withFirst puts the endpoint that just answered before those that the node claims.
func withFirst(endpoints []netip.AddrPort, t Target) []netip.AddrPort {
	if t.Overlay {
		return endpoints
	}
	return control.Usable(append([]netip.AddrPort{t.Addr}, endpoints...), nil)
}

func (m *Manager) anyNew(now time.Time, before, after []netip.AddrPort) bool {
	return slices.ContainsFunc(after, func(e netip.AddrPort) bool {
		return !slices.Contains(before, e) && m.dials.allowed(now, e)
	})
}

// unreachable ends a probe without an answer.
func (m *Manager) unreachable(now time.Time, k *peer, detail string) {
	k.probing = false
	k.answeredAt, k.answer = now, ProbeAnswer{Failed: true}
	k.target = Target{}
	m.fail(now, k, holdUnreachable)
	if t := m.byPeer[k.id]; t != nil && t.state == Candidate {
		m.end(now, t, Failed, detail)
	}
}

// observe notes from where another node sees us.
func (m *Manager) observe(e netip.AddrPort) {
	a := e.Addr().Unmap()
	if !control.IsUsable(netip.AddrPortFrom(a, 1), m.networks) {
		return
	}
	if a.Is4() {
		m.seenAs[0] = a
	} else {
		m.seenAs[1] = a
	}
}

// behindNAT is true if every address under which others see us is none of ours. One family without a NAT is enough to be
// called.
func (m *Manager) behindNAT() bool {
	seen := false
	for _, a := range m.seenAs {
		if a.IsValid() && slices.Contains(m.addresses, a) {
			return false
		}
		seen = seen || a.IsValid()
	}
	return seen
}
