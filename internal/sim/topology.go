package sim

import (
	"time"

	"re6st/babel"
)

// LinkMaker gives the configuration of the link between two nodes.
type LinkMaker func(w *World, a, b int) LinkConfig

// TunnelMTU is that of a WireGuard tunnel over an Internet path of 1500 octets.
const TunnelMTU = 1420

// Tunnels take 1 to 50 ms one way.
func Tunnels(w *World, _, _ int) LinkConfig {
	return Tunnel(time.Millisecond + time.Duration(w.rand.Int64N(int64(49*time.Millisecond))))
}

// Tunnel is one with that latency.
func Tunnel(latency time.Duration) LinkConfig {
	return LinkConfig{
		Path:      Path{Latency: latency},
		Interface: babel.InterfaceConfig{Kind: babel.Tunnel, MTU: TunnelMTU},
	}
}

// Wires take 0.2 ms.
func Wires(*World, int, int) LinkConfig { return Wire() }

// Wire is an Ethernet.
func Wire() LinkConfig {
	return LinkConfig{
		Path:      Path{Latency: 200 * time.Microsecond},
		Interface: babel.InterfaceConfig{Kind: babel.Wired, MTU: 1500},
	}
}

// With changes what a maker makes.
func (m LinkMaker) With(f func(c *LinkConfig)) LinkMaker {
	return func(w *World, a, b int) LinkConfig {
		c := m(w, a, b)
		f(&c)
		return c
	}
}

func (w *World) addMany(count int) []*Node {
	all := make([]*Node, count)
	for i := range all {
		all[i] = w.Add()
	}
	return all
}

func (w *World) join(m LinkMaker, a, b *Node) *Link {
	return w.Connect(m(w, a.Index, b.Index), a, b)
}

// Line is nodes in a row.
func Line(w *World, size int, m LinkMaker) []*Node {
	n := w.addMany(size)
	for i := 1; i < size; i++ {
		w.join(m, n[i-1], n[i])
	}
	return n
}

// Ring is a line whose ends meet.
func Ring(w *World, size int, m LinkMaker) []*Node {
	n := Line(w, size, m)
	w.join(m, n[size-1], n[0])
	return n
}

// Star is one node in the middle, the first.
func Star(w *World, size int, m LinkMaker) []*Node {
	n := w.addMany(size)
	for _, x := range n[1:] {
		w.join(m, n[0], x)
	}
	return n
}

// Grid is as square as the size allows.
func Grid(w *World, size int, m LinkMaker) []*Node {
	width := 1
	for width*width < size {
		width++
	}
	n := w.addMany(size)
	for i := range n {
		if i%width > 0 {
			w.join(m, n[i-1], n[i])
		}
		if i >= width {
			w.join(m, n[i-width], n[i])
		}
	}
	return n
}

// Diamond is a first and a last node, and all others between the two.
func Diamond(w *World, size int, m LinkMaker) []*Node {
	n := w.addMany(size)
	for _, x := range n[1 : size-1] {
		w.join(m, n[0], x)
		w.join(m, x, n[size-1])
	}
	return n
}

// Random is connected; every node opens links to others drawn at random until
// the mean number of links of a node is the degree.
func Random(w *World, size, degree int, m LinkMaker) []*Node {
	n := w.addMany(size)
	has := map[[2]int]bool{}
	join := func(a, b int) bool {
		pair := [2]int{min(a, b), max(a, b)}
		if a == b || has[pair] {
			return false
		}
		has[pair] = true
		w.join(m, n[a], n[b])
		return true
	}
	for i := 1; i < size; i++ {
		join(i, w.rand.IntN(i))
	}
	most := size * (size - 1) / 2
	for i := 0; len(has) < min(size*degree/2, most); i++ {
		join(i%size, w.rand.IntN(size))
	}
	return n
}

// Segments is a chain of shared links with several nodes on each; the last of
// one is the first of the next.
func Segments(w *World, size, each int, m LinkMaker) []*Node {
	n := w.addMany(size)
	for i := 0; i < size-1; i += each - 1 {
		end := min(i+each, size)
		w.Connect(m(w, i, end-1), n[i:end]...)
	}
	return n
}
