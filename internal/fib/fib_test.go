package fib

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

var network = prefix("2001:db8:42::/48")

// meshRules are those of a node: its network's in both directions, then whatever
// the host has.
func meshRules() []Rule {
	return []Rule{
		{To: network, Lookup: true},
		{From: network, Lookup: true},
		{},
		{IPv4: true, To: prefix("10.42.0.0/16"), Lookup: true},
		{IPv4: true, From: prefix("10.42.0.0/16"), Lookup: true},
		{IPv4: true},
	}
}

func route(dst string, iface int) Route {
	return Route{RouteKey: RouteKey{Dst: prefix(dst), Priority: 1024}, Ordinary: true, Interface: iface, Gateway: addr("fe80::1")}
}

func from(src string, r Route) Route {
	r.Src = prefix(src)
	return r
}

func at(priority uint32, r Route) Route {
	r.Priority = priority
	return r
}

func started(t *testing.T, events ...Event) *FIB {
	t.Helper()
	f := New()
	f.Apply(Snapshot{Rules: meshRules(), Links: []Link{
		{Index: 1, Kind: Raw, Up: true, MTU: 1420}, {Index: 2, Kind: Raw, Up: true, MTU: 1380}, {Index: 3, Kind: Ethernet, Up: true, MTU: 1500},
	}})
	f.Apply(events...)
	return f
}

type way0 struct {
	src, dst string
	iface    int // 0: passes
}

func want(t *testing.T, when string, table *Table, ways ...way0) {
	t.Helper()
	for _, w := range ways {
		if got := table.Lookup(addr(w.src), addr(w.dst)); got.Interface != w.iface {
			t.Errorf("%s: from %s to %s goes to %d, want %d", when, w.src, w.dst, got.Interface, w.iface)
		}
	}
}

func TestLookup(t *testing.T) {
	unreachable := Route{RouteKey: RouteKey{Dst: network, Priority: 1<<32 - 1}}
	throw := Route{RouteKey: RouteKey{Dst: prefix("2001:db8:42:5::/64"), Priority: 1}, Throw: true}
	f := started(t,
		RouteAdded{unreachable}, RouteAdded{throw},
		RouteAdded{route("2001:db8:42:7::/64", 1)}, RouteAdded{at(512, route("2001:db8:42:7::/64", 2))},
		RouteAdded{route("2001:db8:42:5::/64", 2)},
		RouteAdded{from("2001:db8:42::/48", route("::/0", 2))},
		LocalAdded{Local{prefix("2001:db8:42:7::9/128")}},
		RouteAdded{route("10.42.7.0/24", 1)}, RouteAdded{route("0.0.0.0/0", 2)},
		LocalAdded{Local{prefix("192.0.2.5/32")}})
	table, _, _ := f.Compile()
	want(t, "all", table,
		way0{"2001:db8:42:1::1", "2001:db8:42:7::1", 2}, // the least priority
		way0{"2001:db8:ffff::1", "2001:db8:42:7::1", 2}, // to the network from anywhere
		way0{"2001:db8:42:1::1", "2001:db8:42:7::9", 0}, // local
		way0{"2001:db8:42:1::1", "2001:db8:42:5::1", 0}, // thrown
		way0{"2001:db8:42:1::1", "2001:db8:42:6::1", 0}, // unreachable
		way0{"2001:db8:42:1::1", "2001:4860::8888", 2},  // by the gateway
		way0{"2001:db8:ffff::1", "2001:4860::8888", 0},  // not the network's
		way0{"10.42.1.1", "10.42.7.1", 1},
		way0{"192.0.2.5", "10.42.7.1", 0}, // our own address as a source
		way0{"192.0.2.6", "10.42.7.1", 1},
		way0{"10.42.1.1", "8.8.8.8", 2},
		way0{"192.0.2.6", "8.8.8.8", 0})
	d := table.Lookup(addr("2001:db8:42:1::1"), addr("2001:db8:42:7::1"))
	if diff := cmp.Diff(Decision{Forward, 2, addr("fe80::1"), 1380, prefix("2001:db8:42:7::/64")}, d, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
	f.Apply(LinkChanged{Link{Index: 2, Kind: Raw, MTU: 1380}}) // down
	table, _, _ = f.Compile()
	want(t, "a link down", table,
		way0{"2001:db8:42:1::1", "2001:db8:42:7::1", 1}, way0{"2001:db8:42:1::1", "2001:4860::8888", 0}, way0{"10.42.1.1", "8.8.8.8", 0})
	f.Apply(RulesChanged{})
	table, _, _ = f.Compile()
	want(t, "no rules", table, way0{"2001:db8:42:1::1", "2001:db8:42:7::1", 0})
}
