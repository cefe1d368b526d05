package node

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"re6st/addressing"
	"re6st/babel"
	"re6st/ebpf"
	"re6st/internal/traffic"
	"re6st/tunnel"
)

func flowTo(prefix string, own, carried float64) traffic.Destination {
	x := traffic.Destination{Prefix: netip.MustParsePrefix(prefix)}
	x.Own.Rate.Bytes, x.Carried.Rate.Bytes = own, carried
	return x
}

// What goes to a node's prefixes is its demand, all together; a default route's
// is that of the gateway. Traffic to nobody, to ourselves, and small traffic are
// none.
func TestDemandOf(t *testing.T) {
	id := func(n byte) addressing.RouterID { return addressing.RouterID{0x20, 1, 7: n} }
	owners := ownersByPrefix([]babel.Destination{
		{Prefix: netip.MustParsePrefix("2001:db8:42:1::/64"), RouterID: babel.RouterID(id(1))},
		{Prefix: netip.MustParsePrefix("10.42.1.0/24"), RouterID: babel.RouterID(id(1))},
		{Prefix: netip.MustParsePrefix("2001:db8:42:2::/64"), RouterID: babel.RouterID(id(2))},
		{Prefix: netip.MustParsePrefix("2001:db8:42:9::/64"), RouterID: babel.RouterID(id(9))},
		{Prefix: netip.MustParsePrefix("::/0"), From: netip.MustParsePrefix("2001:db8:42::/48"), RouterID: babel.RouterID(id(3))},
	})
	r := traffic.Report{Destinations: []traffic.Destination{
		flowTo("::/0", 7000, 0), flowTo("2001:db8:42:1::/64", 4000, 500), flowTo("10.42.1.0/24", 1000, 0),
		flowTo("2001:db8:42:2::/64", 10, 20), flowTo("2001:db8:42:9::/64", 1e6, 0), flowTo("2001:db8:ffff::/64", 1e6, 1e6),
	}}
	want := []tunnel.Demand{{Peer: id(3), BytesPerSecond: 7000}, {Peer: id(1), BytesPerSecond: 5000, Carried: 500}}
	if diff := cmp.Diff(want, demandOf(r, owners, id(9))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A way of forwarding that cannot count is named; what the others count is there.
func TestFlowSources(t *testing.T) {
	var f flowMeter
	if _, unknown := f.read(); unknown == "" {
		t.Error("without any source all is known")
	}
	f.kernel = func() ([]traffic.Flow, error) { return nil, errors.New("it has no BPF") }
	f.sources = []flowSource{
		{"relay", func() ([]traffic.Flow, error) {
			return []traffic.Flow{{To: netip.MustParsePrefix("2001:db8::/64"), Transit: true, Count: traffic.Count{Packets: 1, Bytes: 100}}}, nil
		}},
	}
	flows, unknown := f.read()
	if len(flows) != 1 || unknown != "the kernel: it has no BPF" {
		t.Errorf("%v, %q", flows, unknown)
	}
	f.observe(time.Unix(1, 0), traffic.Sample{Flows: flows, Unknown: unknown})
	if r := f.latest(); r.Carried.Total.Bytes != 100 || r.Unknown != unknown {
		t.Errorf("%+v", r)
	}
}

// Babel's own packets, and multicast, are no traffic of the mesh; what follows no
// route and is in transit, or came when the counters were full, is.
func TestShortcutFlows(t *testing.T) {
	to := netip.MustParsePrefix("2001:db8:42:1::/64")
	got := shortcutFlows([]ebpf.Flow{
		{To: to, Into: 7, Packets: 1, Bytes: 100},
		{To: to, Into: 7, Transit: true, Packets: 2, Bytes: 200},
		{Into: 7, Packets: 3, Bytes: 300},
		{Into: 7, Transit: true, Packets: 4, Bytes: 400},
		{Packets: 5, Bytes: 500},
	})
	count := func(n uint64) traffic.Count { return traffic.Count{Packets: n, Bytes: 100 * n} }
	want := []traffic.Flow{
		{To: to, Into: 7, Count: count(1)},
		{To: to, Into: 7, Transit: true, Count: count(2)},
		{Into: 7, Transit: true, Count: count(4)},
		{Count: count(5)},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}
