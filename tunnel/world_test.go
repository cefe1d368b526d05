package tunnel

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"re6st/tunnel/control"
)

// world is a few managers, an underlay and a routing oracle in virtual time: verbs to act, wants to check.
//
// Not modelled: loss, Babel's convergence (routes are exact, recomputed every second when tunnels changed), NAT.
type world struct {
	t        *testing.T
	rand     *rand.Rand
	now      time.Time
	start    time.Time
	queue    events
	serial   int
	nodes    []*simNode
	byAddr   map[netip.Addr]*simNode
	byID     map[PeerID]*simNode
	rtt      func(a, b int) time.Duration
	talk     func(a, b int) bool // UDP gets through the underlay
	changed  bool
	probes   int
	opened   int
	verbose  bool
	deviceOf map[control.TunnelID][]*simDevice
}

type simNode struct {
	w       *world
	index   int
	m       *Manager
	self    Peer
	up      bool
	wake    int // generation of the scheduled wake-up
	devices map[control.TunnelID]*simDevice
	calls   map[uint64]func(control.Answer, error)
	nextKey int
	dist    []int
}

type simDevice struct {
	node     *simNode
	id       control.TunnelID
	key      control.Key
	remote   control.Key
	endpoint netip.AddrPort
	attached bool
	alive    bool
	since    time.Time
	rx       uint64
	extra    int
}

type event struct {
	at     time.Time
	serial int
	run    func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].serial < q[j].serial
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

var simNetwork = netip.MustParsePrefix("2001:db8:42::/48")

// newWorld makes n nodes which know each other and do not run yet.
func newWorld(t *testing.T, seed uint64, n int) *world {
	t.Helper()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), now: start, start: start,
		byAddr: make(map[netip.Addr]*simNode), byID: make(map[PeerID]*simNode),
		deviceOf: make(map[control.TunnelID][]*simDevice),
		rtt:      func(_, _ int) time.Duration { return 10 * time.Millisecond },
		talk:     func(_, _ int) bool { return true },
	}
	for i := range n {
		w.nodes = append(w.nodes, w.newNode(i))
	}
	w.after(time.Second, w.tick)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, %v after the start", seed, w.now.Sub(start))
		}
	})
	return w
}

func (w *world) newNode(i int) *simNode {
	addr := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
	prefix := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x42, byte((i + 1) >> 8), byte(i + 1)}), 64)
	n := &simNode{w: w, index: i, self: Peer{
		Name: fmt.Sprintf("n%d", i), Prefix: prefix,
		Endpoints: []netip.AddrPort{netip.AddrPortFrom(addr, control.Port)},
	}}
	w.byAddr[addr], w.byID[n.self.ID()] = n, n
	return n
}

func (n *simNode) addr() netip.Addr { return n.self.Endpoints[0].Addr() }

func (w *world) after(d time.Duration, run func()) {
	w.serial++
	heap.Push(&w.queue, event{at: w.now.Add(d), serial: w.serial, run: run})
}

// boot starts a node that knows the others given.
func (w *world) boot(i int, p Parameters, knows ...int) {
	n := w.nodes[i]
	n.m = New(Config{
		Self: n.self.ID(), Networks: []netip.Prefix{simNetwork}, MTU: 1420, Silence: 30 * time.Second,
		Rand: rand.New(rand.NewPCG(w.rand.Uint64(), uint64(i))), Parameters: p,
	})
	n.up, n.devices, n.calls = true, make(map[control.TunnelID]*simDevice), make(map[uint64]func(control.Answer, error))
	n.m.SetAddresses(w.now, []netip.Addr{n.addr()})
	var peers []Peer
	for _, k := range knows {
		peers = append(peers, w.nodes[k].self)
	}
	n.m.LearnPeers(w.now, peers, false)
	w.after(0, n.pump)
}

// bootAll starts all nodes, each knowing all.
func (w *world) bootAll(p Parameters) {
	all := make([]int, len(w.nodes))
	for i := range all {
		all[i] = i
	}
	for i := range w.nodes {
		w.boot(i, p, all...)
	}
}

// kill stops a node without a word.
func (w *world) kill(i int) {
	n := w.nodes[i]
	n.up = false
	for _, d := range n.devices {
		d.alive = false
	}
	w.changed = true
}

func (w *world) run(d time.Duration) {
	until := w.now.Add(d)
	steps := 0
	last := w.now
	for len(w.queue) > 0 && !w.queue[0].at.After(until) {
		e := heap.Pop(&w.queue).(event)
		if steps++; e.at.After(last) {
			steps, last = 0, e.at
		}
		if steps > 200_000 {
			w.t.Fatalf("the world spins at %v", w.now.Sub(w.start))
		}
		w.now = e.at
		e.run()
	}
	w.now = until
}

// runUntil returns how long it took.
func (w *world) runUntil(what string, within time.Duration, done func() bool) time.Duration {
	w.t.Helper()
	start := w.now
	for !done() {
		if w.now.Sub(start) >= within {
			w.t.Fatalf("after %v: not %s", within, what)
		}
		w.run(50 * time.Millisecond)
	}
	return w.now.Sub(start)
}

// pump lets a node do what is due, carries out its actions, and schedules its next wake-up.
func (n *simNode) pump() {
	if !n.up {
		return
	}
	for range 50 {
		n.m.Advance(n.w.now)
		out := n.m.Output()
		for _, a := range out.Actions {
			n.do(a)
		}
		if n.w.verbose {
			for _, e := range out.Events {
				n.w.t.Logf("%8v %s-%s %s: %v -> %v, %v %s", n.w.now.Sub(n.w.start), n.self.Name, e.Peer.Name, e.Direction, e.From, e.To, e.Cause, e.Detail)
			}
		}
		d := n.m.Deadline()
		if d.After(n.w.now) {
			n.wake++
			g := n.wake
			n.w.after(d.Sub(n.w.now), func() {
				if g == n.wake {
					n.pump()
				}
			})
			return
		}
	}
	n.w.t.Fatalf("%s: the deadline does not move", n.self.Name)
}

func (n *simNode) oneWay(to *simNode) time.Duration { return n.w.rtt(n.index, to.index) / 2 }

func (n *simNode) reach(t Target) (*simNode, bool) {
	if t.Overlay {
		for _, o := range n.w.nodes {
			if o.self.Address() == t.Addr.Addr() {
				return o, o.up && n.m.routes[o.self.ID()].Metric < Unreachable && n.m.connected() > 0
			}
		}
		return nil, false
	}
	o := n.w.byAddr[t.Addr.Addr()]
	return o, o != nil && o.up && n.w.talk(n.index, o.index)
}

var errSilence = errors.New("no answer")

func (n *simNode) do(a Action) {
	w := n.w
	switch a := a.(type) {
	case Probe:
		w.probes++
		n.probe(a)
	case Create:
		d := &simDevice{node: n, id: a.Tunnel, since: w.now}
		n.nextKey++
		d.key = control.Key{1: byte(n.index), 2: byte(n.nextKey >> 8), 3: byte(n.nextKey), 4: 1, 5: byte(n.index >> 8)}
		n.devices[a.Tunnel] = d
		w.deviceOf[a.Tunnel] = append(w.deviceOf[a.Tunnel], d)
		w.after(2*time.Millisecond, func() {
			n.m.Created(w.now, a.Tunnel, d.key, 6327, nil)
			n.pump()
		})
	case SendOffer:
		w.opened++
		n.sendOffer(a)
	case Reply:
		answer := n.calls[a.Call]
		delete(n.calls, a.Call)
		if answer == nil {
			w.t.Errorf("%s answers call %d twice", n.self.Name, a.Call)
			return
		}
		if a.Refusal != nil {
			answer(control.Answer{}, a.Refusal)
		} else {
			answer(a.Answer, nil)
		}
	case Connect:
		d := n.devices[a.Tunnel]
		d.remote, d.endpoint = a.PublicKey, a.Endpoint
		w.handshake(a.Tunnel)
	case Attach:
		n.devices[a.Tunnel].attached = true
		w.changed = true
	case SetCost:
		n.devices[a.Tunnel].extra = a.Extra
		w.changed = true
	case Detach:
		n.devices[a.Tunnel].attached = false
		w.changed = true
	case Notify:
		n.notify(a)
	case Destroy:
		delete(n.devices, a.Tunnel)
		w.changed = true
	}
}

func (n *simNode) probe(a Probe) {
	w := n.w
	r := ProbeResult{Err: errSilence}
	wait := 3 * time.Second
	for _, t := range a.Targets {
		o, ok := n.reach(t)
		if ok {
			in, room := o.m.Load()
			r = ProbeResult{Target: t, Failed: r.Failed, RTT: w.rtt(n.index, o.index), Info: control.NodeInfo{
				Protocol: control.Protocol, Name: o.self.Name, Prefix: o.self.Prefix, Endpoints: o.self.Endpoints,
				Observed: netip.AddrPortFrom(n.addr(), 999), Incoming: in, Room: room,
			}}
			wait = 3 * r.RTT
			break
		}
		if !t.Overlay {
			r.Failed = append(r.Failed, t.Addr)
		}
	}
	w.after(wait, func() {
		n.m.Probed(w.now, a.Peer.ID(), r)
		n.pump()
	})
}

func (n *simNode) sendOffer(a SendOffer) {
	w := n.w
	done := func(ans control.Answer, err error) {
		n.m.Answered(w.now, a.Tunnel, ans, err)
		n.pump()
	}
	o, ok := n.reach(a.Target)
	if !ok {
		w.after(4*time.Second, func() { done(control.Answer{}, errSilence) })
		return
	}
	var observed netip.AddrPort
	if !a.Target.Overlay {
		observed = netip.AddrPortFrom(n.addr(), 999)
	}
	w.after(n.oneWay(o), func() {
		if !o.up {
			return
		}
		w.serial++
		call := uint64(w.serial)
		o.calls[call] = func(ans control.Answer, err error) { w.after(o.oneWay(n), func() { done(ans, err) }) }
		o.m.Offered(w.now, call, n.self, observed, a.Tunnel, a.Offer)
		o.pump()
	})
}

func (n *simNode) notify(a Notify) {
	o := n.w.byID[a.Peer.ID()]
	reached := false
	for _, t := range a.Targets {
		_, ok := n.reach(t)
		reached = reached || ok
	}
	if !reached {
		return
	}
	n.w.after(n.oneWay(o), func() {
		if !o.up {
			return
		}
		if a.Closed {
			o.m.Deleted(n.w.now, n.self.ID(), a.Tunnel)
		} else {
			o.m.Patched(n.w.now, n.self.ID(), a.Tunnel, control.Patch{Draining: true})
		}
		o.pump()
	})
}

// ends returns the two devices of a tunnel if they know each other and the underlay lets them talk.
func (w *world) ends(id control.TunnelID) (a, b *simDevice, ok bool) {
	d := w.deviceOf[id]
	if len(d) < 2 {
		return nil, nil, false
	}
	a, b = d[len(d)-2], d[len(d)-1]
	ok = a.node.devices[id] == a && b.node.devices[id] == b && a.remote == b.key && b.remote == a.key &&
		a.node.up && b.node.up && w.talk(a.node.index, b.node.index) &&
		(a.endpoint.Addr() == b.node.addr() || b.endpoint.Addr() == a.node.addr())
	return a, b, ok
}

func (w *world) handshake(id control.TunnelID) {
	w.after(5*time.Millisecond, func() {
		a, b, ok := w.ends(id)
		if !ok || a.alive && b.alive {
			return
		}
		a.alive, b.alive = true, true
		for _, d := range []*simDevice{a, b} {
			w.after(w.rtt(a.node.index, b.node.index), func() { d.observe() })
		}
	})
}

func (d *simDevice) observe() {
	if !d.node.up || d.node.devices[d.id] != d || !d.alive {
		return
	}
	d.rx += 100
	d.node.m.Observed(d.node.w.now, d.id, Stats{LastHandshake: d.since, RxBytes: d.rx, Endpoint: d.endpoint})
	d.node.pump()
}

// tick is the routing and the keep-alive of all nodes.
func (w *world) tick() {
	w.after(time.Second, w.tick)
	second := int(w.now.Sub(w.start) / time.Second)
	if second%5 == 0 {
		for _, n := range w.nodes {
			for id, d := range n.devices {
				if _, _, ok := w.ends(id); ok && d.alive && n.up {
					d.rx++
					n.m.Observed(w.now, id, Stats{LastHandshake: d.since, RxBytes: d.rx})
				}
			}
		}
	}
	if w.changed && (len(w.nodes) <= 30 || second%10 == 0) {
		w.changed = false
		w.route()
	}
}

// link is a tunnel that carries routes in both directions.
type link struct {
	to   int
	cost int
}

func (w *world) links() [][]link {
	g := make([][]link, len(w.nodes))
	for id := range w.deviceOf {
		a, b, ok := w.ends(id)
		if ok && a.attached && b.attached {
			c := int(cost(w.rtt(a.node.index, b.node.index))) + max(a.extra, b.extra)
			g[a.node.index] = append(g[a.node.index], link{b.node.index, c})
			g[b.node.index] = append(g[b.node.index], link{a.node.index, c})
		} else if len(w.deviceOf[id]) == 2 && a.node.devices[id] != a && b.node.devices[id] != b {
			delete(w.deviceOf, id)
		}
	}
	return g
}

// route gives every manager the exact metrics.
func (w *world) route() {
	g := w.links()
	for i, n := range w.nodes {
		n.dist = shortest(g, i)
	}
	for i, n := range w.nodes {
		if !n.up {
			continue
		}
		routes := make([]Destination, 0, len(w.nodes))
		var known []Peer
		for j, o := range w.nodes {
			if j == i || n.dist[j] >= Unreachable {
				continue
			}
			d := Destination{Peer: o.self.ID(), Metric: Unreachable, Alternate: Unreachable}
			for _, l := range g[i] {
				c := l.cost + w.nodes[l.to].dist[j]
				switch {
				case c < d.Metric:
					d.Alternate, d.Metric, d.Via = d.Metric, c, w.nodes[l.to].self.ID()
				case c < d.Alternate:
					d.Alternate = c
				}
			}
			routes = append(routes, d)
			known = append(known, Peer{Prefix: o.self.Prefix})
		}
		n.m.SetRoutes(w.now, known, routes)
	}
}

// shortest is Dijkstra's algorithm.
func shortest(g [][]link, from int) []int {
	dist := make([]int, len(g))
	for i := range dist {
		dist[i] = Unreachable
	}
	dist[from] = 0
	q := &intHeap{{0, from}}
	for q.Len() > 0 {
		x := heap.Pop(q).([2]int)
		if x[0] > dist[x[1]] {
			continue
		}
		for _, l := range g[x[1]] {
			if d := x[0] + l.cost; d < dist[l.to] {
				dist[l.to] = d
				heap.Push(q, [2]int{d, l.to})
			}
		}
	}
	return dist
}

type intHeap [][2]int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i][0] < h[j][0] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *intHeap) Push(x any)        { *h = append(*h, x.([2]int)) }
func (h *intHeap) Pop() any {
	o := *h
	x := o[len(o)-1]
	*h = o[:len(o)-1]
	return x
}

// isConnected is true when every running node reaches every other.
func (w *world) isConnected() bool {
	g := w.links()
	for i, n := range w.nodes {
		if !n.up {
			continue
		}
		d := shortest(g, i)
		for j, o := range w.nodes {
			if o.up && d[j] >= Unreachable {
				return false
			}
		}
	}
	return true
}

// isFull is true when every pair that can talk has a tunnel, and both ends say so.
func (w *world) isFull() bool {
	for i, n := range w.nodes {
		for j, o := range w.nodes {
			if i != j && n.up && o.up && w.talk(i, j) && !n.hasUp(o) {
				return false
			}
		}
	}
	return true
}

func (n *simNode) hasUp(o *simNode) bool {
	t := n.m.byPeer[o.self.ID()]
	return t != nil && t.state == Up
}

// check verifies what must hold at every moment.
func (w *world) check() {
	w.t.Helper()
	for _, n := range w.nodes {
		if n.up {
			n.m.checkInvariants(w.t, w.now)
		}
	}
}

// checkInvariants is the machine's own book-keeping.
func (m *Manager) checkInvariants(t interface {
	Helper()
	Errorf(string, ...any)
}, now time.Time,
) {
	t.Helper()
	if len(m.tunnels) != len(m.byPeer) {
		t.Errorf("%d tunnels with %d peers", len(m.tunnels), len(m.byPeer))
	}
	for id, x := range m.tunnels {
		_, bounded := bounds[x.state]
		switch {
		case x.id != id || m.byPeer[x.peer] != x || m.peers[x.peer] == nil:
			t.Errorf("tunnel %v is not where it belongs", id)
		case x.state == Closed || x.state == None:
			t.Errorf("tunnel %v is kept, though %v", id, x.state)
		case bounded == x.until.IsZero():
			t.Errorf("tunnel %v: %v until %v", id, x.state, x.until)
		case bounded && now.Sub(x.since) > 2*bounds[x.state]+time.Second:
			t.Errorf("tunnel %v: %v for %v", id, x.state, now.Sub(x.since))
		}
	}
	in, onDemand, _ := m.incoming()
	if in-min(onDemand, m.demandReserve()) > m.parameters.MaxIncoming {
		t.Errorf("%d incoming tunnels, %d of them on demand, at most %d", in, onDemand, m.parameters.MaxIncoming)
	}
}
