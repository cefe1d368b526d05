package kernel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"re6st/internal/fib"
	"re6st/internal/lab/solo"
)

// followed is a copy of the kernel's decisions that FollowFIB keeps.
type followed struct {
	mu    sync.Mutex
	fib   *fib.FIB
	table *fib.Table
	tells int
}

func follow(t *testing.T) *followed {
	t.Helper()
	f := &followed{fib: fib.New()}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- FollowFIB(ctx, testTable, logged(t), func(events ...fib.Event) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.fib.Apply(events...)
			f.table, _, _ = f.fib.Compile()
			f.tells++
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("following: %v", err)
		}
	})
	await(t, "the first listing", 10*time.Second, func() bool { return f.lookup(netip.IPv6Unspecified(), netip.IPv6Unspecified()) != nil })
	return f
}

func (f *followed) lookup(src, dst netip.Addr) *fib.Decision {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.table == nil {
		return nil
	}
	d := f.table.Lookup(src, dst)
	return &d
}

// kernelForwards asks the kernel what it does with a packet in transit that comes
// in by an interface: the interface and the gateway, or nothing where it is not
// sent on by the table.
func kernelForwards(iif string, src, dst netip.Addr) string {
	out, err := tryIP(fmt.Sprintf("route get %v from %v iif %s", dst, src, iif))
	if err != nil || !strings.HasPrefix(out, dst.String()+" ") || !strings.Contains(out, fmt.Sprintf(" table %d ", testTable)) {
		return ""
	}
	words := strings.Fields(out)
	dev, via := "", ""
	for i, w := range words[:len(words)-1] {
		switch {
		case w == "dev":
			dev = words[i+1]
		case w == "via" && words[i+1] == "inet6":
			via = words[i+2]
		case w == "via":
			via = words[i+1]
		}
	}
	return dev + " " + via
}

// rig has tunnels, a LAN and an uplink, and forwards.
func rig(t *testing.T, h *Host) (names map[int]string) {
	t.Helper()
	for i := range 4 {
		veth(t, h, fmt.Sprintf("re6st-%04d", i))
	}
	veth(t, h, "eth0")
	for _, line := range []string{
		"addr add 192.0.2.5/24 dev eth0", "addr add 2001:db8:ffff::5/64 dev eth0",
		"route add default via 192.0.2.1", "-6 route add default via 2001:db8:ffff::1",
		"link set lo up",
	} {
		ip(t, line)
	}
	for _, name := range []string{
		forwarding4, forwarding6, "net/ipv4/conf/all/accept_local",
	} {
		must(t, os.WriteFile("/proc/sys/"+name, []byte(map[bool]string{true: "0", false: "1"}[strings.HasSuffix(name, "local")]), 0))
	}
	links, err := h.Links()
	must(t, err)
	names = map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
		_ = os.WriteFile("/proc/sys/net/ipv4/conf/"+l.Name+"/rp_filter", []byte("0"), 0)
	}
	must(t, os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("0"), 0))
	return names
}

// chance makes addresses and prefixes that nest and meet.
type chance struct{ *rand.Rand }

func (c chance) addr6() netip.Addr {
	b := [16]byte{0x20, 1, 0x0d, 0xb8, 0, 0x42, byte(c.IntN(4) << 6), byte(c.IntN(4) << 6), 15: byte(c.IntN(3))}
	if c.IntN(5) == 0 {
		b[5] = 0x43
	}
	return netip.AddrFrom16(b)
}

func (c chance) addr4() netip.Addr {
	b := [4]byte{10, 42, byte(c.IntN(4) << 6), byte(1 + c.IntN(3)<<6)}
	if c.IntN(5) == 0 {
		b[1] = 43
	}
	return netip.AddrFrom4(b)
}

func (c chance) prefix(is4 bool) netip.Prefix {
	if is4 {
		p, _ := c.addr4().Prefix([]int{0, 15, 16, 17, 18, 24, 25, 26, 32}[c.IntN(9)])
		return p
	}
	p, _ := c.addr6().Prefix([]int{0, 32, 47, 48, 49, 50, 58, 64, 128}[c.IntN(9)])
	return p
}

// route is one of all that a table may hold.
func (c chance) route() string {
	is4 := c.IntN(3) == 0
	family, dst := "-6", c.prefix(is4)
	if is4 {
		family = "-4"
	}
	line := dst.String()
	if !is4 && c.IntN(2) == 0 {
		if src := c.prefix(false); src.Bits() > 0 {
			line += " from " + src.String()
		}
	}
	dev := fmt.Sprintf("dev re6st-%04d", c.IntN(4))
	switch c.IntN(7) {
	case 0:
		line = "unreachable " + line
	case 1:
		line = "throw " + line
	case 2:
		line += " " + dev
	case 3:
		line = line + " mtu 1300 " + dev
	default:
		line += " via " + map[bool]string{true: "inet6 ", false: ""}[is4] + fmt.Sprintf("fe80::%d ", 1+c.IntN(3)) + dev
	}
	return fmt.Sprintf("%s route %s %s table %d metric %d", family, []string{"replace", "replace", "add"}[c.IntN(3)], line, testTable, 1+c.IntN(3))
}

// What the copy says is what the kernel does, for tables of everything, and after
// a storm of changes as after a listing.
func TestFIBEqualsKernel(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	names := rig(t, h)
	p := plan4()
	p.Networks = []netip.Prefix{prefix("10.42.0.0/16"), prefix("2001:db8:42::/48")}
	p.Own, p.Address, p.Address4 = []netip.Prefix{prefix("2001:db8:42:4000::/64")}, addr("2001:db8:42:4000::1"), addr("10.42.64.1")
	i, _ := install(t, h, p)
	f := follow(t)
	c := chance{rand.New(rand.NewPCG(6, 1))}
	forwarded, each := 0, 60
	if solo.Factor() > 1 {
		each = 10 // the kernel is asked by a program for each
	}
	for round := range 8 {
		storm(t, c, round)
		if round == 5 { // another's rule before ours
			ip(t, "-6 rule add from 2001:db8:42:8000::/50 lookup main priority 25000")
			ip(t, "-4 rule add iif re6st-0000 to 10.42.128.0/18 lookup main priority 25000")
		}
		for range each {
			src, dst := c.addr6(), c.addr6()
			if c.IntN(3) == 0 {
				src, dst = c.addr4(), c.addr4()
			}
			if c.IntN(6) == 0 {
				src = map[bool]netip.Addr{true: addr("10.42.64.1"), false: addr("2001:db8:42:4000::1")}[dst.Is4()]
			}
			var want, got string
			// The copy has only been told of a change when its event has come.
			equal := func() bool {
				want, got = kernelForwards("eth0", src, dst), ""
				if d := f.lookup(src, dst); d.Action == fib.Forward {
					via := d.Gateway.String()
					if !d.Gateway.IsValid() {
						via = ""
					}
					got = names[d.Interface] + " " + via
				}
				return got == want || (got == "" && mayPass(want, src, dst, p, round))
			}
			for end := time.Now().Add(10 * time.Second); !equal(); {
				if time.Now().After(end) {
					t.Fatalf("round %d: from %v to %v: %q, and the kernel does %q\n%s\n%s\n%s", round, src, dst, got, want,
						ip(t, "rule"), ip(t, "-6 route show table 326"), ip(t, "-4 route show table 326"))
				}
			}
			if got != "" {
				forwarded++
			}
		}
	}
	if forwarded < each*8/10 {
		t.Errorf("%d packets of all were forwarded: the tables were too dull", forwarded)
	}
	must(t, i.Remove())
}

// mayPass: what the copy leaves to the stack although the table decides: routes with
// metrics of their own, routes from sources but for default ones, packets that no rule
// of the network is about, and those that another's rule may be about.
func mayPass(want string, src, dst netip.Addr, p Plan, round int) bool {
	inside := func(a netip.Addr) bool { return p.Networks[0].Contains(a) || p.Networks[1].Contains(a) }
	if want == "" || (!inside(src) && !inside(dst)) || round >= 5 && prefix("10.42.128.0/18").Contains(dst) {
		return true
	}
	out, _ := tryIP(fmt.Sprintf("route get %v from %v iif eth0", dst, src))
	return strings.Contains(out, " mtu 1300") || hasRouteFrom(src, dst)
}

// hasRouteFrom: the table has a route from a source, no default one, that holds both.
// Linux may have lost sight of it, and go by a shorter one.
func hasRouteFrom(src, dst netip.Addr) bool {
	table, _ := tryIP(fmt.Sprintf("-6 route show table %d", testTable))
	holds := func(text string, a netip.Addr) bool {
		p, err := netip.ParsePrefix(text)
		return text == a.String() || err == nil && p.Contains(a)
	}
	for line := range strings.Lines(table) {
		words := strings.Fields(line)
		i := slices.Index(words, "from")
		if i > 0 && words[i-1] != "default" && holds(words[i-1], dst) && holds(words[i+1], src) {
			return true
		}
	}
	return false
}

// storm changes a lot at random, also links and addresses.
func storm(t *testing.T, c chance, round int) {
	t.Helper()
	for range 25 {
		_, _ = tryIP(c.route()) // some are refused
	}
	switch round {
	case 2:
		ip(t, "link set re6st-0001 down")
	case 3:
		ip(t, "link set re6st-0001 up")
		ip(t, "addr add 10.42.192.65/26 dev re6st-0002")
	case 4:
		ip(t, "link del re6st-0003")
	}
}

// An event that was lost is made up for.
func TestFIBAfterLoss(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	rig(t, h)
	p := testPlan()
	install(t, h, p)
	f := follow(t)
	link, err := h.LinkByName("re6st-0000")
	must(t, err)
	f.mu.Lock() // it reads no more
	const n = 30000
	var changes []RouteChange
	net := p.Networks[0].Addr().As16()
	for i := range n {
		net[6], net[7], net[15] = byte(i>>8), byte(i), 1
		changes = append(changes, RouteChange{Route: Route{Dst: netip.PrefixFrom(netip.AddrFrom16(net), 128), Gateway: addr("fe80::1"), Ifindex: link.Index, Table: testTable}})
	}
	apply(t, h, changes...)
	f.mu.Unlock()
	await(t, "all routes to be known", 20*time.Second, func() bool {
		return f.lookup(addr("2001:db8::1"), netip.AddrFrom16(net)).Action == fib.Forward && f.count() >= n
	})
}

func (f *followed) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table.Len()
}
