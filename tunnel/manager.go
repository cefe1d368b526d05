package tunnel

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"re6st/tunnel/control"
)

// Config is what a Manager is made of.
type Config struct {
	Self       PeerID
	Networks   []netip.Prefix // the mesh's own prefixes: no endpoint lies in them
	MTU        int            // of every tunnel
	Silence    time.Duration  // without a packet, after which a tunnel is dead: three intervals of what keeps it alive
	Rand       *rand.Rand
	Parameters Parameters
}

// Manager keeps the tunnels of one node. Inputs take the time first and return nothing; Advance does what is due,
// Deadline says when that is, Output drains what is to be done. Not for use from several goroutines.
type Manager struct {
	self       PeerID
	networks   []netip.Prefix
	mtu        int
	silence    time.Duration
	rand       *rand.Rand
	parameters Parameters
	noTransit  bool
	selector   *Selector

	started time.Time // zero until the first Advance
	stopped bool

	peers   map[PeerID]*peer
	tunnels map[control.TunnelID]*tunnel
	byPeer  map[PeerID]*tunnel

	routes    map[PeerID]Destination
	via       map[PeerID]int // destinations by next hop
	demand    []Demand
	addresses []netip.Addr  // of this node, on the underlay
	seenAs    [2]netip.Addr // how others see us: IPv4, IPv6
	versions  control.Versions

	probeQueue []PeerID
	probes     int // under way
	dials      dials

	dirty     bool      // something changed that the selector looks at
	lookAgain time.Time // when tunnels are missing: a back-off may be over

	out Output
}

// New returns a Manager that knows nobody.
func New(c Config) *Manager {
	return &Manager{
		self: c.Self, networks: slices.Clone(c.Networks), mtu: c.MTU, silence: c.Silence, rand: c.Rand,
		parameters: c.Parameters, selector: NewSelector(c.Rand),
		peers: make(map[PeerID]*peer), tunnels: make(map[control.TunnelID]*tunnel), byPeer: make(map[PeerID]*tunnel),
		dials: dials{failed: make(map[netip.Addr]*bucket)}, dirty: true,
	}
}

// SetParameters changes what the network or the operator decides. More tunnels are opened at once; fewer close by turns.
func (m *Manager) SetParameters(_ time.Time, p Parameters) { m.parameters, m.dirty = p, true }

// SetAddresses tells on which addresses of the underlay this node can be reached, best first.
func (m *Manager) SetAddresses(_ time.Time, addresses []netip.Addr) {
	m.addresses = slices.Clone(addresses)
}

// SetVersions tells which documents this node has. Every message carries it.
func (m *Manager) SetVersions(_ time.Time, v control.Versions) { m.versions = v }

// SetNoTransit tells that this node carries nothing for others. Offers and answers say so.
func (m *Manager) SetNoTransit(_ time.Time, no bool) { m.noTransit = no }

// SetNetworks tells which prefixes the mesh carries, its own and others: no
// endpoint lies in them, and those that were learned before are forgotten.
func (m *Manager) SetNetworks(_ time.Time, networks []netip.Prefix) {
	m.networks = slices.Clone(networks)
	for _, k := range m.peers {
		k.Endpoints = control.Usable(k.Endpoints, m.networks)
	}
}

// SetRoutes tells what the routing knows. Destinations that are no known nodes become known: they can be asked through
// the mesh.
func (m *Manager) SetRoutes(now time.Time, known []Peer, routes []Destination) {
	m.routes = make(map[PeerID]Destination, len(routes))
	m.via = make(map[PeerID]int)
	for _, d := range routes {
		m.routes[d.Peer] = d
		if d.Metric < Unreachable {
			m.via[d.Via]++
		}
	}
	for _, p := range known {
		if m.peers[p.ID()] == nil {
			m.learn(now, p, true)
		}
	}
}

// SetDemand tells where traffic goes now, this node's own and that of others.
func (m *Manager) SetDemand(_ time.Time, d []Demand) {
	m.dirty = m.dirty || len(d) > 0 || len(m.demand) > 0
	m.demand = slices.Clone(d)
}

// Stop closes all tunnels. Nothing is opened or accepted after it.
func (m *Manager) Stop(now time.Time) {
	m.stopped = true
	for _, t := range m.sorted() {
		m.end(now, t, Stopped, "")
	}
}

// Advance does what is due.
func (m *Manager) Advance(now time.Time) {
	if m.started.IsZero() {
		m.started = now
	}
	for _, t := range m.sorted() {
		m.advance(now, t)
	}
	if m.stopped {
		return
	}
	if m.dirty || !now.Before(m.selector.Deadline()) || !now.Before(m.lookAgain) {
		m.choose(now)
	}
	m.pumpProbes(now)
	if m.dirty { // a probe that could not even be sent
		m.choose(now)
	}
}

// Deadline says when Advance is due next, if no input comes before. Zero: now.
func (m *Manager) Deadline() time.Time {
	if m.started.IsZero() || m.dirty && !m.stopped {
		return time.Time{}
	}
	d := m.started.Add(100 * 365 * 24 * time.Hour)
	for _, t := range m.tunnels {
		d = earliest(d, t.deadline())
		if t.state == Up {
			d = earliest(d, t.rxAt.Add(m.silence))
		}
	}
	if m.stopped {
		return d
	}
	d = earliest(earliest(d, m.selector.Deadline()), m.lookAgain)
	if len(m.probeQueue) > 0 && m.probes < probesMax {
		d = earliest(d, m.dials.calls.at.Add(callInterval))
	}
	return d
}

// Output drains what is to be done.
func (m *Manager) Output() Output {
	out := m.out
	m.out = Output{}
	return out
}

// choose asks the selector, and begins what it wants.
func (m *Manager) choose(now time.Time) {
	const lookAgainAfter = time.Second
	m.dirty = false
	in := m.input(now)
	d := m.selector.Select(now, in)
	for _, p := range d.Probe {
		if k := m.peers[p]; k != nil {
			m.wantProbe(k)
		}
	}
	for _, o := range d.Open {
		m.open(now, o)
	}
	for _, p := range d.Close {
		if t := m.byPeer[p]; t != nil {
			m.drain(now, t, "no longer wanted")
		}
	}
	m.lookAgain = now.Add(24 * time.Hour)
	if v := (&view{Input: in}); len(v.regular()) < Want(m.parameters, in.Incoming) {
		m.lookAgain = now.Add(lookAgainAfter)
	}
}

// input is what the manager knows, as the selector wants it. The order is fixed, so that a seed decides everything.
func (m *Manager) input(now time.Time) Input {
	in := Input{
		Age: now.Sub(m.started), NAT: m.behindNAT(), Connected: m.connected(),
		Destinations: m.routes, Answers: make(map[PeerID]ProbeAnswer), Demand: m.demand, Parameters: m.parameters,
	}
	leaving := make(map[PeerID]bool)
	for _, t := range m.tunnels {
		if t.replaces != (PeerID{}) {
			leaving[t.replaces] = true
		}
	}
	for _, t := range m.sorted() {
		switch {
		case t.state == Draining:
		case t.direction == In:
			if t.reason != control.Demand { // it goes with the traffic: nothing can rest on it
				in.Incoming++
			}
		default:
			in.Own = append(in.Own, Own{
				Peer: t.peer, RTT: t.rtt, Reason: t.reason, Since: t.opened, Up: t.state == Up,
				Replacing: m.replaceable(t.replaces), Leaving: leaving[t.peer],
			})
			if t.state != Up {
				in.Opening++
			}
		}
	}
	for _, k := range m.peers {
		in.Known = append(in.Known, Known{
			Peer: k.id, Neighbour: m.byPeer[k.id] != nil, Blocked: m.blocked(now, k) || !m.isCallable(now, k), NAT: k.nat,
			Full: k.full && m.isCallable(now, k),
		})
		if a, ok := k.fresh(now); ok {
			in.Answers[k.id] = a
		}
	}
	slices.SortFunc(in.Known, func(a, b Known) int { return compareIDs(a.Peer, b.Peer) })
	return in
}

// replaceable is true while the neighbour whose place a tunnel takes still has its own.
func (m *Manager) replaceable(p PeerID) bool {
	t := m.byPeer[p]
	return p != (PeerID{}) && t != nil && t.state == Up
}

// connected is the number of tunnels that carry routes.
func (m *Manager) connected() int {
	n := 0
	for _, t := range m.tunnels {
		if t.state == Up {
			n++
		}
	}
	return n
}

// incoming counts the tunnels that others opened, those of them that are on demand, and those that are not yet up.
func (m *Manager) incoming() (all, onDemand, pending int) {
	for _, t := range m.tunnels {
		if t.direction == In && t.state != Draining {
			all++
			if t.reason == control.Demand {
				onDemand++
			}
			if t.state != Up {
				pending++
			}
		}
	}
	return all, onDemand, pending
}

// demandReserve is how many tunnels on demand are accepted beyond the limit: a node to which much traffic goes is likely
// to be full. Who wants none at all gets none.
func (m *Manager) demandReserve() int {
	return min(m.parameters.DemandTunnels, m.parameters.MaxIncoming)
}

// Load is what this node says of its capacity: tunnels that it accepted, and how many more it would.
func (m *Manager) Load() (incoming, room int) {
	incoming, onDemand, _ := m.incoming()
	if m.stopped {
		return incoming, 0
	}
	return incoming, max(0, m.parameters.MaxIncoming+min(onDemand, m.demandReserve())-incoming)
}

// sorted are the tunnels in a fixed order: maps have none, and a run must repeat itself.
func (m *Manager) sorted() []*tunnel {
	out := make([]*tunnel, 0, len(m.tunnels))
	for _, t := range m.tunnels {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *tunnel) int { return bytes.Compare(a.id[:], b.id[:]) })
	return out
}

func (m *Manager) do(a ...Action) { m.out.Actions = append(m.out.Actions, a...) }

func earliest(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

func compareIDs(a, b PeerID) int { return bytes.Compare(a[:], b[:]) }
