package sim

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Next hops that are no node.
const (
	nowhere     int32 = -1 // no route
	unreachable int32 = -2 // a route that refuses
)

// nextHop prints one.
type nextHop int32

func (h nextHop) String() string {
	switch int32(h) {
	case nowhere:
		return "none"
	case unreachable:
		return "unreachable"
	}
	return fmt.Sprintf("node %d", int32(h))
}

// change is one of a node's forwarding table.
type change struct {
	at           time.Duration
	node, port   int32
	to           int32
	prefix, from netip.Prefix
	flush        bool // all routes over the port, or of the node if it is 0
}

// destination is a (prefix, source prefix) with all forwarding tables' routes
// for it.
type destination struct {
	prefix, from netip.Prefix
	owners       []int32
	next         []int32 // by node
	port         []int32
	// What a packet for this destination is looked up by, best first: itself and
	// whatever covers it. Most destinations are covered by nothing.
	covers []int32
	within []int32 // those that this one covers, itself included
}

// forwarding is the forwarding tables of all nodes, and who arrives where.
type forwarding struct {
	all     []*destination
	index   map[[2]netip.Prefix]int32
	nodes   int
	version int
	watch   func(c RouteChange)
}

func (f *forwarding) addNode() {
	f.nodes++
	for _, d := range f.all {
		d.next, d.port = append(d.next, nowhere), append(d.port, 0)
	}
}

func (f *forwarding) find(prefix, from netip.Prefix) int32 {
	if i, ok := f.index[[2]netip.Prefix{prefix, from}]; ok {
		return i
	}
	if f.index == nil {
		f.index = make(map[[2]netip.Prefix]int32)
	}
	d := &destination{prefix: prefix, from: from, next: make([]int32, f.nodes), port: make([]int32, f.nodes)}
	for i := range d.next {
		d.next[i] = nowhere
	}
	i := int32(len(f.all))
	f.index[[2]netip.Prefix{prefix, from}] = i
	f.all = append(f.all, d)
	for j, o := range f.all {
		if d.isCoveredBy(o) {
			d.covers = f.insert(d.covers, int32(j))
			o.within = append(o.within, i)
		}
		if o != d && o.isCoveredBy(d) {
			o.covers = f.insert(o.covers, i)
			d.within = append(d.within, int32(j))
		}
	}
	return i
}

func (d *destination) isCoveredBy(o *destination) bool {
	isSource := !o.from.IsValid() || d.from.IsValid() && o.from.Bits() <= d.from.Bits() && o.from.Contains(d.from.Addr())
	return isSource && o.prefix.Bits() <= d.prefix.Bits() && o.prefix.Contains(d.prefix.Addr())
}

// insert keeps the order in which a router looks: "destination first", then the
// source (RFC 9079, section 4).
func (f *forwarding) insert(list []int32, i int32) []int32 {
	list = append(list, i)
	slices.SortStableFunc(list, func(a, b int32) int {
		x, y := f.all[a], f.all[b]
		return cmp.Or(cmp.Compare(y.prefix.Bits(), x.prefix.Bits()), cmp.Compare(y.from.Bits(), x.from.Bits()))
	})
	return list
}

func (f *forwarding) addOrigin(o Origin, n *Node) {
	d := f.all[f.find(o.Prefix, o.From)]
	if !slices.Contains(d.owners, int32(n.Index)) {
		d.owners = append(d.owners, int32(n.Index))
	}
	f.version++
}

func (f *forwarding) removeOrigin(o Origin, n *Node) {
	d := f.all[f.find(o.Prefix, o.From)]
	d.owners = slices.DeleteFunc(d.owners, func(i int32) bool { return i == int32(n.Index) })
	f.version++
}

// apply makes the change and looks for a loop through its node.
func (f *forwarding) apply(w *World, c *change) {
	f.version++
	if c.flush {
		f.flush(c)
		return
	}
	i := f.find(c.prefix, c.from)
	d := f.all[i]
	was := d.next[c.node]
	d.next[c.node], d.port[c.node] = c.to, c.port
	f.tell(d, c.at, c.node, was)
	f.check(w, c.at, d, c.node)
}

func (f *forwarding) flush(c *change) {
	for _, d := range f.all {
		if d.next[c.node] == nowhere || c.port != 0 && d.port[c.node] != c.port {
			continue
		}
		if c.port != 0 && d.next[c.node] == unreachable {
			continue // it goes over no interface
		}
		was := d.next[c.node]
		d.next[c.node], d.port[c.node] = nowhere, 0
		// A route less makes no loop, unless packets take a less specific one now.
		// The kernel does that before any engine can say unreachable: not looked at.
		f.tell(d, c.at, c.node, was)
	}
}

// check follows packets from the changed node: a new loop must contain it.
func (f *forwarding) check(w *World, at time.Duration, changed *destination, start int32) {
	for _, i := range changed.within {
		d := f.all[i]
		n := start
		for range f.nodes + 1 {
			n = f.lookup(d, n)
			if n < 0 {
				break
			}
			if n == start && f.hasRestarted(w, at, d, start) {
				w.restartLoops++
				w.At(at+restartGrace, func() { f.check(w, w.now, d, start) })
				break
			}
			if n == start {
				w.violate(at, "loop for %s: %s", d, f.walk(d, start))
				if w.config.Trace != nil {
					w.lines = append(w.lines, line{at, int(start), fmt.Sprintf("LOOP for %s: %s", d, f.walk(d, start))})
				}
				break
			}
		}
	}
}

// restartGrace is how long others may go on sending to a router that has
// restarted without noticing, because its Hellos are lost: 2.5 of their intervals.
const restartGrace = 11 * time.Second

// hasRestarted: the loop goes through a router that began anew just now. It has
// forgotten its feasibility distances, and RFC 8966 has no remedy against those
// who have not noticed. Such a loop is counted, and must end.
func (f *forwarding) hasRestarted(w *World, at time.Duration, d *destination, start int32) bool {
	n := start
	for range f.nodes {
		if x := w.nodes[n]; x.lives > 1 && at-x.bootedAt < restartGrace {
			return true
		}
		if n = f.lookup(d, n); n < 0 || n == start {
			break
		}
	}
	return false
}

// lookup is where a node sends a packet for the destination. A negative answer:
// nowhere further.
func (f *forwarding) lookup(d *destination, n int32) int32 {
	for _, i := range d.covers {
		c := f.all[i]
		if slices.Contains(c.owners, n) {
			return nowhere // it is at home
		}
		if to := c.next[n]; to != nowhere {
			return to
		}
	}
	return nowhere
}

// portOf is the interface by which it leaves there.
func (f *forwarding) portOf(d *destination, n int32) int32 {
	for _, i := range d.covers {
		if c := f.all[i]; c.next[n] != nowhere {
			return c.port[n]
		}
	}
	return 0
}

func (d *destination) String() string {
	if d.from.IsValid() {
		return fmt.Sprintf("%v from %v", d.prefix, d.from)
	}
	return d.prefix.String()
}

// walk prints the way of a packet.
func (f *forwarding) walk(d *destination, n int32) string {
	var b strings.Builder
	fmt.Fprint(&b, n)
	for range 12 {
		if n = f.lookup(d, n); n < 0 {
			break
		}
		fmt.Fprintf(&b, " > %d", n)
	}
	return b.String()
}
