package babel

import "net/netip"

// gateway is where the forwarding table sends packets.
type gateway struct {
	hop   netip.Addr
	index int
}

// gatewayUnreachable stands for a route that refuses: the first in the table,
// used by the engine itself.
const gatewayUnreachable uint32 = 1

// hop is a next hop that a neighbour has told. Nearly always it is the neighbour
// itself.
type hop struct {
	addr    netip.Addr
	users   int32  // routes
	gateway uint32 // number in Engine.gateways
}

// hopsMax bounds the next hops of a neighbour: a route keeps an index of 8 bits.
const hopsMax = 256

// canHop tells whether there is room for a next hop.
func (n *neighbour) canHop(addr netip.Addr) bool {
	_, ok := n.findHop(addr)
	return ok
}

// findHop is the index of a next hop, or else a free one.
func (n *neighbour) findHop(addr netip.Addr) (int, bool) {
	free := -1
	for i := range n.hops {
		h := &n.hops[i]
		switch {
		case h.users > 0 && h.addr == addr:
			return i, true
		case h.users == 0 && free < 0:
			free = i
		}
	}
	if free < 0 {
		free = len(n.hops)
	}
	return free, free < hopsMax
}

// useHop counts one more route by way of a next hop for which there is room.
func (n *neighbour) useHop(addr netip.Addr) uint8 {
	i, _ := n.findHop(addr)
	if i == len(n.hops) {
		n.hops = append(n.hops, hop{})
	}
	h := &n.hops[i]
	if h.users == 0 {
		h.addr = addr
		h.gateway = n.link.e.gateways.use(gateway{addr, n.link.Index})
	}
	h.users++
	return uint8(i)
}

func (n *neighbour) dropHop(i uint8) {
	h := &n.hops[i]
	if h.users--; h.users == 0 {
		n.link.e.gateways.drop(h.gateway)
	}
}

// setHop changes the next hop of a route, for one for which there is room.
func (n *neighbour) setHop(r *route, addr netip.Addr) {
	if n.hops[r.hop].addr != addr {
		n.dropHop(r.hop)
		r.hop = n.useHop(addr)
	}
}

// peers numbers the neighbours of all links, so that a route need not point at
// its own. Zero is nobody.
type peers struct {
	all  []*neighbour
	free []uint16
}

const peersMax = 1<<16 - 1

func (t *peers) isFull() bool { return len(t.free) == 0 && len(t.all) > peersMax }

func (t *peers) add(n *neighbour) {
	if len(t.all) == 0 {
		t.all = append(t.all, nil)
	}
	if k := len(t.free); k > 0 {
		n.number = t.free[k-1]
		t.free = t.free[:k-1]
		t.all[n.number] = n
		return
	}
	n.number = uint16(len(t.all))
	t.all = append(t.all, n)
}

// remove needs a neighbour without routes.
func (t *peers) remove(n *neighbour) {
	t.all[n.number] = nil
	t.free = append(t.free, n.number)
}
