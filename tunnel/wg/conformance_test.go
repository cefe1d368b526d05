package wg

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/tunnel/wg/userspace"
)

func newKey(t *testing.T) Key {
	t.Helper()
	k, err := NewKey()
	must(t, err)
	return k
}

// tunnelEnd is one end in a test.
type tunnelEnd struct {
	n       *node
	name    string
	private Key
	port    uint16
	index   int
}

func (n *node) create(name, linkLocal string) tunnelEnd {
	n.t.Helper()
	e := tunnelEnd{n: n, name: name, private: newKey(n.t)}
	a := n.want(e.request(linkLocal, 0))
	e.port, e.index = a.Port, a.Index
	return e
}

func (e tunnelEnd) request(linkLocal string, port uint16) request {
	return request{Op: "create", Name: e.name, LinkLocal: netip.MustParseAddr(linkLocal), PrivateKey: e.private.Reveal(), Port: port}
}

func (e tunnelEnd) peer(other tunnelEnd, psk Key, endpoint string) {
	e.n.t.Helper()
	r := request{Op: "peer", Name: e.name, PublicKey: other.private.Public().Reveal(), Preshared: psk.Reveal()}
	if endpoint != "" {
		r.Endpoint = netip.MustParseAddrPort(fmt.Sprintf(endpoint, other.port))
	}
	e.n.want(r)
}

func (e tunnelEnd) stats() Stats {
	e.n.t.Helper()
	return e.n.want(request{Op: "stats", Name: e.name}).Stats
}

func (e tunnelEnd) awaitHandshake(after time.Time) {
	e.n.t.Helper()
	await(e.n.t, e.name+" has a handshake", 115*time.Second, func() bool { return e.stats().LastHandshake.After(after) })
}

// One test for both backends: RE6ST_WG=kernel go test -run TestConformance.
func TestConformance(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	a, b := newNode(t, "a"), newNode(t, "b")
	join(t, a, b)
	left, right := a.create("re6st-0000000a", "fe80::a:1"), b.create("re6st-0000000b", "fe80::b:1")
	for _, e := range []tunnelEnd{left, right} {
		if e.port < DefaultPorts.First || e.port > DefaultPorts.Last || e.index == 0 {
			t.Errorf("%s: port %d, index %d", e.name, e.port, e.index)
		}
		if s := e.stats(); s != (Stats{}) {
			t.Errorf("%s before it has a peer: %+v", e.name, s)
		}
	}

	t.Log("a session over link-local addresses, where only one end knows the other")
	psk := newKey(t)
	right.peer(left, psk, "")
	left.peer(right, psk, "[fe80::b%%eth0]:%d")
	left.awaitHandshake(time.Time{})
	right.awaitHandshake(time.Time{})
	if got := right.stats().Endpoint; got.Addr().WithZone("") != netip.MustParseAddr("fe80::a") || got.Port() != left.port {
		t.Errorf("the end that waited learnt %v", got)
	}

	t.Log("packets both ways, multicast too, of both families")
	a.run("ping -6 -c 2 -i 0.2 -W 2 fe80::b:1%re6st-0000000a")
	b.run("ping -6 -c 2 -i 0.2 -W 2 fe80::a:1%re6st-0000000b")
	a.run("ping -6 -c 2 -i 0.2 -W 2 ff02::1%re6st-0000000a")
	a.run("ip addr add 10.42.0.1/24 dev re6st-0000000a")
	b.run("ip addr add 10.42.0.2/24 dev re6st-0000000b")
	a.run("ping -4 -c 2 -i 0.2 -W 2 10.42.0.2")
	if s := left.stats(); s.RxBytes < 500 || s.TxBytes < 500 {
		t.Errorf("counters after pings: %+v", s)
	}

	t.Log("what people see")
	for what, want := range map[string][]string{
		"wg show re6st-0000000a":                          {"listening port: " + fmt.Sprint(left.port), "fwmark: 0x6e36", "preshared key: (hidden)", "allowed ips: ::/0, 0.0.0.0/0", "persistent keepalive: every 1 second"},
		"ip -d link show re6st-0000000a":                  {"mtu 1420", "qlen 1000", "alias re6st 0badcafe to peer", "addrgenmode none"},
		"ip -6 addr show dev re6st-0000000a":              {"inet6 fe80::a:1/64 scope link nodad"},
		"sysctl net.ipv6.conf.re6st-0000000a.accept_ra":   {"= 0"},
		"sysctl net.ipv6.conf.re6st-0000000a.autoconf":    {"= 0"},
		"sysctl net.ipv4.conf.re6st-0000000a.rp_filter":   {"="},
		"sysctl net.ipv6.conf.re6st-0000000a.forwarding":  {"="},
		"ip -6 route show table main dev re6st-0000000a":  {"fe80::/64"},
		"ip -6 route show table local dev re6st-0000000a": {"ff00::/8"},
	} {
		got := a.run(what)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", what, w, got)
			}
		}
	}
	if got := a.run("ip -6 addr show dev re6st-0000000a"); strings.Count(got, "inet6") != 1 {
		t.Errorf("more addresses than ours:\n%s", got)
	}
	if kind() == Kernel && !strings.Contains(a.run("ip -d link show re6st-0000000a"), "wireguard") {
		t.Error("this is not the kernel's WireGuard")
	}

	t.Log("another endpoint for the same key: the session goes on")
	before := left.stats().LastHandshake
	// What the other end has just sent from the old one leads back there: that is
	// roaming, and once is enough.
	moved := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), right.port)
	await(t, "the session to move", 15*time.Second, func() bool {
		left.peer(right, psk, "192.0.2.2:%d")
		a.run("ping -6 -c 2 -i 0.2 -W 2 fe80::b:1%re6st-0000000a")
		return left.stats().Endpoint == moved
	})
	if s := left.stats(); !s.LastHandshake.Equal(before) {
		t.Errorf("after moving: handshake %v, before %v", s.LastHandshake, before)
	}

	t.Log("another key: another session")
	third := b.create("re6st-0000000c", "fe80::c:1")
	third.peer(left, psk, "")
	left.peer(third, psk, "192.0.2.2:%d")
	third.awaitHandshake(time.Time{})
	if got := a.run("wg show re6st-0000000a peers"); strings.Count(got, "\n") != 1 || strings.TrimSpace(got) != third.private.Public().Reveal() {
		t.Errorf("peers: %q, want the new one alone", got)
	}

	t.Log("another pre-shared key: no session")
	fourth := b.create("re6st-0000000d", "fe80::d:1")
	fourth.peer(left, newKey(t), "")
	left.peer(fourth, psk, "192.0.2.2:%d")
	a.ask(request{Op: "run", Command: "ping -6 -c 1 -W 1 fe80::d:1%re6st-0000000a"})
	if s := fourth.stats(); !s.LastHandshake.IsZero() {
		t.Errorf("a handshake with different pre-shared keys: %+v", s)
	}

	t.Log("gone without a trace")
	for _, e := range []tunnelEnd{left, right, third, fourth} {
		e.n.want(request{Op: "close", Name: e.name})
		e.n.want(request{Op: "close", Name: e.name})
		if a := e.n.ask(request{Op: "stats", Name: e.name}); !strings.Contains(a.Error, "closed") {
			t.Errorf("stats of a closed device: %q", a.Error)
		}
		if got := e.n.run("ip -o link"); strings.Contains(got, e.name) {
			t.Errorf("%s is still there:\n%s", e.name, got)
		}
	}
	if left, _ := filepath.Glob(userspace.SocketDir + "/*"); len(left) != 0 {
		t.Errorf("control sockets left: %v", left)
	}
}

func TestNameTaken(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	a, b := newNode(t, "a"), newNode(t, "b")
	first := a.create("re6st-00000001", "fe80::1")
	a.wantClass("name", first.request("fe80::2", 0))
	if kind() == Userspace {
		// Another namespace has the interface's name free, but shares /run.
		got := b.wantClass("name", first.request("fe80::2", 0))
		if !strings.Contains(got.Error, "re6st-00000001.sock") {
			t.Errorf("error %q, want the socket's path", got.Error)
		}
	}
	a.want(request{Op: "close", Name: first.name})
	b.want(first.request("fe80::2", 0))
}

func TestPorts(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	a := newNode(t, "a")
	a.want(request{Op: "select", Kind: kind(), Ports: PortRange{First: 7000, Last: 7001}})
	if kind() == Userspace {
		sharedPort(t, a)
		return
	}
	one, two := a.create("re6st-00000001", "fe80::1"), a.create("re6st-00000002", "fe80::1")
	if one.port+two.port != 14001 {
		t.Errorf("ports %d and %d, want 7000 and 7001", one.port, two.port)
	}
	three := tunnelEnd{name: "re6st-00000003", private: newKey(t)}
	a.wantClass("port", three.request("fe80::1", 0))
	a.wantClass("used", three.request("fe80::1", one.port))
	if got := a.run("ip -o link"); strings.Contains(got, three.name) {
		t.Errorf("a device that could not be made is there:\n%s", got)
	}
	a.want(request{Op: "close", Name: one.name})
	if got := a.want(three.request("fe80::1", 0)); got.Port != one.port {
		t.Errorf("port %d, want the freed %d", got.Port, one.port)
	}
}

// sharedPort: userspace devices have one port together, the first that is free.
func sharedPort(t *testing.T, a *node) {
	t.Helper()
	for i := range 3 {
		e := a.create(fmt.Sprintf("re6st-%08x", i), "fe80::1")
		if e.port != 7000 {
			t.Errorf("device %d has port %d, want 7000", i, e.port)
		}
		if got := a.run("wg show " + e.name + " listen-port"); strings.TrimSpace(got) != "7000" {
			t.Errorf("device %d says its port is %s", i, got)
		}
	}
	if got := a.run("ss -Hlun sport = :7000"); strings.Count(got, "\n") != 2 {
		t.Errorf("sockets, want one of each family:\n%s", got)
	}
	other := tunnelEnd{name: "re6st-00000009", private: newKey(t)}
	a.wantClass("used", other.request("fe80::1", 7001))
	if got := a.run("ip -o link"); strings.Contains(got, other.name) {
		t.Errorf("a device that could not be made is there:\n%s", got)
	}
	for i := range 3 {
		a.want(request{Op: "close", Name: fmt.Sprintf("re6st-%08x", i)})
	}
	if got := a.run("ss -Hlun"); got != "" {
		t.Errorf("the port is still open:\n%s", got)
	}

	t.Log("another backend, as another process would, has the first port; then both")
	again := request{Op: "select", Kind: kind(), Ports: PortRange{First: 7000, Last: 7001}}
	for i, want := range []uint16{7000, 7001} {
		a.want(again)
		if e := a.create(fmt.Sprintf("re6st-%08x", i), "fe80::1"); e.port != want {
			t.Errorf("port %d, want %d", e.port, want)
		}
	}
	a.want(again)
	a.wantClass("port", other.request("fe80::1", 0))
}

// Someone deletes the interface under us (F-09): that is seen, and Close tidies.
func TestInterfaceDeletedByOthers(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	a := newNode(t, "a")
	e := a.create("re6st-00000001", "fe80::1")
	a.run("ip link del re6st-00000001")
	await(t, "Stats fails", 15*time.Second, func() bool { return a.ask(request{Op: "stats", Name: e.name}).Error != "" })
	a.want(request{Op: "close", Name: e.name})
	if left, _ := filepath.Glob(userspace.SocketDir + "/*"); len(left) != 0 {
		t.Errorf("control sockets left: %v", left)
	}
	a.want(e.request("fe80::1", 0))
}

func TestLeftoversAfterKill(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	a, other := newNode(t, "a"), newNode(t, "other")
	a.create("re6st-00000001", "fe80::1")
	alive := other.create("re6st-00000002", "fe80::1")
	a.kill()
	if kind() == Userspace {
		if removed, isYoung, err := removeDeadSockets(userspace.SocketDir, time.Now()); err != nil || len(removed) != 0 || !isYoung {
			t.Errorf("a socket that may be just opening: removed %v, %v", removed, err)
		}
		removed, _, err := removeDeadSockets(userspace.SocketDir, time.Now().Add(time.Minute))
		if err != nil || len(removed) != 1 || filepath.Base(removed[0]) != "re6st-00000001.sock" {
			t.Errorf("removed %v, %v; want the dead one alone", removed, err)
		}
	}
	if kind() == Kernel {
		leaveInterface(t, "re6st-00000003")
	}
	removed, err := RemoveLeftovers("0badcafe")
	if err != nil || slices.Contains(removed, "re6st-00000003") != (kind() == Kernel) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if got := run(t, "ip -o link"); strings.Contains(got, "re6st-") {
		t.Errorf("left:\n%s", got)
	}
	alive.stats()
	if kind() == Userspace {
		if _, err := os.Stat(userspace.SocketPath(alive.name)); err != nil {
			t.Errorf("the living one's socket: %v", err)
		}
	}
}

// leaveInterface makes one in the test's own namespace, whose maker is not seen
// again. (A userspace one ends with its process.)
func leaveInterface(t *testing.T, name string) {
	t.Helper()
	b, err := newKernel(PortRange{})
	must(t, err)
	_, err = b.Create(Config{Name: name, Alias: "re6st 0badcafe to peer", PrivateKey: newKey(t), LinkLocal: netip.MustParseAddr("fe80::1")})
	must(t, err)
	must(t, b.Close())
}

// What devices take is given back, and is reported.
func TestManyDevices(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const count = 20
	a := newNode(t, "a")
	warm := a.create("re6st-ffffffff", "fe80::1")
	a.want(request{Op: "close", Name: warm.name})
	ask := func(op string) int { return a.want(request{Op: op}).Number }
	goroutines, files, rss := ask("goroutines"), ask("files"), ask("rss")
	start := time.Now()
	var all []tunnelEnd
	for i := range count {
		all = append(all, a.create(fmt.Sprintf("re6st-%08x", i), "fe80::1"))
	}
	created := time.Since(start) / count
	full := ask("rss")
	start = time.Now()
	for _, e := range all {
		a.want(request{Op: "close", Name: e.name})
	}
	closed := time.Since(start) / count
	t.Logf("%s: create %v, close %v, %d KiB resident each (idle, %d of them)", kind(), created.Round(10*time.Microsecond), closed.Round(10*time.Microsecond), (full-rss)/count, count)
	await(t, "no goroutine is left", 15*time.Second, func() bool { return ask("goroutines") <= goroutines })
	await(t, "no descriptor is left", 15*time.Second, func() bool { return ask("files") <= files })
}
