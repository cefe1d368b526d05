package tunnel

import (
	"net/netip"
	"slices"
	"time"

	"re6st/tunnel/control"
)

// Stats is what a device says of its peer.
type Stats struct {
	LastHandshake time.Time
	RxBytes       uint64
	TxBytes       uint64
	Endpoint      netip.AddrPort // where the peer is now: it may roam
}

// Observed takes the statistics of a device. The first handshake brings the tunnel up, anything received keeps it.
func (m *Manager) Observed(now time.Time, id control.TunnelID, s Stats) {
	t := m.tunnels[id]
	if t == nil {
		return
	}
	if s.RxBytes != t.stats.RxBytes {
		t.rxAt = now
	}
	t.stats = s
	if t.state == Handshaking && !s.LastHandshake.IsZero() {
		m.up(now, t)
	}
}

func (m *Manager) up(now time.Time, t *tunnel) {
	t.rxAt, t.checkedAt, t.endpointAt = now, now, time.Time{}
	if k := m.peers[t.peer]; k != nil {
		k.failures, k.hold, k.seenAt = 0, 0, now
	}
	m.move(now, t, Confirmed, "")
	m.do(Attach{Tunnel: t.id})
}

// SetRTT tells the smoothed RTT of a tunnel, as the routing measures it.
func (m *Manager) SetRTT(_ time.Time, id control.TunnelID, rtt time.Duration) {
	if t := m.tunnels[id]; t != nil && rtt > 0 {
		t.rtt = rtt
	}
}

// Status is one tunnel, for people.
type Status struct {
	ID        control.TunnelID
	Peer      Peer
	Direction Direction
	State     State
	Reason    control.Reason
	Since     time.Time // in this state
	Opened    time.Time
	Endpoint  netip.AddrPort
	RTT       time.Duration
	MTU       int
	RoutesVia int
	Stats     Stats
}

// Snapshot returns all tunnels, the oldest first.
func (m *Manager) Snapshot(_ time.Time) []Status {
	out := make([]Status, 0, len(m.tunnels))
	for _, t := range m.sorted() {
		s := Status{
			ID: t.id, Direction: t.direction, State: t.state, Reason: t.reason, Since: t.since, Opened: t.opened,
			Endpoint: t.endpoint, RTT: t.rtt, MTU: t.mtu, RoutesVia: m.via[t.peer], Stats: t.stats,
		}
		if k := m.peers[t.peer]; k != nil {
			s.Peer = k.Peer
		}
		if t.stats.Endpoint.IsValid() {
			s.Endpoint = t.stats.Endpoint
		}
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b Status) int { return a.Opened.Compare(b.Opened) })
	return out
}
