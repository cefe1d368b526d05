package sim

import (
	"net/netip"
	"time"

	"re6st/babel"
)

// Path is how packets go in one direction between two ends of a link.
type Path struct {
	Latency   time.Duration // one way, without jitter
	Jitter    time.Duration // added, uniform in [0, Jitter)
	Loss      float64
	Reorder   float64 // share that is overtaken by later packets
	Duplicate float64
	Cut       bool
	MTU       int // larger packets vanish, IPv6 and UDP headers included; 0: any

	last time.Duration // arrival of the latest: what is not reordered stays behind
}

// reorderDelay is how much later a packet comes that is overtaken.
const reorderDelay = 30 * time.Millisecond

// latencyMin is the least latency: windows must not be empty.
const latencyMin = 20 * time.Microsecond

// LinkConfig describes a link at all its ends.
type LinkConfig struct {
	Path
	Interface babel.InterfaceConfig // Index, Name and LinkLocal are the node's
}

// Link joins two or more nodes. A tunnel has two.
type Link struct {
	Index  int
	w      *World
	config LinkConfig
	ends   []*port
	paths  []Path // from end i to end j: [i*len(ends)+j]
	isDown bool   // the ends know: no carrier
	isGone bool
}

// port is an interface of a node.
type port struct {
	n     *Node
	link  *Link
	index int // interface index, from 1
	end   int // of the link
	isUp  bool
	extra uint16
}

// Connect joins the nodes by a new link.
func (w *World) Connect(config LinkConfig, nodes ...*Node) *Link {
	config.Latency = max(config.Latency, latencyMin)
	l := &Link{Index: len(w.links), w: w, config: config}
	w.links = append(w.links, l)
	w.ahead = min(w.ahead, config.Latency)
	for i, n := range nodes {
		p := &port{n: n, link: l, index: len(n.ports) + 1, end: i}
		n.ports = append(n.ports, p)
		l.ends = append(l.ends, p)
	}
	l.paths = make([]Path, len(nodes)*len(nodes))
	for i := range l.paths {
		l.paths[i] = config.Path
	}
	for _, p := range l.ends {
		p.n.portUp(p)
	}
	return l
}

// Remove takes the interface away at every end, as happens with a tunnel that is
// closed. Packets on their way are lost.
func (l *Link) Remove() {
	l.isGone = true
	l.SetCarrier(false)
}

// SetCarrier takes the link away and back, and the ends notice at once.
func (l *Link) SetCarrier(isUp bool) {
	l.isDown = !isUp
	for _, p := range l.ends {
		if isUp && !l.isGone {
			p.n.portUp(p)
		} else {
			p.n.portDown(p)
		}
	}
}

// each calls f for every direction.
func (l *Link) each(f func(p *Path)) {
	for i := range l.paths {
		f(&l.paths[i])
	}
}

// Cut breaks or mends the link in all directions; nobody is told.
func (l *Link) Cut(isCut bool) { l.each(func(p *Path) { p.Cut = isCut }) }

// CutOneWay breaks or mends the direction between two ends.
func (l *Link) CutOneWay(from, to int, isCut bool) { l.path(from, to).Cut = isCut }

// Set changes how packets go, in all directions. Cuts stay.
func (l *Link) Set(path Path) {
	path.Latency = max(path.Latency, latencyMin)
	l.w.ahead = min(l.w.ahead, path.Latency)
	l.each(func(p *Path) { path.Cut, path.last = p.Cut, p.last; *p = path })
}

// Path is how packets go from one end to another.
func (l *Link) Path(from, to int) Path { return *l.path(from, to) }

// Config is what the link was made of.
func (l *Link) Config() LinkConfig { return l.config }

// Ends are the nodes, in the order in which they were connected.
func (l *Link) Ends() []*Node {
	all := make([]*Node, len(l.ends))
	for i, p := range l.ends {
		all[i] = p.n
	}
	return all
}

func (l *Link) path(from, to int) *Path { return &l.paths[from*len(l.ends)+to] }

// carries tells whether packets between two ends arrive, now and then at least.
func (l *Link) carries(from, to int) bool {
	p := l.path(from, to)
	return !p.Cut && !l.isDown && !l.isGone && p.Loss < 1 && l.ends[from].n.isAlive && l.ends[to].n.isAlive
}

// end is the one with that address.
func (l *Link) end(a netip.Addr) *port {
	for _, p := range l.ends {
		if p.n.address == a {
			return p
		}
	}
	return nil
}

// send puts a packet on the link. Only the sender's state and that of the paths
// from it change: nodes send at the same time.
func (n *Node) send(now time.Duration, packet *babel.Packet) {
	if packet.Interface < 1 || packet.Interface > len(n.ports) {
		n.wrong("packet for interface %d, which does not exist", packet.Interface)
		return
	}
	p := n.ports[packet.Interface-1]
	l := p.link
	if !p.isUp || l.isDown {
		return
	}
	if limit := max(l.config.Interface.MTU-48, 512); len(packet.Data) > limit {
		n.wrong("packet of %d octets on interface %d, limit %d", len(packet.Data), p.index, limit)
	}
	n.counters.Packets++
	n.counters.Bytes += len(packet.Data)
	n.hash.add(uint64(now), uint64(packet.Interface))
	n.hash.bytes(packet.Data)
	for i, e := range l.ends {
		if e == p || !packet.Dst.IsMulticast() && packet.Dst != e.n.address {
			continue
		}
		n.transmit(now, l.path(p.end, i), e, packet)
	}
}

func (n *Node) transmit(now time.Duration, path *Path, to *port, packet *babel.Packet) {
	switch {
	case path.Cut:
		return
	case path.MTU > 0 && len(packet.Data)+48 > path.MTU:
		return
	case path.Loss > 0 && n.chance.Float64() < path.Loss:
		return
	}
	at := now + path.Latency
	if path.Jitter > 0 {
		at += time.Duration(n.chance.Int64N(int64(path.Jitter)))
	}
	if path.Reorder > 0 && n.chance.Float64() < path.Reorder {
		at += time.Duration(n.chance.Int64N(int64(reorderDelay)))
	} else {
		at = max(at, path.last)
		path.last = at
	}
	n.post(at, to, packet)
	if path.Duplicate > 0 && n.chance.Float64() < path.Duplicate {
		n.post(at+time.Duration(n.chance.Int64N(int64(reorderDelay))), to, packet)
	}
}

func (n *Node) post(at time.Duration, to *port, packet *babel.Packet) {
	n.serial++
	n.outbox = append(n.outbox, outgoing{to.n, delivery{
		at: at, from: int32(n.Index), serial: n.serial, port: int32(to.index), dst: packet.Dst, data: packet.Data,
	}})
}
