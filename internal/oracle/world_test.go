package oracle

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"re6st/internal/lab"
	"re6st/internal/lab/packets"
	"re6st/tunnel/wg"
)

// What the relay of all comparisons is: a node 1 of the mesh, with tunnels, a LAN
// and an Internet of its own. Its routes and rules are those that the product makes
// (kernel.Plan), and more that it could meet.
const (
	network6, network4 = "2001:db8:42::/48", "10.42.0.0/16"
	meshTable          = 326
	mark               = 0x6e36

	lanName, uplinkName = "l1", "u1"
)

// own are the relay's addresses.
var own = []netip.Addr{
	netip.MustParseAddr("2001:db8:42:1::1"), netip.MustParseAddr("10.42.1.1"),
	netip.MustParseAddr("2001:db8:ffff::2"), netip.MustParseAddr("192.0.2.2"),
}

// tunnel is one of the relay's. Behind number k are 2001:db8:42:1k::/64 and
// 10.42.(16k).0/20, and its far end is fe80::k:2.
type tunnel struct {
	number   int
	mtu      int
	offloads bool // of a TUN: packets stay whole
}

func (k tunnel) name() string { return fmt.Sprintf("t%d", k.number) }

var tunnels = []tunnel{{1, 1420, true}, {2, 1420, true}, {3, 1280, true}, {4, 1500, false}}

// world is the relay and its surroundings, in this process's namespace.
type world struct {
	t       *testing.T
	ports   []port
	ingress []port // into which packets are sent
	plans   map[string]packets.Plan
	// shortcut is switched between the two ways of each batch.
	shortcut func(on bool) error
	relayer  wg.Relayer // nil: nothing is handed over inside the process
	round    int
}

// newWorld makes the relay; open makes its tunnels, which are up afterwards.
func newWorld(t *testing.T, open func(t *testing.T, k tunnel) port) *world {
	t.Helper()
	w := &world{t: t, plans: map[string]packets.Plan{}, shortcut: func(bool) error { return nil }}
	t.Cleanup(w.close)
	setSysctls(t)
	for _, k := range tunnels {
		w.ports = append(w.ports, open(t, k))
	}
	lan, err := openLAN(lanName, 1500)
	lab.Must(t, err)
	uplink, err := openLAN(uplinkName, 1500)
	lab.Must(t, err)
	w.ports = append(w.ports, lan, uplink)
	w.ingress = w.ports[:len(w.ports)-1]
	lab.Must(t, lab.Batch(0, addressLines()...))
	lab.Must(t, lab.Batch(6, append(routeLines(routes6), ruleLines(network6)...)...))
	lab.Must(t, lab.Batch(4, append(routeLines(routes4), ruleLines(network4)...)...))
	setSysctls(t) // of the new interfaces
	for _, p := range w.ingress {
		w.plans[p.name()] = plan(p.name())
	}
	return w
}

func (w *world) close() {
	for _, p := range w.ports {
		p.close()
	}
}

// setSysctls: the relay forwards, and answers each packet as if it were the first.
func setSysctls(t *testing.T) {
	t.Helper()
	set := func(value string, patterns ...string) {
		for _, pattern := range patterns {
			paths, _ := filepath.Glob("/proc/sys/net/" + pattern)
			for _, path := range paths {
				lab.Must(t, os.WriteFile(path, []byte(value), 0))
			}
		}
	}
	set("1", "ipv4/ip_forward", "ipv6/conf/all/forwarding")
	set("0", "ipv4/icmp_ratelimit", "ipv4/icmp_ratemask", "ipv6/icmp/ratelimit", "ipv6/auto_flowlabels",
		"ipv4/conf/*/send_redirects", "ipv4/conf/*/accept_redirects", "ipv6/conf/*/accept_redirects", "ipv6/conf/*/accept_ra",
		"ipv6/conf/*/accept_dad", "ipv6/conf/*/router_solicitations")
	set("100000000", "ipv4/icmp_msgs_per_sec", "ipv4/icmp_msgs_burst")
	set("600", "ipv4/ipfrag_time", "ipv6/ip6frag_time") // longer than the test: its answers come late
	set("0", "ipv4/conf/*/rp_filter")
}

func addressLines() []string {
	lines := []string{
		"addr add 2001:db8:42:1::1/128 dev lo",
		"link set " + lanName + " addrgenmode none", "link set " + lanName + " up",
		"addr add fe80::1:1/64 dev " + lanName + " nodad", "addr add 2001:db8:42:1::1/64 dev " + lanName + " nodad",
		"addr add 10.42.1.1/20 brd + dev " + lanName,
		"link set " + uplinkName + " addrgenmode none", "link set " + uplinkName + " up",
		"addr add 2001:db8:ffff::2/64 dev " + uplinkName + " nodad", "addr add 192.0.2.2/24 dev " + uplinkName,
		"route add ::/0 via 2001:db8:ffff::1 dev " + uplinkName, "route add 0.0.0.0/0 via 192.0.2.1 dev " + uplinkName,
	}
	for _, k := range tunnels {
		lines = append(lines,
			fmt.Sprintf("link set %s addrgenmode none txqueuelen 20000 mtu %d", k.name(), k.mtu),
			fmt.Sprintf("link set %s up", k.name()),
			fmt.Sprintf("addr replace fe80::%d:1/64 dev %s nodad", k.number, k.name()))
	}
	// Hosts on the links are known for good: finding them takes its time.
	onLAN := []string{}
	for i := range 512 {
		onLAN = append(onLAN, fmt.Sprintf("10.42.%d.%d", 8+i/256, i%256))
	}
	for dev, hosts := range map[string][]string{
		lanName: append(onLAN,
			"2001:db8:42:1::10", "2001:db8:42:1::5e", "10.42.1.10", "fe80::1234", "fe80::1:1234",
			"2001:db8:42:1::99", // a router behind which is more
		),
		uplinkName: {"2001:db8:ffff::1", "192.0.2.1", "2001:db8:ffff::5e"},
	} {
		for _, h := range hosts {
			lines = append(lines, fmt.Sprintf("neigh replace %s lladdr %s nud permanent dev %s", h, macFar, dev))
		}
	}
	return lines
}

// routes6 and routes4 are those of the mesh's table; also kinds that Babel never
// makes.
var routes6 = []string{
	"unreachable 2001:db8:42::/48 metric 4294967294",
	"throw 2001:db8:42:1::/64",
	"2001:db8:42:11::/64 via fe80::1:2 dev t1",
	"2001:db8:42:12::/64 via fe80::2:2 dev t2",
	"2001:db8:42:13::/64 via fe80::3:2 dev t3",
	"2001:db8:42:14::/64 via fe80::4:2 dev t4",
	"2001:db8:42:15::/64 via fe80::2:2 dev t2",
	"2001:db8:42:15:8000::/65 via fe80::3:2 dev t3",
	"2001:db8:42:15:8000::1/128 via fe80::1:2 dev t1",
	"2001:db8:42:16::/64 via fe80::2:2 dev t2",
	"2001:db8:42:16::/64 from 2001:db8:42:11::/64 via fe80::3:2 dev t3",
	"2001:db8:42:17::/64 via fe80::2:2 dev t2 metric 100",
	"2001:db8:42:17::/64 via fe80::3:2 dev t3 metric 200",
	"blackhole 2001:db8:42:18::/64", "prohibit 2001:db8:42:19::/64",
	"2001:db8:42:1a::/64 nexthop via fe80::2:2 dev t2 nexthop via fe80::3:2 dev t3",
	"2001:db8:42:1b::/64 via fe80::2:2 dev t2 mtu lock 1300",
	"2001:db8:42:1c::/64 via fe80::2:2 dev t2 mtu 1300",
	"2001:db8:42:1d::/64 dev t2",
	"2001:db8:42:1e::/64 via 2001:db8:42:1::99 dev l1",
	"2001:db8:42:1e:8000::/65 from 2001:db8:42:13::/64 via fe80::1:2 dev t1",
	"throw 2001:db8:42:1f::/64",
	"default from 2001:db8:42::/48 via fe80::2:2 dev t2 metric 1024",
	"unreachable default from 2001:db8:42::/48 metric 4294967294",
	"2001:db8:aaaa::/48 via fe80::3:2 dev t3",
	"default from 2001:db8:aaaa::/48 via fe80::1:2 dev t1",
}

var routes4 = []string{
	"unreachable 10.42.0.0/16 metric 4294967294",
	"throw 10.42.0.0/20",
	"10.42.16.0/20 via inet6 fe80::1:2 dev t1",
	"10.42.32.0/20 via inet6 fe80::2:2 dev t2",
	"10.42.48.0/20 via inet6 fe80::3:2 dev t3",
	"10.42.64.0/20 via inet6 fe80::4:2 dev t4",
	"10.42.80.0/20 via inet6 fe80::2:2 dev t2",
	"10.42.88.0/21 via inet6 fe80::3:2 dev t3",
	"10.42.96.0/20 via inet6 fe80::2:2 dev t2 metric 100",
	"10.42.96.0/20 via inet6 fe80::3:2 dev t3 metric 200",
	"blackhole 10.42.112.0/20", "prohibit 10.42.128.0/20",
	"10.42.144.0/20 nexthop via inet6 fe80::2:2 dev t2 nexthop via inet6 fe80::3:2 dev t3",
	"10.42.160.0/20 via inet6 fe80::2:2 dev t2 mtu lock 1300",
	"10.42.176.0/20 via inet6 fe80::2:2 dev t2 mtu 1300",
	"10.42.192.0/20 dev t2",
	"10.42.208.0/20 via 10.42.1.10 dev l1",
	"throw 10.42.224.0/20",
	"0.0.0.0/0 via inet6 fe80::2:2 dev t2 metric 1024",
	"unreachable 0.0.0.0/0 metric 4294967294",
}

// routeLines are the table and the rules to it.
func routeLines(routes []string) []string {
	lines := make([]string, 0, len(routes))
	for _, r := range routes {
		lines = append(lines, fmt.Sprintf("route add table %d proto 42 %s", meshTable, r))
	}
	return lines
}

func ruleLines(network string) []string {
	return []string{
		fmt.Sprintf("rule add protocol 42 priority 26000 fwmark %#x goto 32766", mark),
		fmt.Sprintf("rule add protocol 42 priority 26001 to %s lookup %d", network, meshTable),
		fmt.Sprintf("rule add protocol 42 priority 26002 from %s lookup %d", network, meshTable),
		fmt.Sprintf("rule add protocol 42 priority 32800 not fwmark %#x lookup %d", mark, meshTable),
	}
}

func named(pairs ...string) []packets.Address {
	var all []packets.Address
	for i := 0; i+1 < len(pairs); i += 2 {
		all = append(all, packets.Address{What: pairs[i], Addr: netip.MustParseAddr(pairs[i+1])})
	}
	return all
}

func spread(bits int, pairs ...string) []packets.Address {
	all := named(pairs...)
	for i := range all {
		all[i].Spread = bits
	}
	return all
}

// plan is what is sent into one interface of the relay.
func plan(name string) packets.Plan {
	p := packets.Plan{
		V6: packets.Ends{
			Sources: named("member", "2001:db8:42:11::7", "member", "2001:db8:42:12::7", "member", "2001:db8:42:13::7",
				"outsider", "2001:db8:eeee::7", "announced", "2001:db8:aaaa::7", "nobody", "2001:db8:42:ff::7",
				"LAN host", "2001:db8:42:1::10", "the relay", "2001:db8:42:1::1"),
			Destinations: named("tunnel 1", "2001:db8:42:11::7", "tunnel 2", "2001:db8:42:12::7", "tunnel 3", "2001:db8:42:13::7",
				"tunnel 4", "2001:db8:42:14::7", "tunnel 2", "2001:db8:42:12::7", "tunnel 3", "2001:db8:42:13::7",
				"outer prefix", "2001:db8:42:15::7", "inner prefix", "2001:db8:42:15:8000::7", "one address", "2001:db8:42:15:8000::1",
				"by source", "2001:db8:42:16::7", "two metrics", "2001:db8:42:17::7", "blackhole", "2001:db8:42:18::7",
				"prohibited", "2001:db8:42:19::7", "two next hops", "2001:db8:42:1a::7", "locked MTU", "2001:db8:42:1b::7",
				"route's MTU", "2001:db8:42:1c::7", "no gateway", "2001:db8:42:1d::7", "router on the LAN", "2001:db8:42:1e::7",
				"router on the LAN, by source", "2001:db8:42:1e:8000::7", "throw", "2001:db8:42:1f::7", "nobody", "2001:db8:42:ff::7",
				"LAN host", "2001:db8:42:1::10", "the relay", "2001:db8:42:1::1", "the relay outside", "2001:db8:ffff::2",
				"anycast of the LAN", "2001:db8:42:1::", "Internet", "2001:db8:eeee::9", "announced", "2001:db8:aaaa::9"),
		},
		V4: packets.Ends{
			// Many: to one address the kernel answers five times, and then once a second.
			Sources: slices.Concat(spread(12, "member", "10.42.16.0", "member", "10.42.32.0", "member", "10.42.48.0",
				"outsider", "198.18.0.0", "nobody", "10.42.240.0", "blackhole", "10.42.112.0"),
				spread(9, "LAN host", "10.42.8.0"), named("the relay", "10.42.1.1")),
			Destinations: named("tunnel 1", "10.42.16.7", "tunnel 2", "10.42.32.7", "tunnel 3", "10.42.48.7", "tunnel 4", "10.42.64.7",
				"tunnel 2", "10.42.32.7", "tunnel 3", "10.42.48.7",
				"outer prefix", "10.42.80.7", "inner prefix", "10.42.88.7", "two metrics", "10.42.96.7", "blackhole", "10.42.112.7",
				"prohibited", "10.42.128.7", "two next hops", "10.42.144.7", "locked MTU", "10.42.160.7", "route's MTU", "10.42.176.7",
				"no gateway", "10.42.192.7", "router on the LAN", "10.42.208.7", "throw", "10.42.224.7", "nobody", "10.42.240.7",
				"LAN host", "10.42.1.10", "the relay", "10.42.1.1", "the relay outside", "192.0.2.2", "LAN's broadcast", "10.42.15.255",
				"Internet", "203.0.113.9"),
		},
		MTUs:    []int{1420, 1280, 1500, 1300},
		Offload: true,
	}
	if name == lanName { // mostly hosts that are there
		p.V6.Sources = append(p.V6.Sources, named("LAN host", "2001:db8:42:1::10", "LAN host", "2001:db8:42:1::10",
			"LAN host", "2001:db8:42:1::10", "LAN host", "2001:db8:42:1::10")...)
		p.V4.Sources = append(p.V4.Sources, spread(9, "LAN host", "10.42.8.0", "LAN host", "10.42.8.0", "LAN host", "10.42.8.0")...)
	}
	return p
}
