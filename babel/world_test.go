package babel

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/babel/mac"
)

// A world is a network of engines in virtual time. One seed decides everything.

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type world struct {
	testing.TB
	rand     *rand.Rand
	now      time.Time
	nodes    []*node
	cables   []*cable
	mail     mail
	serial   int
	loops    int
	isQuiet  bool // count loops, do not fail
	packets  int
	bytes    int
	trace    func(format string, args ...any)
	afterFIB func(n *node, c RouteChange)
}

type node struct {
	w         *world
	index     int
	engine    *Engine
	prefix    netip.Prefix
	address   netip.Addr // link-local
	ports     map[int]*cable
	fib       map[key]Route
	events    []Event
	reserved  uint16
	isDead    bool
	reject    func(RouteChange) error
	noReserve bool
	changes   int
}

// cable is a link of two or more nodes.
type cable struct {
	kind  Kind
	delay time.Duration
	loss  float64
	isCut bool
	keys  []mac.Key
	// A shuffled cable delays each datagram by up to that much more, and brings
	// some twice.
	shuffle time.Duration
	ends    []end
	hello   time.Duration
	count   int // datagrams
}

type end struct {
	n     *node
	index int
}

type letter struct {
	at     time.Time
	serial int
	n      *node
	index  int
	src    netip.Addr
	dst    netip.Addr
	data   []byte
	life   *Engine // for whom: a restarted node does not get old mail
}

type mail []letter

func (m mail) Len() int { return len(m) }
func (m mail) Less(i, j int) bool {
	return m[i].at.Before(m[j].at) || m[i].at.Equal(m[j].at) && m[i].serial < m[j].serial
}
func (m mail) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *mail) Push(x any)   { *m = append(*m, x.(letter)) }
func (m *mail) Pop() any {
	x := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return x
}

func newWorld(t testing.TB, seed uint64) *world {
	return &world{TB: t, rand: rand.New(rand.NewPCG(seed, 1)), now: epoch, trace: func(string, ...any) {}}
}

func nodePrefix(i int) netip.Prefix {
	var a [16]byte
	copy(a[:], []byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x42})
	binary.BigEndian.PutUint16(a[6:], uint16(i+1))
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

func nodeID(i int) RouterID {
	a := nodePrefix(i).Addr().As16()
	return RouterID(a[:8])
}

func (w *world) add() *node {
	i := len(w.nodes)
	a := [16]byte{0: 0xfe, 1: 0x80}
	id := nodeID(i)
	copy(a[8:], id[:])
	n := &node{w: w, index: i, prefix: nodePrefix(i), address: netip.AddrFrom16(a), ports: map[int]*cable{}, fib: map[key]Route{}}
	w.nodes = append(w.nodes, n)
	n.start(Config{})
	return n
}

// start gives the node a new engine, which originates its prefix.
func (n *node) start(c Config) {
	c.RouterID = nodeID(n.index)
	c.Rand = rand.New(rand.NewPCG(n.w.rand.Uint64(), 2))
	if c.Seqno == 0 {
		c.Seqno = n.reserved
	}
	n.engine = New(c)
	n.isDead = false
	n.fib = map[key]Route{}
	n.engine.Originate(n.w.now, n.prefix, netip.Prefix{}, 0)
	for _, index := range slices.Sorted(maps.Keys(n.ports)) {
		n.up(index)
	}
	n.drain()
}

func (n *node) up(index int) {
	c := n.ports[index]
	n.engine.InterfaceUp(n.w.now, InterfaceConfig{
		Index: index, Name: fmt.Sprint("if", index), LinkLocal: n.address, MTU: 1420, Kind: c.kind, HelloInterval: c.hello, Keys: c.keys,
	})
}

// kill: no word to anyone. Neighbours hear nothing any more.
func (n *node) kill() { n.isDead = true; n.fib = map[key]Route{} }

func (w *world) connect(kind Kind, delay time.Duration, nodes ...*node) *cable {
	c := &cable{kind: kind, delay: delay}
	w.plug(c, nodes...)
	return c
}

// plug is connect with a cable that has more to say.
func (w *world) plug(c *cable, nodes ...*node) {
	w.cables = append(w.cables, c)
	for _, n := range nodes {
		index := len(n.ports) + 1
		for n.ports[index] != nil {
			index++
		}
		n.ports[index] = c
		c.ends = append(c.ends, end{n, index})
	}
	for _, e := range c.ends {
		e.n.up(e.index)
		e.n.drain()
	}
}

// remove takes the interface away at every end, as the agent does with a tunnel.
func (w *world) remove(c *cable) {
	for _, e := range c.ends {
		delete(e.n.ports, e.index)
		e.n.engine.InterfaceDown(w.now, e.index)
		e.n.drain()
	}
	c.ends = nil
	w.cables = slices.DeleteFunc(w.cables, func(x *cable) bool { return x == c })
}

// drain carries out what the engine wants, in the order of Output.
func (n *node) drain() {
	for {
		out := n.engine.Output()
		if !out.HasReserve && len(out.Routes)+len(out.Packets)+len(out.Events) == 0 {
			return
		}
		if out.HasReserve {
			if n.noReserve {
				n.engine.ReserveFailed(n.w.now)
				out.Packets = nil
			} else {
				n.reserved = out.Reserve
			}
		}
		for _, c := range out.Routes {
			n.apply(c)
		}
		for _, p := range out.Packets {
			n.w.send(n, p)
			spoil(p.Data)
			n.engine.Reuse(p)
		}
		for _, e := range out.Events {
			n.w.trace("%v node %d: %v %v %v %v %s", n.w.now.Sub(epoch), n.index, e.Kind, e.Prefix, e.Neighbour, e.RouterID, e.Text)
		}
		n.events = append(n.events, out.Events...)
	}
}

// spoil shows that nobody looks at the octets any more.
func spoil(b []byte) {
	for i := range b {
		b[i] = 0xff
	}
}

func (n *node) apply(c RouteChange) {
	if n.isDead {
		return
	}
	if n.reject != nil {
		if err := n.reject(c); err != nil {
			n.engine.RouteFailed(n.w.now, c.Route, err)
			return
		}
	}
	n.changes++
	k := key{c.Prefix, c.From}
	if c.Delete {
		delete(n.fib, k)
	} else {
		n.fib[k] = c.Route
	}
	n.w.trace("%v node %d: route %v del=%v", n.w.now.Sub(epoch), n.index, c.Route, c.Delete)
	if n.w.afterFIB != nil {
		n.w.afterFIB(n, c)
	}
	n.w.checkLoop(n, k)
}

func (w *world) send(n *node, p Packet) {
	c := n.ports[p.Interface]
	if c == nil || n.isDead {
		return
	}
	p.Stamp(n.engine.Timestamp(w.now))
	w.packets++
	c.count++
	w.bytes += len(p.Data)
	if limit := max(1420-48, 512); len(p.Data) > limit {
		w.Errorf("packet of %d octets, limit %d", len(p.Data), limit)
	}
	for _, e := range c.ends {
		isFor := p.Dst.IsMulticast() || p.Dst == e.n.address
		if e.n == n || !isFor || c.isCut || w.rand.Float64() < c.loss {
			continue
		}
		copies, delay := 1, c.delay
		if c.shuffle > 0 && w.rand.IntN(20) == 0 {
			copies = 2
		}
		for range copies {
			if c.shuffle > 0 {
				delay = c.delay + time.Duration(w.rand.Int64N(int64(c.shuffle)))
			}
			w.serial++
			heap.Push(&w.mail, letter{w.now.Add(delay), w.serial, e.n, e.index, n.address, p.Dst, slices.Clone(p.Data), e.n.engine})
		}
	}
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	until := w.now.Add(d)
	for {
		n, at := w.nextEngine()
		isMail := len(w.mail) > 0 && (n == nil || !w.mail[0].at.After(at))
		if isMail {
			at = w.mail[0].at
		}
		if !isMail && n == nil || at.After(until) {
			break
		}
		if at.After(w.now) {
			w.now = at
		}
		if isMail {
			l := heap.Pop(&w.mail).(letter)
			if l.n.isDead || l.n.engine != l.life {
				continue
			}
			l.n.engine.Receive(w.now, l.index, netip.AddrPortFrom(l.src, 6696), l.dst, l.data)
			spoil(l.data)
			l.n.drain()
			continue
		}
		n.engine.Advance(w.now)
		n.drain()
	}
	w.now = until
}

func (w *world) nextEngine() (*node, time.Time) {
	var first *node
	var at time.Time
	for _, n := range w.nodes {
		d := n.engine.Deadline()
		if !n.isDead && !d.IsZero() && (first == nil || d.Before(at)) {
			first, at = n, d
		}
	}
	return first, at
}

// await runs until the condition holds, and says how long that took.
func (w *world) await(what string, atMost time.Duration, cond func() bool) time.Duration {
	w.Helper()
	begin := w.now
	for !cond() {
		if w.now.Sub(begin) >= atMost {
			w.Fatalf("%s: not within %v", what, atMost)
		}
		w.run(10 * time.Millisecond)
	}
	return w.now.Sub(begin)
}

// hop is the node to which n forwards packets for k.
func (n *node) hop(k key) *node {
	r, ok := n.fib[k]
	if !ok || r.Unreachable {
		return nil
	}
	c := n.ports[r.Interface]
	if c == nil {
		return nil
	}
	for _, e := range c.ends {
		if e.n.address == r.NextHop {
			return e.n
		}
	}
	return nil
}

// checkLoop: for every prefix the graph of next hops is acyclic at every instant.
func (w *world) checkLoop(from *node, k key) {
	n := from
	for range len(w.nodes) + 1 {
		if n = n.hop(k); n == nil {
			return
		}
		if n == from {
			w.loops++
			if !w.isQuiet {
				w.Fatalf("%v: loop for %v through node %d", w.now.Sub(epoch), k.prefix, from.index)
			}
			return
		}
	}
}

// reaches follows the forwarding tables.
func (w *world) reaches(from, to *node) bool {
	k := keyOf(to.prefix, netip.Prefix{})
	n := from
	for range len(w.nodes) {
		if n == to {
			return true
		}
		next := n.hop(k)
		if next == nil || next.isDead || w.between(n, k).isCut {
			return false
		}
		n = next
	}
	return n == to
}

func (w *world) between(n *node, k key) *cable { return n.ports[n.fib[k].Interface] }

// allReach: every pair that some path of working links connects.
func (w *world) allReach() bool {
	part := w.parts()
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a != b && !a.isDead && !b.isDead && part[a.index] == part[b.index] && !w.reaches(a, b) {
				return false
			}
		}
	}
	return true
}

// parts numbers the connected components of the living.
func (w *world) parts() []int {
	part := make([]int, len(w.nodes))
	for i := range part {
		part[i] = i
	}
	for range w.nodes {
		for _, c := range w.cables {
			for _, e := range c.ends {
				for _, f := range c.ends {
					if !c.isCut && !e.n.isDead && !f.n.isDead {
						least := min(part[e.n.index], part[f.n.index])
						part[e.n.index], part[f.n.index] = least, least
					}
				}
			}
		}
	}
	return part
}

// distances is the oracle: shortest paths over the costs that the engines see.
func (w *world) distances(to *node) []int {
	const far = 1 << 30
	dist := make([]int, len(w.nodes))
	for i := range dist {
		dist[i] = far
	}
	dist[to.index] = 0
	for range w.nodes {
		for _, n := range w.nodes {
			for index, c := range n.ports {
				for _, e := range c.ends {
					if e.n == n || c.isCut {
						continue
					}
					if x := n.engine.link(index).neighbour(e.n.address); x != nil && x.isReachable() {
						dist[n.index] = min(dist[n.index], dist[e.n.index]+int(x.cost))
					}
				}
			}
		}
	}
	return dist
}

// checkShortest compares every metric with the oracle's. slack is the relative
// error that damping may leave.
func (w *world) checkShortest(slack float64) {
	w.Helper()
	for _, to := range w.nodes {
		dist := w.distances(to)
		for _, n := range w.nodes {
			if n == to {
				continue
			}
			got := Infinity
			if p := n.engine.find(keyOf(to.prefix, netip.Prefix{})); p != nil && p.selected() != nil {
				got = int(p.selected().metric)
			}
			want := min(dist[n.index], Infinity)
			if float64(got) > float64(want)*(1+slack)+slack*100 || float64(got) < float64(want)*(1-slack)-slack*100 {
				w.Errorf("%v: node %d to node %d: metric %d, want %d", w.now.Sub(epoch), n.index, to.index, got, want)
			}
		}
	}
}
