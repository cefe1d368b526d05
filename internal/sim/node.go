package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"re6st/babel"
)

// Origin is a prefix that a node announces.
type Origin struct {
	Prefix, From netip.Prefix
	Metric       uint16
}

// Node is a router: an engine, its interfaces, its disk, its clock.
type Node struct {
	Index   int
	w       *World
	id      babel.RouterID
	address netip.Addr // link-local, the same on every interface
	origins []Origin
	ports   []*port

	engine   *babel.Engine
	isAlive  bool
	now      time.Duration // of its latest event
	clock    time.Duration // how far its own clock is ahead of the world's
	lives    int
	bootedAt time.Duration
	stuck    int // deadlines in a row that did not move

	disk      disk
	crash     CrashPoint
	fibDelay  time.Duration // how long the kernel takes for a batch of routes
	pending   *babel.Output // waits for the kernel until busyUntil
	busyUntil time.Duration
	refuse    float64 // share of routes that the kernel refuses

	queue    queue
	chance   *rand.Rand // of its packets on their way
	outbox   []outgoing
	serial   uint32
	changes  []change
	lines    []line
	wrongs   []string
	hash     hash
	counters Counters

	wakeAt time.Duration // in World.waiting
	place  int           // there; -1: not
}

// Counters say what a node has done.
type Counters struct {
	Packets, Bytes int // sent
	Changes        int // of the forwarding table
	Refused        int // changes that the kernel refused
	Ups, Downs     int // of neighbours, as events say
	Malformed      int
	Crashes        int
}

// disk is where the reservation of seqnos is kept: what a node of the product
// writes to a file and syncs before packets leave.
type disk struct {
	seqno    uint16
	hasSeqno bool
	isBroken bool
}

// CrashPoint is where in carrying out an Output a node dies.
type CrashPoint uint8

const (
	NoCrash CrashPoint = iota
	// BeforeReserve: the Output asks for a reservation, and nothing is written.
	BeforeReserve
	// AfterReserve: it is durable, and not used yet.
	AfterReserve
	// AfterRoutes: the forwarding table knows, the neighbours do not.
	AfterRoutes
	// AmidPackets: some neighbours know.
	AmidPackets
)

// PrefixOf is the prefix that a node announces by default.
func PrefixOf(i int) netip.Prefix {
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x42}
	binary.BigEndian.PutUint16(a[6:], uint16(i+1))
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// addressOf is a node's link-local address.
func addressOf(i int) netip.Addr {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: 2}
	binary.BigEndian.PutUint32(a[12:], uint32(i+1))
	return netip.AddrFrom16(a)
}

// Add makes a node that announces its prefix.
func (w *World) Add() *Node { return w.AddOrigin(Origin{Prefix: PrefixOf(len(w.nodes))}) }

// AddOrigin makes a node that announces these.
func (w *World) AddOrigin(origins ...Origin) *Node {
	i := len(w.nodes)
	n := &Node{
		w: w, Index: i, address: addressOf(i), origins: origins, now: w.now, place: -1,
		chance: rand.New(rand.NewPCG(w.config.Seed, 1<<32+uint64(i))),
	}
	a := n.address.As16()
	copy(n.id[:], a[8:])
	w.nodes = append(w.nodes, n)
	w.fib.addNode()
	for _, o := range origins {
		w.fib.addOrigin(o, n)
	}
	n.boot()
	return n
}

// ID is the router-id.
func (n *Node) ID() babel.RouterID { return n.id }

// Engine is for looking, between runs.
func (n *Node) Engine() *babel.Engine { return n.engine }

// Counters are those of all its lives.
func (n *Node) Counters() Counters { return n.counters }

// IsAlive tells whether it runs.
func (n *Node) IsAlive() bool { return n.isAlive }

// Clock is the time as the node knows it.
func (n *Node) Clock() time.Time { return n.clockAt(n.w.now) }

func (n *Node) clockAt(now time.Duration) time.Time { return epoch.Add(now + n.clock) }

// worldTime is when the node's clock says t. Long ago is as good as now.
func (n *Node) worldTime(t time.Time) time.Duration {
	if t.Before(n.clockAt(n.now)) {
		return n.now
	}
	return t.Sub(epoch) - n.clock
}

// boot gives the node a new engine.
func (n *Node) boot() {
	n.now = max(n.now, n.w.now)
	n.queue.dropUntil(n.now) // there was no socket
	n.isAlive, n.crash, n.pending, n.stuck = true, NoCrash, nil, 0
	n.lives++
	n.bootedAt = n.now
	config := babel.Config{
		RouterID: n.id, Rand: rand.New(rand.NewPCG(n.w.rand.Uint64(), uint64(n.Index))), Fault: n.w.config.Fault,
	}
	if n.disk.hasSeqno {
		config.Seqno = n.disk.seqno
	}
	n.engine = babel.New(config)
	now := n.clockAt(n.now)
	for _, o := range n.origins {
		n.engine.Originate(now, o.Prefix, o.From, o.Metric)
	}
	for _, p := range n.ports {
		p.isUp = false
		if !p.link.isDown && !p.link.isGone {
			n.portUp(p)
		}
	}
	n.act(func(time.Time) {})
}

// act does something to the engine from outside.
func (n *Node) act(f func(now time.Time)) {
	n.now = max(n.now, n.w.now)
	if n.isAlive {
		f(n.clockAt(n.now))
		n.drain()
	}
	n.w.touch(n)
}

func (n *Node) portUp(p *port) {
	if p.isUp || !n.isAlive {
		return
	}
	p.isUp = true
	config := p.link.config.Interface
	config.Index, config.Name, config.LinkLocal = p.index, fmt.Sprint("if", p.index), n.address
	config.ExtraCost += p.extra
	n.act(func(now time.Time) { n.engine.InterfaceUp(now, config) })
}

func (n *Node) portDown(p *port) {
	if !p.isUp {
		return
	}
	p.isUp = false
	n.act(func(now time.Time) { n.engine.InterfaceDown(now, p.index) })
	// The kernel forgets routes over an interface that is gone. Which comes first is
	// a matter of chance; a less specific route that takes over in between is not
	// for an engine to prevent.
	n.changes = append(n.changes, change{at: max(n.now, n.w.now), node: int32(n.Index), port: int32(p.index), flush: true})
}

// next is when something happens at the node.
func (n *Node) next() time.Duration {
	if !n.isAlive {
		return never
	}
	if n.pending != nil {
		return n.busyUntil
	}
	at := n.deadline()
	if len(n.queue) > 0 {
		at = min(at, n.queue[0].at)
	}
	return max(at, n.now)
}

func (n *Node) deadline() time.Duration {
	d := n.engine.Deadline()
	if d.IsZero() {
		return never
	}
	return n.worldTime(d)
}

// run does what happens at the node before the end. Nothing outside the node
// changes: other nodes run at the same time.
func (n *Node) run(end time.Duration) {
	for {
		at := n.next()
		if at >= end {
			return
		}
		n.now = at
		n.step()
		n.drain()
	}
}

func (n *Node) step() {
	if n.pending != nil {
		out := n.pending
		n.pending = nil
		n.carryOut(out)
		return
	}
	deadline := n.deadline()
	if len(n.queue) > 0 && n.queue[0].at <= n.now && n.queue[0].at <= deadline {
		n.receive(n.queue.pop())
		return
	}
	if deadline <= n.now {
		n.engine.Advance(n.clockAt(n.now))
		n.watchProgress()
		return
	}
	n.receive(n.queue.pop())
}

// watchProgress: an engine that is due again at once, for ever, would stop time.
func (n *Node) watchProgress() {
	const patience = 1000
	if n.deadline() > n.now {
		n.stuck = 0
		return
	}
	if n.stuck++; n.stuck == patience {
		n.wrong("deadline %v does not move", n.worldTime(n.engine.Deadline()))
		n.isAlive = false
	}
}

func (n *Node) receive(d delivery) {
	p := n.ports[d.port-1]
	if !p.isUp || p.link.isDown {
		return
	}
	src := netip.AddrPortFrom(n.w.nodes[d.from].address, 6696)
	n.hash.add(uint64(n.now), uint64(d.from), uint64(d.serial))
	n.engine.Receive(n.clockAt(n.now), p.index, src, d.dst, d.data)
}

// drain carries out what the engine wants until it wants nothing.
func (n *Node) drain() {
	for n.isAlive && n.pending == nil {
		out := n.engine.Output()
		if !out.HasReserve && len(out.Routes)+len(out.Packets)+len(out.Events) == 0 {
			return
		}
		if n.fibDelay > 0 && len(out.Routes) > 0 {
			n.pending, n.busyUntil = &out, n.now+n.fibDelay
			return
		}
		n.carryOut(&out)
	}
}

// carryOut is the order of babel.Output: what must be durable, routes, packets,
// events.
func (n *Node) carryOut(out *babel.Output) {
	if n.crashes(out, BeforeReserve, out.HasReserve) {
		return
	}
	isReserved := true
	if out.HasReserve {
		isReserved = n.reserve(out.Reserve)
	}
	if n.crashes(out, AfterReserve, out.HasReserve) {
		return
	}
	for i := range out.Routes {
		n.install(out.Routes[i])
	}
	if n.crashes(out, AfterRoutes, len(out.Routes) > 0) {
		return
	}
	for i := range out.Packets {
		if !isReserved {
			break
		}
		if i > 0 && n.crashes(out, AmidPackets, true) {
			return
		}
		p := &out.Packets[i]
		p.Stamp(n.engine.Timestamp(n.clockAt(n.now)))
		p.Data = slices.Clone(p.Data) // it outlives the Output
		n.send(n.now, p)
	}
	for i := range out.Events {
		n.note(&out.Events[i])
	}
}

func (n *Node) crashes(out *babel.Output, point CrashPoint, isThere bool) bool {
	if n.crash != point || !isThere {
		return false
	}
	n.trace("crash %d", point)
	n.counters.Crashes++
	n.isAlive, n.pending = false, nil
	return true
}

func (n *Node) reserve(seqno uint16) bool {
	if n.disk.isBroken {
		n.engine.ReserveFailed(n.clockAt(n.now))
		return false
	}
	n.disk.seqno, n.disk.hasSeqno = seqno, true
	n.trace("reserve %d", seqno)
	return true
}

var errRefused = errors.New("refused by the simulated kernel")

// install is the kernel's part. A change that it refuses leaves what was there.
func (n *Node) install(c babel.RouteChange) {
	if n.refuse > 0 && !c.Delete && !c.Unreachable && n.chance.Float64() < n.refuse {
		n.counters.Refused++
		n.trace("refused %v via %v", c.Prefix, c.NextHop)
		n.engine.RouteFailed(n.clockAt(n.now), c.Route, errRefused)
		return
	}
	n.counters.Changes++
	to := n.resolve(c)
	a := c.Prefix.Addr().As16()
	n.hash.add(uint64(n.now), binary.BigEndian.Uint64(a[:]), uint64(uint32(to)))
	n.changes = append(n.changes, change{
		at: n.now, node: int32(n.Index), port: int32(c.Interface), to: to, prefix: c.Prefix, from: c.From,
	})
	n.trace("route %v from %v: %v", c.Prefix, c.From, nextHop(to))
}

// resolve is the node behind a next hop.
func (n *Node) resolve(c babel.RouteChange) int32 {
	switch {
	case c.Delete:
		return nowhere
	case c.Unreachable:
		return unreachable
	case c.Interface < 1 || c.Interface > len(n.ports):
		n.wrong("route over interface %d, which does not exist", c.Interface)
		return nowhere
	}
	p := n.ports[c.Interface-1]
	if e := p.link.end(c.NextHop); e != nil && e != p {
		return int32(e.n.Index)
	}
	n.wrong("next hop %v on interface %d is nobody", c.NextHop, c.Interface)
	return nowhere
}

func (n *Node) note(e *babel.Event) {
	n.hash.add(uint64(n.now), uint64(e.Kind))
	switch e.Kind {
	case babel.NeighbourUp:
		n.counters.Ups++
	case babel.NeighbourDown:
		n.counters.Downs++
	case babel.PacketMalformed:
		n.counters.Malformed++
	}
	if n.w.config.Trace != nil {
		n.trace("%v if%d %v %v %x %d %s", e.Kind, e.Interface, e.Neighbour, e.Prefix, e.RouterID, e.Seqno, e.Text)
	}
}

func (n *Node) wrong(format string, args ...any) {
	n.wrongs = append(n.wrongs, fmt.Sprintf(format, args...))
}
