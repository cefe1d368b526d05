package kernel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func lines[T fmt.Stringer](all []T) string {
	var b strings.Builder
	for _, v := range all {
		b.WriteString(v.String() + "\n")
	}
	return b.String()
}

func TestPlanRules(t *testing.T) {
	p := Plan{Networks: []netip.Prefix{prefix("2001:db8:42::/48")}}.withDefaults()
	want := `26000: from all fwmark 0x6e36 goto 32766
26001: from all to 2001:db8:42::/48 lookup 326
26002: from 2001:db8:42::/48 lookup 326
32800: not from all fwmark 0x6e36 lookup 326
`
	if got := lines(p.rules(beside{})); got != want {
		t.Errorf("rules without announced prefixes:\n%swant\n%s", got, want)
	}
	want = `26000: from all fwmark 0x6e36 goto 32766
26001: from all to 2001:db8:42::/48 lookup 326
26002: from 2001:db8:42::/48 lookup 326
26003: from all lookup 254 suppress_prefixlength 0
26004: from all lookup 326 suppress_prefixlength 0
26005: from 2001:db8:99::/48 lookup 326
26005: from all to 2001:db8:77::/48 unreachable
32800: not from all fwmark 0x6e36 lookup 326
`
	if got := lines(p.rules(beside{announced: []netip.Prefix{prefix("2001:db8:99::/48")}, origins: []netip.Prefix{prefix("2001:db8:77::/48")}})); got != want {
		t.Errorf("rules with announced prefixes:\n%swant\n%s", got, want)
	}
	// A family in which the network has no prefix comes with the first announced
	// one. The guard of IPv4 must not be seen by a rule for all.
	want = `26000: from all fwmark 0x6e36 goto 32766
26003: from all lookup 254 suppress_prefixlength 0
26004: from all to 192.168.9.0/24 lookup 326
26005: from 192.168.9.0/24 lookup 326
26005: from all to 192.168.7.0/24 unreachable
32800: not from all fwmark 0x6e36 lookup 326
`
	p.Networks = nil
	if got := lines(p.rules(beside{announced: []netip.Prefix{prefix("192.168.9.0/24")}, origins: []netip.Prefix{prefix("192.168.7.0/24")}})); got != want {
		t.Errorf("rules of IPv4:\n%swant\n%s", got, want)
	}
}

func TestPlanGuards(t *testing.T) {
	p := Plan{Networks: []netip.Prefix{prefix("2001:db8:42::/48"), prefix("10.42.0.0/16")}}.withDefaults()
	want := `unreachable 2001:db8:42::/48 table 326 metric 4294967295 proto 42
unreachable ::/0 from 2001:db8:42::/48 table 326 metric 4294967295 proto 42
unreachable 10.42.0.0/16 table 326 metric 4294967295 proto 42
unreachable 0.0.0.0/0 table 326 metric 4294967295 proto 42
`
	if got := lines(p.guards(beside{})); got != want {
		t.Errorf("guards:\n%swant\n%s", got, want)
	}
	want = `unreachable 2001:db8:42::/48 table 326 metric 4294967295 proto 42
unreachable ::/0 from 2001:db8:42::/48 table 326 metric 4294967295 proto 42
unreachable 10.42.0.0/16 table 326 metric 4294967295 proto 42
throw 192.168.7.0/24 table 326 metric 1 proto 42
`
	if got := lines(p.guards(beside{gateway: [2]bool{true, false}, origins: []netip.Prefix{prefix("192.168.7.0/24")}})); got != want {
		t.Errorf("guards of a gateway for IPv4:\n%swant\n%s", got, want)
	}
	want = `unreachable 2001:db8:42::/48 table 326 metric 4294967295 proto 42
unreachable 10.42.0.0/16 table 326 metric 4294967295 proto 42
`
	if got := lines(p.guards(beside{gateway: [2]bool{true, true}})); got != want {
		t.Errorf("guards of a gateway:\n%swant\n%s", got, want)
	}
}

func TestPlanThrows(t *testing.T) {
	p := Plan{Networks: []netip.Prefix{prefix("2001:db8:42::/48")}}.withDefaults()
	onLink := []netip.Prefix{prefix("2001:db8:42:7::/64"), prefix("2001:db8:42::/48"), prefix("2001:db8::/32"), prefix("fe80::/64")}
	want := "throw 2001:db8:42:7::/64 table 326 metric 1 proto 42\n"
	if got := lines(p.throws(onLink, beside{})); got != want {
		t.Errorf("throws:\n%swant\n%s", got, want)
	}
	onLink = []netip.Prefix{prefix("192.168.7.0/24"), prefix("192.168.8.0/24"), prefix("192.168.9.0/24")}
	around := beside{announced: []netip.Prefix{prefix("192.168.8.0/23")}, origins: []netip.Prefix{prefix("192.168.8.0/24")}}
	want = "throw 192.168.9.0/24 table 326 metric 1 proto 42\n"
	if got := lines(p.throws(onLink, around)); got != want {
		t.Errorf("throws of announced prefixes:\n%swant\n%s", got, want)
	}
}

func TestPlanRefused(t *testing.T) {
	net := []netip.Prefix{prefix("2001:db8:42::/48")}
	for _, c := range []struct {
		name, want string
		p          Plan
	}{
		{"no network", "no network prefix", Plan{}},
		{"everything", "not usable", Plan{Networks: []netip.Prefix{prefix("::/0")}}},
		{"IPv6 address", "not an IPv4 address", Plan{Networks: net, Address4: addr("2001:db8::1")}},
		{"IPv4 address", "not an IPv6 address", Plan{Networks: net, Address: addr("10.0.0.1")}},
		{"local table", "the kernel's", Plan{Networks: net, Table: 255}},
		{"priority behind main", "want one from 25968 to 32760", Plan{Networks: net, RulePriority: 32765}},
		{"last rule before main", "want one from 25968 to 32760", Plan{Networks: net, RulePriority: 25960}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.p.withDefaults().check()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestRouteRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Route
	}{
		{"no destination", Route{Ifindex: 1}},
		{"no interface", Route{Dst: prefix("::/0")}},
		{"IPv4 source", Route{Dst: prefix("10.0.0.0/8"), Src: prefix("10.0.0.0/8"), Ifindex: 1}},
		{"IPv4 gateway", Route{Dst: prefix("::/0"), Gateway: addr("10.0.0.1"), Ifindex: 1}},
		{"type", Route{Dst: prefix("::/0"), Type: 9}},
	} {
		if c.r.check() == nil {
			t.Errorf("%s: %v is taken", c.name, c.r)
		}
	}
}

func TestGroupsOfInstancesDiffer(t *testing.T) {
	seen := map[uint32]string{0: "the kernel's default"}
	for i := range 1000 {
		instance := fmt.Sprintf("%08x", i*0x9e3779b1)
		g := Group(instance)
		if other, twice := seen[g]; twice || g > 1<<31-1 {
			t.Fatalf("%s has the group %d of %s", instance, g, other)
		}
		seen[g] = instance
	}
}
