package sim

import (
	"fmt"
	"slices"
)

// AllReach tells whether packets from every living node arrive at an owner of
// every destination to which there is a way.
func (w *World) AllReach() bool { return w.Unreached() == "" }

// Unreached says of one pair that should be connected and is not how far packets
// come, or nothing.
func (w *World) Unreached() string {
	w.settle()
	parts := w.parts()
	state := make([]arrival, len(w.nodes))
	for _, d := range w.fib.all {
		clear(state)
		for _, n := range w.nodes {
			if !n.isAlive || !w.shouldReach(d, parts, n) {
				continue
			}
			if w.arrives(d, int32(n.Index), state) != arrived {
				return fmt.Sprintf("node %d to %v: %s", n.Index, d, w.fib.walk(d, int32(n.Index)))
			}
		}
	}
	return ""
}

// shouldReach: an owner is in the same part of the network.
func (w *World) shouldReach(d *destination, parts []int, n *Node) bool {
	return slices.ContainsFunc(d.owners, func(o int32) bool {
		return w.nodes[o].isAlive && parts[o] == parts[n.Index]
	})
}

type arrival uint8

const (
	unknown arrival = iota
	onTheWay
	arrived
	lost
)

// arrives follows a packet, and remembers for all nodes that it passes.
func (w *World) arrives(d *destination, n int32, state []arrival) arrival {
	if state[n] == onTheWay {
		return lost // a loop
	}
	if state[n] != unknown {
		return state[n]
	}
	state[n] = onTheWay
	state[n] = w.arrivesFrom(d, n, state)
	return state[n]
}

func (w *World) arrivesFrom(d *destination, n int32, state []arrival) arrival {
	if !w.nodes[n].isAlive {
		return lost
	}
	if slices.Contains(d.owners, n) {
		return arrived
	}
	to := w.fib.lookup(d, n)
	if to < 0 {
		// At home by way of a covering destination: not where it should be.
		return lost
	}
	out := w.nodes[n].ports[w.fib.portOf(d, n)-1]
	in := slices.IndexFunc(out.link.ends, func(e *port) bool { return e.n.Index == int(to) })
	if !out.isUp || in < 0 || !out.link.carries(out.end, in) {
		return lost
	}
	return w.arrives(d, to, state)
}

// parts numbers the parts of the network, by links that carry in both
// directions.
func (w *World) parts() []int {
	part := make([]int, len(w.nodes))
	for i := range part {
		part[i] = i
	}
	root := func(i int) int {
		for part[i] != i {
			part[i] = part[part[i]]
			i = part[i]
		}
		return i
	}
	for _, l := range w.links {
		for i := range l.ends {
			for j := range i {
				if l.carries(i, j) && l.carries(j, i) {
					a, b := root(l.ends[i].n.Index), root(l.ends[j].n.Index)
					part[max(a, b)] = min(a, b)
				}
			}
		}
	}
	for i := range part {
		part[i] = root(i)
	}
	return part
}
