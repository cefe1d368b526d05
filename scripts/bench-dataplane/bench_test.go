package main

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"re6st/internal/measure"
)

// rounds of a path, by Mbit/s, packets per second and round trip.
func rounds(all ...[3]float64) []once {
	var out []once
	for _, r := range all {
		out = append(out, once{Mbit: r[0], PPS: r[1], RTT: r[2], Ends: 2, Relays: 1})
	}
	return out
}

func TestSummaryGoesByRounds(t *testing.T) {
	r := &report{Paths: []*path{
		{System: nameBare, Underlay: "offload", Relays: 1, Rounds: rounds([3]float64{1000, 500, 10}, [3]float64{100, 50, 20}, [3]float64{1000, 500, 10})},
		{System: nameStock, Underlay: "offload", Relays: 1, Rounds: rounds([3]float64{200, 100, 110}, [3]float64{20, 10, 220}, [3]float64{200, 100, 110})},
		// The second round was slow for all, the third one failed for us alone.
		{System: nameNode, Underlay: "offload", Relays: 1, Rounds: rounds([3]float64{300, 150, 60}, [3]float64{30, 15, 120}, [3]float64{})},
	}}
	r.finish()
	l := r.line(nameNode, "offload", 1)
	if l == nil || l.MbitWG != 1.5 || l.PPSWG != 1.5 || l.AddedWG != 0.5 || l.MbitBare != 0.3 {
		t.Errorf("ratios %+v", l)
	}
	if l.Mbit != 165 || l.Added != 75 || l.RAC != 0.5 {
		t.Errorf("medians %+v: the failed round counts", l)
	}
	if wg := r.line(nameStock, "offload", 1); wg.MbitWG != 1 || wg.Spread != 0 || wg.AddedWG != 1 {
		t.Errorf("stock beside itself: %+v", wg)
	}
	if bare := r.line(nameBare, "offload", 1); bare.Added != 0 {
		t.Errorf("the bare link adds to itself: %+v", bare)
	}
}

func TestReportShowsRatiosAndGoals(t *testing.T) {
	r := &report{
		Missing: []string{"nebula: nebula not installed"},
		Paths: []*path{
			{System: nameStock, Underlay: "offload", Rounds: rounds([3]float64{200, 100, 110})},
			{System: nameNode, Underlay: "offload", Rounds: rounds([3]float64{240, 150, 60})},
		},
		Tunnels: []*manyTunnels{{Kind: stock}, {Kind: ours, Base: memoryOf{RSSMB: 15}, Idle20: memoryOf{RSSMB: 19}, Busy20: memoryOf{RSSMB: 101}}},
	}
	r.finish()
	var b strings.Builder
	r.markdown(&b)
	for _, want := range []string{
		"| re6st | 240 | 1.20 |",
		"not compared: nebula: nebula not installed",
		"| TCP direct, offload | at least 1.1 | 1.20 | met |",
		"| small packets, direct | at least 1.9 | 1.50 | not met |",
		"| TCP over one relay, plain | at least 1.95 | - | not measured |",
		"| an idle tunnel, of 20 | at most 0.25 MB | 0.20 MB | met |",
		"| 20 tunnels, all were busy | at most 100 MB | 101.00 MB | not met |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// The paths of one underlay and length are measured next to each other, forwards and
// backwards.
func TestGroups(t *testing.T) {
	var order []*path
	for _, u := range underlays {
		for relays := range 2 {
			for _, system := range []string{nameStock, nameNode} {
				order = append(order, &path{System: system, Underlay: u, Relays: relays})
			}
		}
	}
	for range 2 {
		got := groups(order)
		if len(got) != 4 {
			t.Fatalf("%d groups, want 4", len(got))
		}
		for i, g := range got {
			if len(g) != 2 || g[0] != order[2*i] || g[1] != order[2*i+1] {
				t.Errorf("group %d: %v", i, g)
			}
		}
		slices.Reverse(order)
	}
	if got := groups(nil); len(got) != 0 {
		t.Errorf("groups of nothing: %v", got)
	}
}

func TestForwardTable(t *testing.T) {
	r := &report{Forward: measure.ParseBench("BenchmarkShortcut/10-routes/tun-64/stack-2 1 1000 ns/packet 1000000 packets/s 1.000 times-stack\n" +
		"BenchmarkShortcut/10-routes/tun-64/shortcut-2 1 700 ns/packet 1428571 packets/s 0.700 times-stack\n")}
	var b strings.Builder
	r.markdown(&b)
	if want := "| 10-routes/tun-64 | 1000 (1.00) | 700 (0.70) | 1000000 | 1428571 |"; !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%s", want, &b)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		goal goal
		met  bool
	}{
		{goal{Goal: 1.1, Reached: 1.1}, true},
		{goal{Goal: 1.1, Reached: 1.09}, false},
		{goal{Goal: 1.1}, false},
		{goal{Goal: 0.5, AtMost: true, Reached: 0.5}, true},
		{goal{Goal: 0.5, AtMost: true, Reached: 0.51}, false},
		{goal{Goal: 0.5, AtMost: true}, false}, // not measured is not reached
	} {
		if got := judge(c.goal); got.Met != c.met {
			t.Errorf("%+v", got)
		}
	}
}

// A link that carries so many packets a second is found to within a twelfth, from
// wherever the search begins, and also if every third train is disturbed.
func TestFastest(t *testing.T) {
	for _, capacity := range []float64{4000, 61000, 400000} {
		for _, start := range []float64{5000, 30000, 300000} {
			n := 0
			got, err := fastest(start, func(rate int) (float64, error) {
				n++
				if n%3 == 0 || float64(rate) > capacity {
					return 0.2, nil
				}
				return 0.005, nil
			})
			if err != nil || got > capacity || got < capacity*11/12 {
				t.Errorf("capacity %g from %g: %g, %v after %d trains", capacity, start, got, err, n)
			}
		}
	}
	// Something else has the machine for some trains, at whatever moment of the search.
	for begin := range 12 {
		n := 0
		got, err := fastest(30000, func(rate int) (float64, error) {
			n++
			if n > begin && n <= begin+2 || rate > 100000 {
				return 0.3, nil
			}
			return 0, nil
		})
		if err != nil || got > 100000 || got < 80000 {
			t.Errorf("disturbed after %d trains: %g, %v after %d", begin, got, err, n)
		}
	}
	if got, err := fastest(30000, func(int) (float64, error) { return 1, nil }); got != 0 || err != nil {
		t.Errorf("nothing arrives: %v, %v", got, err)
	}
	if _, err := fastest(30000, func(int) (float64, error) { return 0, errors.New("broken") }); err == nil {
		t.Error("a broken load is a result")
	}
}

func TestLost(t *testing.T) {
	for _, c := range []struct {
		train counted
		lost  bool
	}{
		{counted{Sent: 1000, Received: 995, Seconds: 0.3, Arriving: 0.3}, false},
		{counted{Sent: 1000, Received: 980, Seconds: 0.3, Arriving: 0.3}, true},
		// All have come, out of a queue that was filling.
		{counted{Sent: 1000, Received: 1000, Seconds: 0.3, Arriving: 0.45}, true},
		{counted{}, true},
	} {
		if got := c.train.lost(); (got > maxLoss) != c.lost {
			t.Errorf("%+v: lost %v", c.train, got)
		}
	}
}

func TestPayloadMakes64Bytes(t *testing.T) {
	if n := payloadSize(netip.MustParseAddr("fd00::1")); n != 64-48 {
		t.Errorf("IPv6: %d", n)
	}
	if n := payloadSize(netip.MustParseAddr("10.0.0.1")); n != 64-28 {
		t.Errorf("IPv4: %d", n)
	}
}

func TestP17_HarnessFailsWhenWorse(t *testing.T) {
	good := comparison{RTTRatio: 1.2, Ours: side{IdleMB: 20, BusyMB: 60, PPS: 2}, WireGuard: side{IdleMB: 7, BusyMB: 300, PPS: 1}}
	for _, c := range []struct {
		name  string
		spoil func(*comparison)
		worse []string
	}{
		{"within the limits", func(*comparison) {}, nil},
		{"slow", func(c *comparison) { c.RTTRatio = 1.21 }, []string{"round trip is 1.21 times"}},
		{"large when idle is reported", func(c *comparison) { c.Ours.IdleMB = 70 }, nil},
		{"large", func(c *comparison) { c.Ours.BusyMB = 901 }, []string{"RSS is 3.00 times"}},
		{"silent", func(c *comparison) { c.RTTRatio = 0 }, []string{"round trip was not measured"}},
		{"not measured", func(c *comparison) { c.WireGuard.BusyMB = 0 }, []string{"RSS was not measured"}},
		{"both", func(c *comparison) { c.RTTRatio, c.Ours.BusyMB = 2, 3000 }, []string{"round trip", "RSS"}},
		{"throughput and CPU have no limit", func(c *comparison) { c.Ours.Mbit, c.Ours.CPU, c.WireGuard.Mbit, c.WireGuard.CPU = 1, 9, 9, 1 }, nil},
	} {
		got := good
		c.spoil(&got)
		got.judge()
		if len(got.Worse) != len(c.worse) {
			t.Errorf("%s: %q", c.name, got.Worse)
			continue
		}
		for i, want := range c.worse {
			if !strings.Contains(got.Worse[i], want) {
				t.Errorf("%s: %q, want %q", c.name, got.Worse[i], want)
			}
		}
	}
}

func TestP17_BothSidesInJSON(t *testing.T) {
	mine := &path{System: nameNode, Rounds: rounds([3]float64{300, 150, 60}, [3]float64{500, 250, 80})}
	wg := &path{System: nameStock, Rounds: rounds([3]float64{200, 100, 110})}
	data, err := json.Marshal(&report{Single: compare(mine, wg)})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Single map[string]map[string]float64 `json:"single"`
	}
	_ = json.Unmarshal(data, &got) // the fields that are no sides do not fit
	for side, want := range map[string]map[string]float64{
		"re6st":        {"rtt_us": 70, "pps": 200, "mbit": 400, "cpu_s_per_gb": 2},
		"wireguard_go": {"rtt_us": 110, "pps": 100, "mbit": 200, "cpu_s_per_gb": 2},
	} {
		for field, v := range want {
			if got.Single[side][field] != v {
				t.Errorf("%s of %s: %v, want %v, in %s", field, side, got.Single[side][field], v, data)
			}
		}
		for _, field := range []string{"rss_idle_mb", "rss_busy_mb", "small_cpu_us"} {
			if _, ok := got.Single[side][field]; !ok {
				t.Errorf("no %s of %s in %s", field, side, data)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	if got, err := choose("paths,single", names()); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := choose("", names()); err != nil || len(got) != len(parts) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := choose("nothing", names()); err == nil {
		t.Error("an unknown part was chosen")
	}
	if err := installed("ping", "re6st-no-such-program"); err == nil || !strings.Contains(err.Error(), "re6st-no-such-program not installed") {
		t.Errorf("missing programs: %v", err)
	}
}
