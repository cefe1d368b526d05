package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"re6st/babel"
	"re6st/ebpf"
	"re6st/internal/status"
	"re6st/internal/traffic"
)

// busyNode is a node that uses every metric.
func busyNode() measurement {
	contact, rtt := time.Unix(1_700_000_000, 0), 12.5
	stream := func(n uint64) status.Stream { return status.Stream{Bytes: 100 * n, Packets: n} }
	return measurement{
		node: status.Node{
			Name: "otter", Prefix: "2001:db8:42:1::/64", RouterID: "2001:0db8:0042:0001", Backend: "userspace", NetworkVersion: 7,
			Registry: status.Registry{LastContact: &contact, Reachable: true}, Routes: 20, RefusedRoutes: 1, Certificates: 21,
			Health:      []status.Health{{Code: "unproved-route", Text: "a"}, {Code: "unproved-route", Text: "b"}, {Code: "no-tunnels"}},
			Shortcut:    &status.Shortcut{On: true},
			Relayed:     &status.Relayed{Packets: 5},
			EdgeDropped: map[string]uint64{"source is not of this node": 3},
			Gateway: &status.Gateway{
				Families: []status.GatewayFamily{{Family: "IPv4", Well: true, Originated: true}, {Family: "IPv6"}},
				Dropped:  map[string]uint64{"inbound": 4}, NAT64: &status.NAT64{Mappings: 2, Packets: map[string]uint64{"translated": 9}},
				Translated: &status.Translation{Out: status.TranslationCounters{Packets: 1}},
			},
		},
		tunnels: []status.Tunnel{
			{Peer: "badger", PeerAddress: "2001:db8:42:2::1", Interface: "re6st-01234567", State: "up", Direction: "out", Reason: "random", RTTms: &rtt, RxBytes: 1000, TxBytes: 2000, Cost: 54},
			{Peer: "stoat", PeerAddress: "2001:db8:42:3::1", State: "candidate", Direction: "out", Reason: "demand"},
			{Peer: "badger", PeerAddress: "2001:db8:42:2::1", Interface: "re6st-89abcdef", State: "draining", Direction: "in"},
		},
		traffic: status.Traffic{
			Own: stream(5), Carried: stream(6),
			Tunnels:      []status.TunnelTraffic{{Interface: "re6st-01234567", Received: stream(8), Sent: stream(9), Carried: stream(6)}, {Interface: "gone"}},
			Destinations: []status.DestinationTraffic{{Prefix: "2001:db8:42:3::/64", Owner: "stoat", Carried: stream(6)}},
			Other:        status.DestinationTraffic{Own: stream(5)},
		},
		babel:    []babelLink{{iface: "re6st-01234567", state: babel.InterfaceState{PacketsIn: 7}, dropped: babel.Dropped{Filtered: 2}}, {iface: "gone"}},
		underlay: map[string]uint64{"unknown": 1},
		shortcut: &ebpf.ShortcutStats{Packets: map[string]uint64{"forwarded": 3}},
	}
}

func collectorOf(m measurement) nodeCollector {
	return nodeCollector{func() (measurement, error) { return m, nil }}
}

// The names follow Prometheus' conventions, every metric is used and described,
// and values are in base units.
func TestMetrics(t *testing.T) {
	c := collectorOf(busyNode())
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %+v", err, problems)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(families) {
		t.Errorf("%d metrics of %d are used", len(all), len(families))
	}
	const want = `
# HELP re6st_destination_bytes_total As traffic_bytes_total by destination: those that carry most; other is the rest.
# TYPE re6st_destination_bytes_total counter
re6st_destination_bytes_total{destination="2001:db8:42:3::/64",kind="carried",owner="stoat"} 600
re6st_destination_bytes_total{destination="2001:db8:42:3::/64",kind="own",owner="stoat"} 0
re6st_destination_bytes_total{destination="other",kind="carried",owner=""} 0
re6st_destination_bytes_total{destination="other",kind="own",owner=""} 500
# HELP re6st_health_problems What an operator should look at, see re6stnode status.
# TYPE re6st_health_problems gauge
re6st_health_problems{code="no-tunnels"} 1
re6st_health_problems{code="unproved-route"} 2
# HELP re6st_tunnel_rtt_seconds Smoothed round-trip time of the tunnel.
# TYPE re6st_tunnel_rtt_seconds gauge
re6st_tunnel_rtt_seconds{peer="badger",peer_address="2001:db8:42:2::1"} 0.0125
# HELP re6st_tunnels Tunnels of this node.
# TYPE re6st_tunnels gauge
re6st_tunnels{direction="in",reason="",state="draining"} 1
re6st_tunnels{direction="out",reason="demand",state="candidate"} 1
re6st_tunnels{direction="out",reason="random",state="up"} 1
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "re6st_destination_bytes_total", "re6st_health_problems", "re6st_tunnel_rtt_seconds", "re6st_tunnels"); err != nil {
		t.Error(err)
	}
}

// A node that knows nothing yet has metrics; one whose loops do not answer says
// so, and not that all is zero.
func TestMetricsOfAnEmptyAndOfADeafNode(t *testing.T) {
	if problems, err := testutil.CollectAndLint(collectorOf(measurement{})); err != nil || len(problems) > 0 {
		t.Errorf("%v, %+v", err, problems)
	}
	deaf := nodeCollector{func() (measurement, error) { return measurement{}, errors.New("the loop hangs") }}
	if _, err := testutil.CollectAndLint(deaf); err == nil || !strings.Contains(err.Error(), "the loop hangs") {
		t.Errorf("%v", err)
	}
}

// The server answers /metrics and nothing else, and ends when it is told to.
func TestMetricsServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectorOf(busyNode()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serveScrapes(ctx, l, registry) }()
	get := func(method, path string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://%v%s", l.Addr(), path), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if code, body := get(http.MethodGet, "/metrics"); code != http.StatusOK || !strings.Contains(body, `re6st_tunnel_received_bytes_total{peer="badger",peer_address="2001:db8:42:2::1"} 1000`) {
		t.Errorf("%d:\n%s", code, body)
	}
	if code, _ := get(http.MethodGet, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("another path: %d", code)
	}
	if code, _ := get(http.MethodPost, "/metrics"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// The node's own address may be named before it is there, another one not.
func TestMetricsOnTheNodesOwnAddress(t *testing.T) {
	for _, text := range []string{"[2001:db8:42:1::1]:0", "198.51.100.7:0"} {
		at := netip.MustParseAddrPort(text)
		if l, err := listenForScrapes(at, false); err == nil {
			l.Close()
			t.Errorf("%s is not an address of this host, and is listened on", text)
		}
		l, err := listenForScrapes(at, true)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		l.Close()
	}
}

// T-26: whatever others do, the number of series is bounded.
func TestT26_MetricsAreBounded(t *testing.T) {
	var f flowMeter
	for second := range 3 {
		var s traffic.Sample
		for i := range 5000 {
			n := second*5000 + i
			to := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 6: byte(n >> 8), 7: byte(n)}), 64)
			s.Flows = append(s.Flows, traffic.Flow{To: to, Count: traffic.Count{Packets: 1, Bytes: uint64(100 * n)}})
		}
		f.observe(time.Unix(int64(second), 0), s)
	}
	m := busyNode()
	m.traffic.Destinations = nil
	for _, x := range f.latest().Destinations {
		row := viewDestination(x, nil)
		row.Prefix = x.Prefix.String()
		m.traffic.Destinations = append(m.traffic.Destinations, row)
	}
	if n := testutil.CollectAndCount(collectorOf(m), "re6st_destination_bytes_total"); n != 2*(128+1) {
		t.Errorf("%d series of 15,000 destinations", n)
	}
}
