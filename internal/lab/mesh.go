package lab

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// Network is the mesh's prefix in the lab.
const Network = "2001:db8:42::/48"

// MeshConfig says what mesh to make; the zero value of each field has a sense.
type MeshConfig struct {
	Nodes   int
	Backend string // "": as RE6ST_WG says, else userspace
	Tunnels int    // 0: the network's parameter
	Refresh time.Duration
	Prefix  string // of the network; "": Network
	// Family of node i's underlay; nil: dual stack.
	Family func(i int) Family
	// Weather of node i's cable, in both directions; nil: none.
	Weather func(i int) Weather
	// May nodes i and j talk over the underlay; nil: all may. All reach the
	// registry.
	Talk func(i, j int) bool
	// RegistryNode puts a node on the registry's host as well. It is the last
	// of Mesh.Nodes, and Talk is asked for it as for others.
	RegistryNode bool
	Flags        []string // of all nodes
	Init         []string // more flags of re6stregistry init
	// Token gives more flags of the token with which node i joins; nil: none.
	Token func(i int) []string
}

// Backend is the one that RE6ST_WG names, userspace unless told.
func Backend() string {
	if b := os.Getenv("RE6ST_WG"); b != "" {
		return b
	}
	return "userspace"
}

// Mesh is a registry and nodes that have joined it.
type Mesh struct {
	Lab      *Lab
	Net      *Internet
	Registry *Registry
	Nodes    []*Node

	Started time.Time // of the registry's server
	before  Census
}

// Mesh builds the hosts, starts the registry and joins all nodes. None runs
// yet: see Start.
func (l *Lab) Mesh(c MeshConfig) *Mesh {
	l.TB.Helper()
	m := &Mesh{Lab: l, Net: l.Internet("core")}
	place := m.Net.Attach(l.Host("registry"), Dual)
	if c.Backend == "" {
		c.Backend = Backend()
	}
	flags := []string{"--wireguard", c.Backend, "--log-level", "debug"}
	if c.Tunnels > 0 {
		flags = append(flags, "--tunnels", fmt.Sprint(c.Tunnels))
	}
	if c.Refresh > 0 {
		flags = append(flags, "--refresh", c.Refresh.String())
	}
	flags = append(flags, c.Flags...)
	for i := range c.Nodes {
		f := Dual
		if c.Family != nil {
			f = c.Family(i)
		}
		h := l.Host(fmt.Sprintf("n%02d", i))
		m.Nodes = append(m.Nodes, l.Node(h, m.place(c, i, h, f), "otter-"+h.Name, flags...))
	}
	if c.RegistryNode {
		m.Nodes = append(m.Nodes, l.Node(place.Host, place, "otter-hub", flags...))
	}
	m.restrict(c.Talk)
	if c.Prefix == "" {
		c.Prefix = Network
	}
	m.Registry = l.RegistryWith(place.Host, c.Prefix, c.Init, place.V6, place.V4)
	m.before = l.Census(m.hosts()...)
	m.Started = time.Now()
	m.Registry.Serve()
	m.join(m.Nodes, c.Token)
	return m
}

func (m *Mesh) place(c MeshConfig, i int, h *Host, f Family) *Port {
	if c.Weather == nil {
		return m.Net.Attach(h, f)
	}
	return m.Net.attach(h, f, func() *Link {
		r := h.Lab.Relay(h, m.Net.Router, c.Weather(i), uint64(i), "", "to-"+h.Name)
		return &Link{A: r.A, B: r.B}
	})
}

func (m *Mesh) hosts() []*Host {
	var hosts []*Host
	for _, n := range m.Nodes {
		hosts = append(hosts, n.Host)
	}
	return hosts
}

// restrict makes the firewall of the underlay.
func (m *Mesh) restrict(talk func(i, j int) bool) {
	if talk == nil {
		return
	}
	index := map[*Host]int{}
	for i, n := range m.Nodes {
		index[n.Host] = i
	}
	m.Net.Only(func(a, b *Host) bool {
		i, isNode := index[a]
		j, isNodeToo := index[b]
		return !isNode || !isNodeToo || talk(i, j)
	})
}

// joinsAtOnce bounds how many nodes join side by side.
const joinsAtOnce = 4

// join enrols the nodes; flags gives those of the token of node i.
func (m *Mesh) join(nodes []*Node, flags func(i int) []string) {
	m.Lab.TB.Helper()
	tokens := map[*Node]string{}
	shared := ""
	for i, n := range nodes {
		var more []string
		if flags != nil {
			more = flags(i)
		}
		switch {
		case len(more) > 0:
			tokens[n] = m.Registry.NewToken(1, more...)
		case shared == "":
			shared = m.Registry.NewToken(len(nodes))
			fallthrough
		default:
			tokens[n] = shared
		}
	}
	errs := m.each(nodes, joinsAtOnce, func(n *Node) error { return n.Join(tokens[n]) })
	if len(errs) > 0 {
		m.Lab.TB.Fatalf("joining: %d of %d failed, first: %v", len(errs), len(nodes), errs[0])
	}
}

// each calls f for the nodes, so many at once, and returns what went wrong.
func (m *Mesh) each(nodes []*Node, atOnce int, f func(*Node) error) []error {
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, n := range nodes {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := f(n); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errs
}

// Start runs all nodes that have joined.
func (m *Mesh) Start() {
	m.Lab.TB.Helper()
	for _, n := range m.Nodes {
		if n.Address.IsValid() {
			n.Run()
		}
	}
}

// AwaitUp waits until all running nodes answer for themselves: their rules and
// routes are then in place, and nothing for the mesh takes another way.
func (m *Mesh) AwaitUp() {
	m.Lab.TB.Helper()
	for _, n := range m.Running() {
		m.Lab.Await(n.Name+" to be up", 20*time.Second, func() error {
			if n.Proc.Exited() {
				return fmt.Errorf("it has ended: %s", n.Proc.Status())
			}
			_, err := n.Status()
			return err
		})
	}
}

// Running returns the nodes whose daemons live.
func (m *Mesh) Running() []*Node {
	var nodes []*Node
	for _, n := range m.Nodes {
		if n.Proc != nil && !n.Proc.Exited() {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Others are the nodes but those given.
func (m *Mesh) Others(but ...*Node) []*Node {
	var nodes []*Node
next:
	for _, n := range m.Nodes {
		for _, b := range but {
			if n == b {
				continue next
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// Stop ends all running nodes in an orderly way, side by side, and wants each
// to end well. The kernel takes interfaces and their programs away one after the
// other, for all hosts.
func (m *Mesh) Stop() {
	m.Lab.TB.Helper()
	bound := Slow(10*time.Second + time.Duration(len(m.Nodes))*250*time.Millisecond)
	errs := m.each(m.Running(), len(m.Nodes), func(n *Node) error {
		took, err := n.Stop()
		if err == nil && took > bound {
			err = fmt.Errorf("%s took %v to stop", n.Name, took)
		}
		return err
	})
	for _, err := range errs {
		m.Lab.TB.Errorf("stopping: %v", err)
	}
}

// WantClean stops everything in an orderly way and wants each host as it was
// before the mesh.
func (m *Mesh) WantClean() {
	m.Lab.TB.Helper()
	m.Stop()
	if m.Registry.Proc != nil && !m.Registry.Proc.Exited() {
		m.Registry.Stop()
	}
	m.Lab.WantClean(m.before, m.hosts()...)
}

// Reach is what all pairs saw of each other.
type Reach struct {
	Pairs   int
	Reached int
	Missing []string // "a to b: why"
	Hops    map[int]int
	RTT     time.Duration // the largest
	Took    time.Duration
}

func (r Reach) String() string {
	return fmt.Sprintf("%d of %d ordered pairs in %v, by hops %v, slowest round trip %v", r.Reached, r.Pairs, r.Took.Round(time.Millisecond), r.Hops, r.RTT.Round(10*time.Microsecond))
}

// Err is nil if all pairs were reached.
func (r Reach) Err() error {
	if len(r.Missing) == 0 {
		return nil
	}
	show := r.Missing
	if len(show) > examplesMax {
		show = show[:examplesMax]
	}
	return fmt.Errorf("%d of %d ordered pairs are missing:\n\t%s", len(r.Missing), r.Pairs, strings.Join(show, "\n\t"))
}

// Reach pings between all ordered pairs of the nodes, each until it answers or
// the time is over.
func (m *Mesh) Reach(timeout time.Duration, nodes ...*Node) Reach {
	return m.ReachSize(timeout, 0, nodes...)
}

// ReachSize is Reach with so many bytes of payload; a packet has 48 more.
func (m *Mesh) ReachSize(timeout time.Duration, size int, nodes ...*Node) Reach {
	if len(nodes) == 0 {
		nodes = m.Running()
	}
	r := Reach{Hops: map[int]int{}}
	var mu sync.Mutex
	start := time.Now()
	m.each(nodes, len(nodes), func(n *Node) error {
		var to []netip.Addr
		var names []string
		for _, peer := range nodes {
			if peer != n {
				to, names = append(to, peer.Address), append(names, peer.Name)
			}
		}
		results, err := n.Host.PingSize(to, timeout, size)
		mu.Lock()
		defer mu.Unlock()
		r.Pairs += len(to)
		if err != nil {
			r.Missing = append(r.Missing, err.Error())
			return nil
		}
		for i, res := range results {
			if !res.OK {
				r.Missing = append(r.Missing, fmt.Sprintf("%s to %s: %s", n.Name, names[i], res.Err))
				continue
			}
			r.Reached++
			r.Hops[res.Hops]++
			r.RTT = max(r.RTT, res.RTT)
		}
		return nil
	})
	r.Took = time.Since(start)
	return r
}

// AllPairs wants every pair of the nodes, all running ones unless told, to
// answer in time.
func (m *Mesh) AllPairs(timeout time.Duration, nodes ...*Node) Reach {
	m.Lab.TB.Helper()
	r := m.Reach(Slow(timeout), nodes...)
	if err := r.Err(); err != nil {
		m.Lab.TB.Fatalf("all pairs in %v: %v", Slow(timeout), err)
	}
	return r
}

// Stream starts a stream between the nodes.
func (m *Mesh) Stream(perSecond int, nodes ...*Node) *Stream {
	m.Lab.TB.Helper()
	var ends []End
	for _, n := range nodes {
		ends = append(ends, End{n.Host, n.Address})
	}
	return m.Lab.Stream(perSecond, ends, nil)
}
