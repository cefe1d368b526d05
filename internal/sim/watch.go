package sim

import (
	"net/netip"
	"time"
)

// RouteChange is a change of a node's next hop for a destination.
type RouteChange struct {
	At           time.Duration
	Node         int
	Prefix, From netip.Prefix
	Was, Is      int // index of a node; negative: none, or unreachable
}

// OnRoute has f called after each change of a next hop.
func (w *World) OnRoute(f func(c RouteChange)) { w.fib.watch = f }

func (f *forwarding) tell(d *destination, at time.Duration, node, was int32) {
	if f.watch != nil && d.next[node] != was {
		f.watch(RouteChange{at, int(node), d.prefix, d.from, int(was), int(d.next[node])})
	}
}

// NextHop is where a node sends packets for a destination; negative: nowhere.
func (w *World) NextHop(n *Node, prefix netip.Prefix) int {
	w.settle()
	return int(w.fib.lookup(w.fib.all[w.fib.find(prefix, netip.Prefix{})], int32(n.Index)))
}

// Reaches tells whether packets from a node arrive at the owner of the prefix.
func (w *World) Reaches(n *Node, prefix netip.Prefix) bool {
	w.settle()
	d := w.fib.all[w.fib.find(prefix, netip.Prefix{})]
	return w.arrives(d, int32(n.Index), make([]arrival, len(w.nodes))) == arrived
}

// Uses tells whether a node sends anything over the link.
func (n *Node) Uses(l *Link) bool {
	n.w.settle()
	for _, d := range n.w.fib.all {
		if d.next[n.Index] >= 0 && n.ports[d.port[n.Index]-1].link == l {
			return true
		}
	}
	return false
}

// PointsTo tells whether any living node sends anything to that one.
func (w *World) PointsTo(to *Node) bool {
	w.settle()
	for _, d := range w.fib.all {
		for _, n := range w.nodes {
			if n.isAlive && d.next[n.Index] == int32(to.Index) {
				return true
			}
		}
	}
	return false
}

// Total is the sum of all nodes' counters.
func (w *World) Total() Counters {
	var t Counters
	for _, n := range w.nodes {
		c := n.counters
		t.Packets += c.Packets
		t.Bytes += c.Bytes
		t.Changes += c.Changes
		t.Refused += c.Refused
		t.Ups += c.Ups
		t.Downs += c.Downs
		t.Malformed += c.Malformed
		t.Crashes += c.Crashes
	}
	return t
}
