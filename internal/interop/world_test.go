package interop

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
	"re6st/internal/lab/solo"
)

// sideBySide is how many networks run at once, unless -parallel says: they
// mostly wait.
const sideBySide = "8"

func TestMain(m *testing.M) {
	flag.Set("test.parallel", sideBySide)
	os.Exit(lab.Main(m.Run))
}

// Timers of most tests. What is asserted in seconds is asserted for these.
const (
	hello  = 500 * time.Millisecond
	update = 2 * time.Second
)

// world is a network of routers. Node i has the address 2001:db8:i::1 and
// announces 2001:db8:i::/64; the same with 10.i.0.1 and 10.i.0.0/24 where there
// is IPv4.
type world struct {
	*lab.Lab
	nodes []*node
	links []*link
	ipv4  ipv4
	dead  *node // its router does not run
	cut   *link // carries nothing

	slower int // by how much its timers are than those of this package, or 0
}

// ipv4 says what IPv4 a world has.
type ipv4 int

const (
	noIPv4  ipv4 = iota
	ae1          // every link has IPv4 addresses
	viaIPv6      // only the nodes have: RFC 9229
)

type node struct {
	*lab.Host
	number  int
	program string
	config  lab.RouterConfig
	router  *lab.Router
	ports   map[string]*node // by interface
}

// link is a cable; relay is set instead of Link where it has weather.
type link struct {
	*lab.Link
	relay *lab.Relay
	a, b  *node
}

func (l *link) joins(x, y *node) bool { return l.a == x && l.b == y || l.a == y && l.b == x }

func (n *node) prefix() netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/64", n.number+1))
}

func (n *node) address() netip.Addr { return n.prefix().Addr().Next() }

func (n *node) prefix4() netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/24", n.number+1))
}

func (n *node) address4() netip.Addr { return n.prefix4().Addr().Next() }

// newWorld makes hosts that run the programs, which are words such as "ours",
// and cables between pairs of them. Nothing runs yet.
func newWorld(t *testing.T, programs string, cables [][2]int, v4 ipv4) *world {
	t.Helper()
	w := &world{Lab: lab.New(t), ipv4: v4}
	for i, program := range strings.Fields(programs) {
		n := &node{Host: w.Host(fmt.Sprintf("h%d", i+1)), number: i, program: program, ports: map[string]*node{}}
		n.config = lab.RouterConfig{Announce: []netip.Prefix{n.prefix()}, Hello: hello, Update: update}
		n.IP(fmt.Sprintf("addr add %v/128 dev lo", n.address()))
		if v4 != noIPv4 {
			n.IP(fmt.Sprintf("addr add %v/32 dev lo", n.address4()))
			n.config.Announce = append(n.config.Announce, n.prefix4())
		}
		w.nodes = append(w.nodes, n)
	}
	for _, ends := range cables {
		a, b := w.nodes[ends[0]], w.nodes[ends[1]]
		w.connect(&link{Link: w.Connect(a.Host, b.Host), a: a, b: b})
	}
	return w
}

// relay lays a cable with weather.
func (w *world) relay(a, b *node, weather lab.Weather) {
	w.connect(&link{relay: w.Relay(a.Host, b.Host, weather, 1), a: a, b: b})
}

func (w *world) connect(l *link) {
	ends := [2]lab.Interface{}
	if l.relay != nil {
		ends = [2]lab.Interface{l.relay.A, l.relay.B}
	} else {
		ends = [2]lab.Interface{l.A, l.B}
	}
	l.a.attach(ends[0].Name, l.b)
	l.b.attach(ends[1].Name, l.a)
	if w.ipv4 == ae1 {
		for i, end := range ends {
			end.Add(netip.MustParsePrefix(fmt.Sprintf("10.255.%d.%d/24", len(w.links), i+1)))
		}
	}
	w.links = append(w.links, l)
}

func (n *node) attach(name string, peer *node) {
	n.ports[name] = peer
	n.config.Interfaces = append(n.config.Interfaces, name)
}

// count is the number of programs in words.
func count(programs string) int { return len(strings.Fields(programs)) }

// chain of n nodes, ring of n nodes, and the diamond, a ring of four whose
// first and last node are the ends.
func chain(n int) [][2]int {
	var cables [][2]int
	for i := range n - 1 {
		cables = append(cables, [2]int{i, i + 1})
	}
	return cables
}

func ring(n int) [][2]int { return append(chain(n), [2]int{n - 1, 0}) }

var diamond = [][2]int{{0, 1}, {0, 2}, {1, 3}, {2, 3}}

// configure changes all nodes' configurations.
func (w *world) configure(change func(n *node)) {
	for _, n := range w.nodes {
		change(n)
	}
}

// start runs all routers and returns how long it took until every node had a
// route to every other, that leads there.
func (w *world) start(atMost time.Duration) time.Duration {
	w.TB.Helper()
	w.Await("link-local addresses", 10*time.Second, w.haveAddresses)
	if os.Getenv("RE6ST_LAB_LOGS") != "" {
		w.listen()
	}
	begin := time.Now()
	for _, n := range w.nodes {
		n.router = lab.Routers[n.program](n.Host, n.config)
	}
	started := time.Since(begin)
	// Eight networks start at once on two processors: a look that has to wait for one
	// counts for no more than looks do.
	took, err := solo.Poll(50*time.Millisecond, 150*time.Millisecond, lab.Slow(atMost), w.routesLead)
	if err != nil {
		w.TB.Fatalf("waiting %v (%v of the clock) for all to have learned all: %v", atMost, took.Round(time.Millisecond), err)
	}
	w.TB.Logf("measured: started in %v, all learned %v later", started.Round(time.Millisecond), took.Round(time.Millisecond))
	return took
}

// haveAddresses says whether the kernels have given every port a link-local
// address, which takes them up to a second and is no router's business.
func (w *world) haveAddresses() error {
	for _, n := range w.nodes {
		routes, err := n.KernelRoutes()
		if err != nil {
			return err
		}
		for port := range n.ports {
			if !slices.ContainsFunc(routes, func(r lab.KernelRoute) bool { return r.Interface == port && r.Prefix.Addr().IsLinkLocalUnicast() }) {
				return fmt.Errorf("%s of %s has none", port, n.Name)
			}
		}
	}
	return nil
}

// listen puts what all nodes say beside the logs.
func (w *world) listen() {
	w.TB.Helper()
	for _, n := range w.nodes {
		p := n.Start("tcpdump", "tcpdump", "-i", "any", "-U", "-w", filepath.Join(w.Dir, "logs", n.Name+".pcap"), "udp port 6696")
		w.Await("tcpdump to listen", 5*time.Second, func() error {
			if !strings.Contains(p.Output(), "listening on") {
				return fmt.Errorf("it says %q", p.Output())
			}
			return nil
		})
	}
}

func (w *world) awaitRoutes(what string, atMost time.Duration) time.Duration {
	w.TB.Helper()
	return w.Await(what, atMost, w.routesLead)
}

// routesLead says whether from every node the kernels' routes to every other
// lead there.
func (w *world) routesLead() error {
	tables, err := w.tables()
	if err != nil {
		return err
	}
	return w.eachPair(func(from, to *node) error {
		prefixes := []netip.Prefix{to.prefix()}
		if w.ipv4 != noIPv4 {
			prefixes = append(prefixes, to.prefix4())
		}
		for _, prefix := range prefixes {
			if _, err := w.walk(tables, from, to, prefix, netip.Prefix{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachPair calls f for both orders of every two nodes whose routers run.
func (w *world) eachPair(f func(from, to *node) error) error {
	for _, to := range w.nodes {
		for _, from := range w.nodes {
			if from == to || from == w.dead || to == w.dead {
				continue
			}
			if err := f(from, to); err != nil {
				return err
			}
		}
	}
	return nil
}

type tables map[*node][]lab.KernelRoute

func (w *world) tables() (tables, error) {
	all := tables{}
	for _, n := range w.nodes {
		routes, err := n.KernelRoutes()
		if err != nil {
			return nil, err
		}
		all[n] = routes
	}
	return all, nil
}

// walk follows the kernels' routes and returns the way.
func (w *world) walk(all tables, from, to *node, prefix, source netip.Prefix) ([]*node, error) {
	way := []*node{from}
	for at := from; at != to; {
		i := slices.IndexFunc(all[at], func(r lab.KernelRoute) bool {
			return r.Prefix == prefix && r.From == source && !r.Unreachable && at.ports[r.Interface] != nil
		})
		if i < 0 {
			return way, fmt.Errorf("%s (%s) has no route to %v from %v in the kernel; on the way from %s", at.Name, at.program, prefix, source, from.Name)
		}
		next := at.ports[all[at][i].Interface]
		switch {
		case slices.Contains(way, next):
			return way, fmt.Errorf("routes to %v loop at %s (%s), which was on the way already", prefix, next.Name, next.program)
		case next == w.dead:
			return way, fmt.Errorf("the route of %s (%s) to %v leads to %s, which is dead", at.Name, at.program, prefix, next.Name)
		case w.cut != nil && w.cut.joins(at, next):
			return way, fmt.Errorf("the route of %s (%s) to %v leads over the link to %s, which is cut", at.Name, at.program, prefix, next.Name)
		}
		at = next
		way = append(way, at)
	}
	return way, nil
}

// pingAll wants an answer from every node to every other.
func (w *world) pingAll() {
	w.TB.Helper()
	for _, from := range w.nodes {
		var to []netip.Addr
		for _, n := range w.nodes {
			if n != from && n != w.dead && from != w.dead {
				to = append(to, n.address())
			}
		}
		answers, err := from.PingAll(to, lab.Slow(10*time.Second))
		if err != nil {
			w.TB.Fatalf("%v", err)
		}
		for _, a := range answers {
			if !a.OK {
				w.TB.Errorf("%s (%s) gets no answer from %v: %s", from.Name, from.program, a.To, a.Err)
			}
		}
	}
	if w.ipv4 != noIPv4 {
		w.pingAll4()
	}
}

// pingAll4 takes the source that is announced: that of a link is not.
func (w *world) pingAll4() {
	w.TB.Helper()
	for _, from := range w.nodes {
		for _, to := range w.nodes {
			if to == from {
				continue
			}
			if _, err := from.Try("ping", "-q", "-c1", "-W10", "-I", from.address4().String(), to.address4().String()); err != nil {
				w.TB.Errorf("IPv4 from %s to %s: %v", from.Name, to.Name, err)
			}
		}
	}
}
