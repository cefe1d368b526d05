package kernel

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// F-09: what another program takes away is back within a second.
const repairBound = time.Second

func TestF09_RemovedByHandIsBack(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	dev := veth(t, h, "v0")
	ip(t, "addr add 2001:db8:42:9::5/64 dev v0 nodad")
	i, _ := install(t, h, testPlan())
	mesh := Route{Dst: prefix("2001:db8:42:8::/64"), Gateway: addr("fe80::1"), Ifindex: dev, Priority: 1024, Table: testTable, Protocol: Protocol}
	// With the address the kernel takes the source out of such routes, and says nothing.
	sourced := mesh
	sourced.Dst, sourced.PrefSrc = prefix("2001:db8:42:a::/64"), testPlan().Address
	apply(t, h, RouteChange{Route: sourced})
	def := mesh
	def.Dst, def.Src = prefix("::/0"), prefix("2001:db8:42::/48")
	four := mesh
	four.Dst = prefix("10.42.0.0/16")
	apply(t, h, RouteChange{Route: mesh}, RouteChange{Route: def}, RouteChange{Route: four})
	watch(t, h)
	whole := func() string {
		return sorted(ip(t, "-6 route show table 326")) + "\n" + sorted(ip(t, "-4 route show table 326")) + "\n" + ip(t, "-6 rule") + "\n" + ip(t, "-6 addr show dev lo")
	}
	before := whole()
	settle := func(what string) {
		t.Helper()
		took := await(t, what+": all is back", repairBound, func() bool {
			six, err := tryIP("-6 route show table 326")
			four, err4 := tryIP("-4 route show table 326")
			return err == nil && err4 == nil && sorted(six)+"\n"+sorted(four)+"\n"+ip(t, "-6 rule")+"\n"+ip(t, "-6 addr show dev lo") == before
		})
		t.Logf("%s: repaired after %v", what, took.Round(time.Millisecond))
	}
	for _, edit := range []string{
		"-6 route del 2001:db8:42:8::/64 table 326",
		"-6 route del default from 2001:db8:42::/48 table 326 metric 1024",
		"-6 route del unreachable 2001:db8:42::/48 table 326",
		"-6 route del throw 2001:db8:42:9::/64 table 326",
		"-4 route del 10.42.0.0/16 table 326",
		"-6 route replace 2001:db8:42:8::/64 via fe80::bad dev v0 table 326 metric 1024",
		"-6 route append 2001:db8:42:8::/64 via fe80::bad dev v0 table 326 metric 1024 proto babel",
		"-6 route add 2001:db8:42:77::/64 via fe80::1 dev v0 table 326 proto babel",
		"-6 route flush table 326",
		"-4 route flush table 326",
		"-6 rule del priority 26000",
		"-6 rule del priority 32800",
		"-6 rule flush",
		"-6 rule add priority 26002 fwmark 7 lookup 326 protocol babel",
		"addr del 2001:db8:42:7::1/128 dev lo",
		"-6 addr flush dev lo",
	} {
		ip(t, edit)
		if strings.Contains(edit, "rule flush") {
			ip(t, "-6 rule add priority 32766 lookup main") // not ours to repair
		}
		if strings.Contains(edit, "addr flush") {
			ip(t, "addr add ::1/128 dev lo")
			before = "" // the order of the addresses is another
			await(t, "the address is back", repairBound, func() bool { return strings.Contains(ip(t, "-6 addr show dev lo"), "2001:db8:42:7::1/128") })
			before = whole()
			continue
		}
		settle(edit)
	}
	must(t, SetSysctl(forwarding6, "0"))
	await(t, "forwarding is on again", repairBound, func() bool { v, _ := Sysctl(forwarding6); return v == "1" })
	// What is put back is counted a moment after it is there.
	for _, kind := range []string{"route", "rule", "address", "sysctl", "stray"} {
		await(t, "a repair of the kind "+kind+" to be counted", 10*time.Second, func() bool { return h.Repairs()[kind] > 0 })
	}
	must(t, i.Remove())
	if got, _ := Sysctl(forwarding6); got != "0" {
		t.Errorf("forwarding after Remove is %s", got)
	}
}

// Routes that go with their link are no one's edit, and come back with it.
func TestF09_LinkFlap(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	dev := veth(t, h, "v0")
	install(t, h, testPlan())
	six := Route{Dst: prefix("2001:db8:42:8::/64"), Gateway: addr("fe80::1"), Ifindex: dev, Priority: 1024, Table: testTable, Protocol: Protocol}
	four := six
	four.Dst = prefix("10.42.0.0/16")
	apply(t, h, RouteChange{Route: six}, RouteChange{Route: four})
	watch(t, h)
	has := func(r Route) bool {
		all, err := h.Routes(testTable)
		return err == nil && slices.Contains(all, r)
	}
	ip(t, "link set v0 down")
	await(t, "the routes are gone with the link", 15*time.Second, func() bool { return !has(six) && !has(four) })
	ip(t, "link set v0 up")
	await(t, "the routes are back with the link", 10*time.Second, func() bool { return has(six) && has(four) })
}

// The kernel says ENOBUFS when it had to drop events: everything is compared.
func TestF09_LostEvents(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	dev := veth(t, h, "v0")
	install(t, h, testPlan())
	var changes []RouteChange
	for n := range 2000 {
		dst := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0x42, byte(n >> 8), byte(n), 15: 1}), 128)
		changes = append(changes, RouteChange{Route: Route{Dst: dst, Gateway: addr("fe80::1"), Ifindex: dev, Table: testTable}})
	}
	apply(t, h, changes...)
	// The smallest buffer there is, and no one who reads it.
	must(t, h.events.raw.Control(func(fd uintptr) {
		must(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1))
	}))
	for n := range 3 { // it is said each time
		ip(t, "-6 route flush table 326")
		if err := h.events.collect(func(header, []byte) error { return nil }); !errors.Is(err, unix.ENOBUFS) {
			t.Fatalf("after 2000 deletions, %d times: error %v, want ENOBUFS", n+1, err)
		}
		if n < 2 {
			apply(t, h, changes...)
		}
	}
	watch(t, h)
	await(t, "2002 routes are back", 15*time.Second, func() bool { return len(routes(t, h)) == 2002 })
	// And again, while it watches.
	ip(t, "-6 route flush table 326")
	took := await(t, "2002 routes are back", 15*time.Second, func() bool { return len(routes(t, h)) == 2002 })
	t.Logf("2002 routes put back after %v", took)
}

// Without mark and without binding, a host uses its own default routes as if we
// were not there; the mark never leads into the mesh.
func TestHostKeepsItsInternet(t *testing.T) {
	for _, c := range []struct{ name, four, six string }{
		{"v4", "192.0.2.1", ""},
		{"v6", "", "2001:db8:ffff::1"},
		{"both", "192.0.2.1", "2001:db8:ffff::1"},
		{"none", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !inNamespace(t) {
				return
			}
			h := open(t)
			veth(t, h, "eth0")
			tunnel := veth(t, h, "re6st-0001") // stands for a tunnel
			ip(t, "addr add fe80::42/64 dev re6st-0001 nodad")
			if c.four != "" {
				ip(t, "addr add 192.0.2.5/24 dev eth0")
				ip(t, "route add default via "+c.four)
			}
			if c.six != "" {
				ip(t, "addr add 2001:db8:ffff::5/64 dev eth0 nodad")
				ip(t, "-6 route add default via "+c.six)
			}
			get := func(args string) string {
				out, _ := tryIP("route get " + args)
				return out
			}
			const out4, out6 = "198.51.100.1", "2001:db8:eeee::1"
			before4, before6 := get(out4), get(out6)
			p := testPlan()
			p.Networks = append(p.Networks, prefix("10.42.0.0/16"))
			i, _ := install(t, h, p)
			apply(t, h,
				// What gateways announce, and one other member.
				RouteChange{Route: Route{Dst: prefix("::/0"), Src: prefix("2001:db8:42::/48"), Gateway: addr("fe80::1"), Ifindex: tunnel, Table: testTable}},
				RouteChange{Route: Route{Dst: prefix("0.0.0.0/0"), Gateway: addr("fe80::1"), Ifindex: tunnel, Table: testTable}},
				RouteChange{Route: Route{Dst: prefix("2001:db8:42:8::/64"), Gateway: addr("fe80::1"), Ifindex: tunnel, Table: testTable}})
			must(t, i.SetAnnounced([]netip.Prefix{prefix("2001:db8:cafe::/48")}))
			same := func(args, before string) {
				t.Helper()
				if got := get(args); got != before {
					t.Errorf("route get %s: %q, before us %q", args, got, before)
				}
			}
			into := func(args string, mesh bool) {
				t.Helper()
				if got := get(args); strings.Contains(got, "dev re6st-") != mesh {
					t.Errorf("route get %s: %q, into the mesh: want %v", args, got, mesh)
				}
			}
			if c.four != "" {
				same(out4, before4)
			}
			if c.six != "" {
				same(out6, before6)
			}
			// Without an Internet of that family, the mesh's takes its place.
			into(out4, c.four == "")
			source := func(mark int) string { return sourceOf(t, out6, mark) }
			if got := source(0); c.six == "" && got != "2001:db8:42:7::1" || c.six != "" && got != "2001:db8:ffff::5" {
				t.Errorf("source of an unbound socket towards the Internet: %s", got)
			}
			if got := source(DefaultMark); c.six == "" && got != "network is unreachable" || c.six != "" && got != "2001:db8:ffff::5" {
				t.Errorf("source of a marked socket towards the Internet: %s", got)
			}
			into("2001:db8:42:8::1", true)
			into(out6+" from 2001:db8:42:7::1", true)
			for _, dst := range []string{out4, out6, "2001:db8:42:8::1", "10.42.8.1", "2001:db8:cafe::1"} {
				into(dst+" mark 0x6e36", false)
			}
			must(t, i.Remove())
			same(out4, before4)
			same(out6, before6)
		})
	}
}

// sourceOf is the address that the kernel gives a socket towards dst, or its
// error. (A lookup without a source, as "ip route get" makes, does not find
// source-specific routes: the kernel chooses the source and looks again.)
func sourceOf(t *testing.T, dst string, mark int) string {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(s)
	must(t, unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_MARK, mark))
	if err := unix.Connect(s, &unix.SockaddrInet6{Addr: addr(dst).As16(), Port: 9}); err != nil {
		return err.Error()
	}
	name, err := unix.Getsockname(s)
	must(t, err)
	return netip.AddrFrom16(name.(*unix.SockaddrInet6).Addr).String()
}

// A node that is no gateway lets nothing of the mesh out by its own uplink.
func TestNoLeakWithoutGateway(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	veth(t, h, "eth0")
	ip(t, "addr add 2001:db8:ffff::5/64 dev eth0 nodad")
	ip(t, "-6 route add default via 2001:db8:ffff::1")
	i, _ := install(t, h, testPlan())
	for _, dst := range []string{"2001:db8:eeee::1 from 2001:db8:42:7::1", "2001:db8:42:8::1"} {
		if out, err := tryIP("route get " + dst); err == nil {
			t.Errorf("route get %s: %s, want unreachable", dst, out)
		}
	}
	must(t, i.SetGateway(false, true))
	if out, err := tryIP("route get 2001:db8:eeee::1 from 2001:db8:42:7::1"); err != nil || !strings.Contains(out, "dev eth0") {
		t.Errorf("on a gateway: %s (%v), want by eth0", out, err)
	}
	must(t, i.SetGateway(true, false))
	if out, err := tryIP("route get 2001:db8:eeee::1 from 2001:db8:42:7::1"); err == nil {
		t.Errorf("on a gateway no more: %s, want unreachable", out)
	}
	must(t, i.Remove())
}

func TestThrowsFollowTheLAN(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	veth(t, h, "lan0")
	veth(t, h, "re6st-0001")
	install(t, h, testPlan())
	watch(t, h)
	has := func() bool { return strings.Contains(ip(t, "-6 route show table 326"), "throw 2001:db8:42:9::/64") }
	ip(t, "addr add 2001:db8:42:9::5/64 dev lan0 nodad")
	await(t, "the LAN is thrown", repairBound, has)
	if got := ip(t, "route get 2001:db8:42:9::77"); !strings.Contains(got, "dev lan0") {
		t.Errorf("a host on the LAN is reached by %s", got)
	}
	ip(t, "addr del 2001:db8:42:9::5/64 dev lan0")
	await(t, "the LAN is thrown no more", repairBound, func() bool { return !has() })
	ip(t, "addr add 2001:db8:42:a::5/64 dev re6st-0001 nodad") // a tunnel is no LAN
	ip(t, "addr add 2001:db8:42:9::5/64 dev lan0 nodad")
	await(t, "the LAN is thrown", repairBound, has)
	if got := ip(t, "-6 route show table 326"); strings.Contains(got, "2001:db8:42:a::") {
		t.Errorf("a tunnel's prefix is thrown:\n%s", got)
	}
}

// Before forwarding starts, interfaces are told to go on heeding router
// advertisements; the other way round the kernel purges the host's default route,
// which the control shows.
func TestDefaultRouteByAdvertisementSurvives(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	veth(t, h, "eth0")
	peer, err := h.LinkByName("eth0-p")
	must(t, err)
	has := func() bool {
		return strings.Contains(ip(t, "-6 route show default"), "dev eth0 proto ra")
	}
	learn := func() {
		t.Helper()
		await(t, "the default route is learnt", 10*time.Second, func() bool {
			advertise(t, peer.Index)
			return has()
		})
	}
	learn()
	i, _ := install(t, h, testPlan())
	if !has() {
		t.Error("the default route is gone while we forward")
	}
	ip(t, "-6 route flush proto ra")
	learn() // also a new one
	must(t, i.Remove())
	if !has() {
		t.Error("the default route is gone after us")
	}
	must(t, SetSysctl(forwarding6, "1"))
	if has() {
		t.Error("control: forwarding alone leaves the default route, so this test shows nothing")
	}
}

// advertise sends a router advertisement (RFC 4861, section 4.2).
func advertise(t *testing.T, index int) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	must(t, err)
	defer unix.Close(s)
	must(t, unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255))
	must(t, unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index))
	ra := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	err = unix.Sendto(s, ra, 0, &unix.SockaddrInet6{Addr: addr("ff02::1").As16(), ZoneId: uint32(index)})
	// It may have no address yet; who awaits the route tries again.
	if err != nil && err != unix.EADDRNOTAVAIL && err != unix.ENETUNREACH {
		t.Fatal(err)
	}
}

func BenchmarkApply(b *testing.B) {
	h, err := Open()
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	if answers := h.Apply([]RouteChange{{Route: Route{Dst: prefix("2001:db8:dead::/48"), Type: Unreachable, Table: 32600}}}); answers[0] != nil {
		b.Skip(answers[0])
	}
	defer func() { _ = h.forget(32600) }()
	for b.Loop() {
		var changes []RouteChange
		for n := range 1000 {
			dst := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0xde, 0xad, byte(n >> 8), byte(n)}), 64)
			changes = append(changes, RouteChange{Route: Route{Dst: dst, Type: Unreachable, Table: 32600}})
		}
		for _, err := range h.Apply(changes) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "µs/route")
}
