package kernel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// plan4 is that of a network with an IPv4 prefix.
func plan4() Plan {
	p := testPlan()
	p.Networks = append([]netip.Prefix{prefix("10.42.0.0/16")}, p.Networks...)
	p.Address4 = addr("10.42.7.1")
	return p
}

// goes gives where the kernel sends a packet: a device, or "nowhere" for an error
// that the sender is told.
func goes(t *testing.T, how string) string {
	t.Helper()
	out, err := tryIP("route get " + how)
	if err != nil {
		return "nowhere"
	}
	_, dev, _ := strings.Cut(out, " dev ")
	dev, _, _ = strings.Cut(dev, " ")
	return dev
}

type way struct{ how, want string }

func wantWays(t *testing.T, when string, ways ...way) {
	t.Helper()
	for _, w := range ways {
		if got := goes(t, w.how); got != w.want {
			t.Errorf("%s: a packet to %s goes to %s, want %s\n%s\n%s", when, w.how, got, w.want, ip(t, "rule"), ip(t, "route show table 326"))
		}
	}
}

// host4 has an uplink with a default route, a LAN and a tunnel.
func host4(t *testing.T, h *Host) (tunnel Link) {
	t.Helper()
	for _, name := range []string{"eth0", "lan0", "re6st-0001"} {
		veth(t, h, name)
	}
	for _, line := range []string{
		"addr add 192.0.2.5/24 dev eth0", "route add default via 192.0.2.1",
		"addr add 2001:db8:ffff::5/64 dev eth0 nodad", "-6 route add default via 2001:db8:ffff::1",
		"addr add 192.168.7.1/24 dev lan0", "addr add 2001:db8:77::1/64 dev lan0 nodad",
	} {
		ip(t, line)
	}
	await(t, "the addresses to be in use", 15*time.Second, func() bool {
		local := ip(t, "-6 route show table local")
		return strings.Contains(local, "local 2001:db8:ffff::5 ") && strings.Contains(local, "local 2001:db8:77::1 ")
	})
	tunnel, err := h.LinkByName("re6st-0001")
	must(t, err)
	return tunnel
}

func TestZ30_IPv4AddressAndGuards(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	tunnel := host4(t, h)
	before := census(t)
	i, _ := install(t, h, plan4())
	if got := ip(t, "-4 addr show dev lo"); !strings.Contains(got, "10.42.7.1/32 scope global") {
		t.Errorf("addresses of lo:\n%s", got)
	}
	wantWays(t, "alone",
		way{"10.42.9.1", "nowhere"},
		way{"203.0.113.9 from 10.42.7.1", "nowhere"},
		way{"203.0.113.9", "eth0"})
	apply(t, h,
		RouteChange{Route: Route{Dst: prefix("10.42.9.0/24"), Gateway: addr("fe80::1"), Ifindex: tunnel.Index, Table: testTable, PrefSrc: addr("10.42.7.1")}},
		RouteChange{Route: Route{Dst: prefix("0.0.0.0/0"), Gateway: addr("fe80::1"), Ifindex: tunnel.Index, Table: testTable, PrefSrc: addr("10.42.7.1")}})
	wantWays(t, "with routes",
		way{"10.42.9.1", "re6st-0001"},
		way{"203.0.113.9 from 10.42.7.1", "re6st-0001"},
		way{"203.0.113.9", "eth0"})
	if got := ip(t, "route get 10.42.9.1"); !strings.Contains(got, "via inet6 fe80::1") || !strings.Contains(got, "src 10.42.7.1") {
		t.Errorf("route to another node: %s, want by its IPv6 address, from ours", got)
	}
	must(t, i.SetGateway(true, false))
	apply(t, h, RouteChange{Route: Route{Dst: prefix("0.0.0.0/0"), Table: testTable}, Delete: true})
	wantWays(t, "as a gateway",
		way{"203.0.113.9 from 10.42.7.1", "eth0"},
		way{"10.42.3.1 from 10.42.7.1", "nowhere"})
	must(t, i.Remove())
	if diff := cmp.Diff(before, census(t)); diff != "" {
		t.Errorf("after Remove (-before +after):\n%s", diff)
	}
}

// What others announce goes by the mesh, but behind the host's own routes; what
// this node announces goes by its own routes, and by nothing else.
func TestP18_AnnouncedPrefixes(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	tunnel := host4(t, h)
	ip(t, "addr add 192.168.65.1/24 dev lan0")
	before := census(t)
	i, _ := install(t, h, plan4())
	for _, dst := range []string{"192.168.9.0/24", "2001:db8:99::/48", "192.168.7.128/25"} {
		apply(t, h, RouteChange{Route: Route{Dst: prefix(dst), Gateway: addr("fe80::1"), Ifindex: tunnel.Index, Table: testTable}})
	}
	must(t, i.SetAnnounced([]netip.Prefix{prefix("192.168.9.0/24"), prefix("2001:db8:99::/48"), prefix("192.168.7.0/25")}))
	must(t, i.SetOrigins([]netip.Prefix{prefix("192.168.64.0/18"), prefix("2001:db8:77::/48")}))
	wantWays(t, "announced",
		way{"192.168.9.5", "re6st-0001"},
		way{"192.168.9.5 from 10.42.7.1", "re6st-0001"},
		way{"2001:db8:99::5", "re6st-0001"},
		way{"203.0.113.9", "eth0"}, // the guard does not take the host's own Internet
		way{"2001:db8:eeee::1", "eth0"},
		way{"203.0.113.9 from 10.42.7.1", "nowhere"},
		way{"192.168.7.9 from 10.42.7.1", "nowhere"})
	wantWays(t, "own",
		way{"2001:db8:77::9", "lan0"},
		way{"2001:db8:77::9 from 2001:db8:42:7::1", "lan0"},
		way{"2001:db8:77:5::9", "nowhere"}, // not back to where it came from
		way{"2001:db8:77:5::9 from 2001:db8:42:7::1", "nowhere"},
		way{"192.168.65.9", "lan0"},
		way{"192.168.64.9", "nowhere"},
		way{"192.168.64.9 from 10.42.7.1", "nowhere"})
	// A LAN that is a part of what another announces does not disappear.
	must(t, i.SetAnnounced([]netip.Prefix{prefix("192.168.0.0/16")}))
	wantWays(t, "around the LAN",
		way{"192.168.7.9", "lan0"},
		way{"192.168.7.9 from 10.42.7.1", "lan0"})
	must(t, i.SetAnnounced(nil))
	must(t, i.SetOrigins(nil))
	if got := ip(t, "rule") + ip(t, "-6 rule"); strings.Contains(got, "26003") || strings.Contains(got, "26005") {
		t.Errorf("rules without announced prefixes:\n%s", got)
	}
	must(t, i.Remove())
	if diff := cmp.Diff(before, census(t)); diff != "" {
		t.Errorf("after Remove (-before +after):\n%s", diff)
	}
}

// In a network without IPv4 the first announced prefix brings the family, and the
// last one takes it away.
func TestAnnouncedFamilyComesAndGoes(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	host4(t, h)
	i, _ := install(t, h, testPlan())
	without := ip(t, "-4 rule")
	must(t, i.SetAnnounced([]netip.Prefix{prefix("192.168.9.0/24")}))
	if got := ip(t, "-4 rule"); !strings.Contains(got, "26004:\tfrom all to 192.168.9.0/24 lookup 326") {
		t.Errorf("rules with the prefix:\n%s", got)
	}
	must(t, i.SetAnnounced(nil))
	if got := ip(t, "-4 rule"); got != without {
		t.Errorf("rules (-before +after):\n%s", cmp.Diff(without, got))
	}
}

func TestAnnouncedIsBounded(t *testing.T) {
	var all []netip.Prefix
	for n := range 1000 {
		all = append(all, prefix(fmt.Sprintf("10.%d.%d.0/24", n/250, n%250)))
	}
	all = append(all, prefix("0.0.0.0/0"), all[0], netip.Prefix{})
	got := bounded(all)
	if len(got) != AnnouncedMax {
		t.Errorf("%d prefixes, want %d", len(got), AnnouncedMax)
	}
	if cmp.Diff(lines(got), lines(bounded(append(all[500:], all[:500]...)))) != "" {
		t.Error("another order gives another set")
	}
}

// Two instances must not take each other's rules for their own.
func TestZ28_PrioritiesAreClaimedAsARange(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	install(t, h, testPlan())
	other := testPlan()
	other.Table, other.RulePriority, other.InstanceID = 400, DefaultRulePriority+offsetOf, "other"
	if _, err := open(t).Install(other, ""); err == nil || !strings.Contains(err.Error(), "another rule priority") {
		t.Errorf("error %v, want that the priority is in use", err)
	}
}

// Strict filtering of sources would drop half of what a mesh carries.
func TestAllowAsymmetry(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	veth(t, h, "re6st-0001")
	const own, all = "net/ipv4/conf/re6st-0001/rp_filter", "net/ipv4/conf/all/rp_filter"
	for _, c := range []struct{ own, all, want string }{{"0", "0", "0"}, {"1", "0", "2"}, {"0", "1", "2"}, {"2", "1", "2"}, {"0", "2", "0"}} {
		must(t, SetSysctl(own, c.own))
		must(t, SetSysctl(all, c.all))
		must(t, AllowAsymmetry("re6st-0001"))
		if got, err := Sysctl(own); err != nil || got != c.want {
			t.Errorf("%s with %s for all becomes %s (%v), want %s", c.own, c.all, got, err, c.want)
		}
	}
	if AllowAsymmetry("re6st-none") == nil {
		t.Error("a link that does not exist is treated")
	}
}

// What the host has no way into is not announced: whoever else announces it shall
// have the packets.
func TestP18_OriginsFollowTheHost(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	tunnel := host4(t, h)
	i, _ := install(t, h, plan4())
	watch(t, h)
	six, four := prefix("2001:db8:77::/48"), prefix("192.168.64.0/18")
	must(t, i.SetOrigins([]netip.Prefix{six, four}))
	await(t, "the change to be told", repairBound, func() bool { return len(i.originsChanged) == 1 })
	wants := func(when string, want ...netip.Prefix) {
		t.Helper()
		await(t, when, repairBound, func() bool { return slices.Equal(i.Origins(), want) })
	}
	wants("the LAN", six)
	// Another node announces the same: without a way here, packets go there.
	apply(t, h, RouteChange{Route: Route{Dst: four, Gateway: addr("fe80::1"), Ifindex: tunnel.Index, Table: testTable}})
	must(t, i.SetAnnounced([]netip.Prefix{four}))
	wantWays(t, "without a way of its own", way{"192.168.64.9", "re6st-0001"}, way{"192.168.64.9 from 10.42.7.1", "re6st-0001"})
	ip(t, "addr add 192.168.100.1/32 dev lo")
	wants("a service's address on lo", four, six)
	wantWays(t, "with one", way{"192.168.64.9", "nowhere"}, way{"192.168.64.9 from 10.42.7.1", "nowhere"})
	ip(t, "addr del 192.168.100.1/32 dev lo")
	wants("the address is gone", six)
	ip(t, "route add 192.168.99.0/24 via 192.168.7.9")
	wants("a route by a router on the LAN", four, six)
	ip(t, "link set lan0 down")
	wants("the LAN is down")
	ip(t, "link set lan0 up")
	ip(t, "addr add 2001:db8:77::1/64 dev lan0 nodad")
	wants("the LAN is back", six)
	ip(t, "link del lan0")
	wants("the LAN is gone")
	must(t, i.Remove())
}

// A router on a LAN of this node may have parts of the node's prefix behind it; of
// other parts of the network the mesh alone knows the way.
func TestThrowsFollowRoutersOnTheLAN(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	host4(t, h)
	p := plan4()
	p.Own = []netip.Prefix{prefix("10.42.7.0/24"), prefix("2001:db8:42:700::/56")}
	i, _ := install(t, h, p)
	watch(t, h)
	for _, line := range []string{
		"route add 2001:db8:42:707::/64 via 2001:db8:77::9", "route add 10.42.7.64/26 via 192.168.7.9",
		"route add 2001:db8:42:800::/64 via 2001:db8:77::9",
	} {
		ip(t, line)
	}
	await(t, "the router's prefixes to be reached", repairBound, func() bool {
		return goes(t, "2001:db8:42:707::5") == "lan0" && goes(t, "10.42.7.65") == "lan0"
	})
	wantWays(t, "by the router",
		way{"2001:db8:42:707::5 from 2001:db8:42:7::1", "lan0"},
		way{"10.42.7.65 from 10.42.7.1", "lan0"},
		way{"2001:db8:42:800::5", "nowhere"},
		way{"2001:db8:42:701::5", "nowhere"})
	must(t, i.Remove())
}
