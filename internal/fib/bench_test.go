package fib

import (
	"fmt"
	"net/netip"
	"testing"
)

// nodeRoutes are those of a mesh with so many nodes: a /64 each, over the tunnels in
// turn.
func nodeRoutes(n int) []Event {
	var events []Event
	for i := range n {
		a := network.Addr().As16()
		a[6], a[7] = byte(i>>8), byte(i)
		events = append(events, RouteAdded{Route{
			RouteKey: RouteKey{Dst: netip.PrefixFrom(netip.AddrFrom16(a), 64), Priority: 1024},
			Ordinary: true, Interface: 1 + i%2, Gateway: netip.MustParseAddr("fe80::1"),
		}})
	}
	return events
}

func meshOf(n int) *FIB {
	f := New()
	f.Apply(Snapshot{Rules: meshRules(), Links: []Link{{Index: 1, Kind: Raw, Up: true, MTU: 1420}, {Index: 2, Kind: Raw, Up: true, MTU: 1420}}})
	f.Apply(nodeRoutes(n)...)
	return f
}

// packetsTo are packets of 64 bytes to some of so many nodes, far apart.
func packetsTo(nodes int) [][]byte {
	const count = 256
	var out [][]byte
	for i := range count {
		p := make([]byte, 64)
		p[0], p[5], p[6], p[7] = 0x60, 24, 17, 64
		src, dst := network.Addr().As16(), network.Addr().As16()
		node := i * nodes / count
		src[15], dst[6], dst[7], dst[15] = 1, byte(node>>8), byte(node), 1
		copy(p[8:], src[:])
		copy(p[24:], dst[:])
		p[45] = 24 // the length in UDP's header
		out = append(out, p)
	}
	return out
}

// A lookup among 10,000 routes, and all that is done to a packet beside it, allocates
// nothing; its time is the benchmarks'.
func TestA19_LookupAllocatesNothing(t *testing.T) {
	const nodes = 10000
	table, _, _ := meshOf(nodes).Compile()
	packets := packetsTo(nodes)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		p := packets[i%len(packets)]
		i++
		if v := Inspect(p, len(p)); v != Ordinary {
			t.Fatalf("packet %d is %v", i, v)
		}
		src, dst := Addresses(p)
		if d := table.Lookup(src, dst); d.Action != Forward {
			t.Fatalf("packet %d: %+v", i, d)
		}
		p[7] = 64
		LowerHopLimit(p)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, nodes := range []int{10, 10000} {
		b.Run(fmt.Sprintf("%d-routes", nodes), func(b *testing.B) {
			table, _, _ := meshOf(nodes).Compile()
			var src, dst []netip.Addr
			for _, p := range packetsTo(nodes) {
				s, d := Addresses(p)
				src, dst = append(src, s), append(dst, d)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if table.Lookup(src[i%len(src)], dst[i%len(dst)]).Action != Forward {
					b.Fatal("not forwarded")
				}
			}
		})
	}
}

// BenchmarkUpdate is a route of 10,000 that gets another next hop.
func BenchmarkUpdate(b *testing.B) {
	const nodes = 10000
	f := meshOf(nodes)
	f.Compile()
	routes := nodeRoutes(nodes)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := routes[i%nodes].(RouteAdded)
		r.Interface = 1 + (r.Interface+i/nodes)%2
		f.Apply(r)
		if _, add, _ := f.Compile(); len(add) > 1 {
			b.Fatalf("%d entries changed", len(add))
		}
	}
}
