package tunnel

import (
	"net/netip"
	"slices"
	"time"

	"re6st/addressing"
	"re6st/tunnel/control"
)

// Peer is a node that may become a neighbour.
type Peer struct {
	Name      string
	Prefix    netip.Prefix
	Endpoints []netip.AddrPort // of its control API, on the underlay
	// NoTransit is what it said itself, last: asked who it is, or when a tunnel was agreed on. Nothing that others say
	// changes it.
	NoTransit bool
}

// ID is the peer's router-id.
func (p Peer) ID() PeerID { return addressing.RouterIDOf(p.Prefix) }

// Address is the peer's address in the mesh.
func (p Peer) Address() netip.Addr { return addressing.NodeAddress(p.Prefix) }

const (
	peersMax         = 10_000
	peerEndpointsMax = 8

	answerFresh = time.Minute
	failedFresh = 10 * time.Second

	// Back-off of a pair. An hour for one whose exchange worked but whose tunnel did not: the underlay does not let
	// them talk, and that seldom changes. Whoever is badly connected tries again sooner.
	holdUnreachable = 5 * time.Second // doubled each time
	holdPair        = time.Hour
	holdFull        = time.Minute
	holdBusy        = 30 * time.Second
	holdCrossed     = 3 * time.Second
	holdLost        = 2 * time.Second
	holdMax         = time.Hour
	holdAlone       = 4 * time.Second  // most, without any tunnel
	holdYoung       = 60 * time.Second // most, in a young mesh
)

// peer is what the manager knows about a node.
type peer struct {
	Peer
	id PeerID

	probing    bool
	answer     ProbeAnswer
	answeredAt time.Time
	target     Target // that answered last; zero: none
	seenAt     time.Time
	nat        bool // could be reached through the mesh only

	failures int
	failedAt time.Time
	hold     time.Duration
	full     bool // the back-off is for want of room: a tunnel on demand may be asked for

	offers bucket // that it sends us
}

// fresh is the answer to the last probe, if it is still worth something.
func (p *peer) fresh(now time.Time) (ProbeAnswer, bool) {
	ttl := answerFresh
	if p.answer.Failed {
		ttl = failedFresh
	}
	return p.answer, !p.answeredAt.IsZero() && now.Sub(p.answeredAt) < ttl
}

// LearnPeers adds nodes, or what is new about them. What the registry, a cache of our own or the node itself says
// replaces the endpoints; what a third node says (hint) only adds some.
func (m *Manager) LearnPeers(now time.Time, peers []Peer, hint bool) {
	for _, p := range peers {
		m.learn(now, p, hint)
	}
}

func (m *Manager) learn(now time.Time, p Peer, hint bool) *peer {
	if !p.Prefix.IsValid() || p.ID() == m.self {
		return nil
	}
	p.Endpoints = control.Usable(p.Endpoints, m.networks)
	k := m.peers[p.ID()]
	if k == nil {
		if len(m.peers) >= peersMax && !m.evict(now) {
			return nil
		}
		k = &peer{Peer: Peer{Name: p.Name, Prefix: p.Prefix}, id: p.ID()}
		m.peers[k.id] = k
		m.dirty = true
	}
	if p.Name != "" && (!hint || k.Name == "") {
		k.Name = p.Name
	}
	proven := !k.seenAt.IsZero() && k.failures == 0
	switch {
	case len(p.Endpoints) == 0, hint && proven: // it told us itself
	case !hint:
		m.replaceEndpoints(k, p.Endpoints)
	default:
		k.Endpoints = control.Usable(slices.Concat(k.Endpoints, p.Endpoints), nil)
		k.Endpoints = k.Endpoints[:min(len(k.Endpoints), peerEndpointsMax)]
	}
	return k
}

// replaceEndpoints also forgives old failures, if there is a new place to try.
func (m *Manager) replaceEndpoints(k *peer, endpoints []netip.AddrPort) {
	endpoints = endpoints[:min(len(endpoints), peerEndpointsMax)]
	for _, e := range endpoints {
		if !slices.Contains(k.Endpoints, e) {
			k.failures, k.hold, m.dirty = 0, 0, true
		}
	}
	k.Endpoints = slices.Clone(endpoints)
}

// ForgetPeer drops a node, and the tunnel with it: it was revoked.
func (m *Manager) ForgetPeer(now time.Time, id PeerID) {
	if t := m.byPeer[id]; t != nil {
		m.end(now, t, Stopped, "forgotten")
	}
	delete(m.peers, id)
}

// evict makes room for one more node: some node that is neither a neighbour nor being asked, one that failed if there is.
func (m *Manager) evict(now time.Time) bool {
	var victim *peer
	tried := 0
	for _, k := range m.peers {
		if m.byPeer[k.id] != nil || k.probing {
			continue
		}
		victim = k
		if tried++; k.failures > 0 && m.blocked(now, k) || tried == 32 {
			break
		}
	}
	if victim == nil {
		return false
	}
	delete(m.peers, victim.id)
	return true
}

// fail begins, or prolongs, a back-off.
func (m *Manager) fail(now time.Time, k *peer, hold time.Duration) {
	if k == nil {
		return
	}
	hold = min(holdMax, hold<<min(k.failures, 10))
	k.full = false
	k.failures++
	k.failedAt = now
	k.hold = time.Duration(float64(hold) * (0.75 + 0.5*m.rand.Float64()))
	m.dirty = true
}

// pause keeps off a node that is well, but has no time or room for us.
func (m *Manager) pause(now time.Time, k *peer, hold time.Duration) {
	if k != nil {
		k.full = false
		k.failedAt = now
		k.hold = time.Duration(float64(min(hold, holdMax)) * (0.75 + 0.5*m.rand.Float64()))
	}
	m.dirty = true
}

// blocked is true while a node is left alone.
func (m *Manager) blocked(now time.Time, k *peer) bool {
	hold := k.hold
	switch {
	case hold == 0:
		return false
	case m.connected() == 0:
		hold = min(hold, holdAlone)
	case now.Sub(m.started) < youngAge:
		hold = min(hold, holdYoung)
	}
	return now.Sub(k.failedAt) < hold
}

// Peers returns the known nodes, those first that answered last.
func (m *Manager) Peers() []Peer {
	all := make([]*peer, 0, len(m.peers))
	for _, k := range m.peers {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *peer) int {
		if c := b.seenAt.Compare(a.seenAt); c != 0 {
			return c
		}
		return compareIDs(a.id, b.id)
	})
	out := make([]Peer, len(all))
	for i, k := range all {
		out[i] = k.Peer
		out[i].Endpoints = slices.Clone(k.Endpoints)
	}
	return out
}
