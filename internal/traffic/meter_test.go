package traffic

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func to(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 6: byte(n >> 8), 7: byte(n)}), 64)
}

func count(bytes uint64) Count { return Count{bytes / 100, bytes} }

// run feeds a Meter once a second.
type run struct {
	*Meter
	now time.Time
}

func start(c Config) *run { return &run{New(c), epoch} }

func (r *run) after(d time.Duration, s Sample) Report {
	r.now = r.now.Add(d)
	r.Observe(r.now, s)
	return r.Report()
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 0.03*want+0.5 {
		t.Errorf("%s is %.1f, want %.1f", what, got, want)
	}
}

// A steady flow has its rate soon, and none soon after it has ended.
func TestRateOfASteadyFlow(t *testing.T) {
	r := start(Config{})
	r.after(0, Sample{})
	var last Report
	for i := range 10 {
		n := count(uint64(i+1) * 50_000)
		last = r.after(time.Second, Sample{
			Links: []Link{{Index: 7, Tx: n}},
			Flows: []Flow{{To: to(1), Into: 7, Count: n}, {To: to(2), Into: 7, Transit: true, Count: n}},
		})
	}
	near(t, "own", last.Own.Rate.Bytes, 50_000)
	near(t, "carried", last.Carried.Rate.Packets, 500)
	near(t, "the tunnel", last.Tunnels[0].Tx.Rate.Bytes, 50_000)
	near(t, "its part for others", last.Tunnels[0].Carried.Rate.Bytes, 50_000)
	if d := last.Destinations[0]; d.Into != 7 || d.Own.Total != count(500_000) {
		t.Errorf("destination %+v", d)
	}
	quiet := Sample{Flows: []Flow{{To: to(1), Into: 7, Count: count(500_000)}, {To: to(2), Into: 7, Transit: true, Count: count(500_000)}}}
	for range 60 {
		last = r.after(time.Second, quiet)
	}
	if last.Own.Rate != (Rate{}) || last.Own.Total != count(500_000) || len(last.Destinations) != 2 || last.Tunnels != nil {
		t.Errorf("a minute later: %+v", last)
	}
}

// What the counters had before anybody looked is no rate: nobody knows how long
// it took. It counts in the sums.
func TestTheFirstSampleMakesNoRate(t *testing.T) {
	r := start(Config{})
	got := r.after(0, Sample{Links: []Link{{Index: 7, Rx: count(1e9)}}, Flows: []Flow{{To: to(1), Into: 7, Count: count(1e9)}}})
	if got.Own.Rate != (Rate{}) || got.Tunnels[0].Rx.Rate != (Rate{}) || got.Own.Total != count(1e9) {
		t.Errorf("%+v", got)
	}
	got = r.after(time.Second, Sample{Flows: []Flow{{To: to(1), Into: 7, Count: count(1e9)}}})
	if got.Own.Rate != (Rate{}) {
		t.Errorf("a second later, without traffic: %+v", got.Own)
	}
}

// A counter that was evicted and made again, or whose map was made again, counts
// from zero: nothing is counted twice, and no rate is negative or huge.
func TestCountersThatBeginAnew(t *testing.T) {
	r := start(Config{})
	flow := func(bytes uint64) Sample { return Sample{Flows: []Flow{{To: to(1), Into: 7, Count: count(bytes)}}} }
	r.after(0, Sample{})
	r.after(time.Second, flow(10_000))
	if got := r.after(time.Second, flow(300)); got.Own.Total != (Count{103, 10_300}) {
		t.Errorf("after it began anew: %+v", got.Own.Total)
	}
	r.after(time.Second, Sample{})
	if got := r.after(time.Second, flow(400)); got.Own.Total != (Count{107, 10_700}) {
		t.Errorf("after it was away: %+v", got.Own.Total)
	}
	if got := r.after(time.Second, flow(400)); got.Own.Total != (Count{107, 10_700}) {
		t.Errorf("without traffic: %+v", got.Own.Total)
	}
}

// An interface that vanishes takes its row along; one that gets its number begins
// at zero. The sums stay.
func TestInterfacesVanish(t *testing.T) {
	r := start(Config{})
	r.after(0, Sample{})
	s := Sample{Links: []Link{{Index: 7, Rx: count(5000), Tx: count(9000)}}, Flows: []Flow{{To: to(1), Into: 7, Count: count(9000)}}}
	r.after(time.Second, s)
	if got := r.after(time.Second, Sample{}); len(got.Tunnels) != 0 || got.Own.Total != count(9000) {
		t.Errorf("without it: %+v", got)
	}
	s.Links[0] = Link{Index: 7, Rx: count(100)}
	if got := r.after(time.Second, s); got.Tunnels[0].Rx.Total != count(100) || got.Tunnels[0].Tx.Total != (Count{}) {
		t.Errorf("another of the same number: %+v", got.Tunnels[0])
	}
}

// What is relayed inside the process is not in the interfaces' counters: both
// tunnels get it from the flow.
func TestRelayedInsideTheProcess(t *testing.T) {
	r := start(Config{})
	r.after(0, Sample{})
	links := []Link{{Index: 7, Rx: count(100)}, {Index: 8, Tx: count(200)}}
	got := r.after(time.Second, Sample{Links: links, Flows: []Flow{{Way: Process, To: to(1), From: 7, Into: 8, Transit: true, Count: count(4000)}}})
	if got.Tunnels[0].Rx.Total.Bytes != 4100 || got.Tunnels[1].Tx.Total.Bytes != 4200 || got.Carried.Total.Bytes != 4000 || got.Own.Total != (Count{}) {
		t.Errorf("%+v", got)
	}
}

// With all places taken, one that carries much takes that of one that carries
// little; two that carry the same do not take turns.
func TestTheBusiestAreToldApart(t *testing.T) {
	r := start(Config{Destinations: 3})
	r.after(0, Sample{})
	totals := map[int]uint64{}
	step := func(rates map[int]uint64) Report {
		var s Sample
		for n, rate := range rates {
			totals[n] += rate
		}
		for n, total := range totals {
			s.Flows = append(s.Flows, Flow{To: to(n), Into: 1, Count: count(total)})
		}
		return r.after(time.Second, s)
	}
	names := func(rep Report) (out string) {
		for _, d := range rep.Destinations {
			out += fmt.Sprint(" ", d.Prefix.Addr().As16()[7])
		}
		return out
	}
	var got Report
	for range 10 {
		got = step(map[int]uint64{1: 9000, 2: 8000, 3: 7000})
	}
	for range 10 {
		got = step(map[int]uint64{1: 9000, 2: 8000, 3: 7000, 4: 7000, 5: 6000, 6: 100})
	}
	if names(got) != " 1 2 3" || got.Other.Own.Total.Bytes != 10*13_100 {
		t.Errorf("told apart:%s, other %+v", names(got), got.Other)
	}
	near(t, "other", got.Other.Own.Rate.Bytes, 13_100)
	for range 10 {
		got = step(map[int]uint64{1: 9000, 2: 8000, 3: 7000, 4: 30_000})
	}
	if names(got) != " 4 1 2" {
		t.Errorf("told apart:%s", names(got))
	}
}

// Time that stands still, or goes back, loses nothing and divides by nothing.
func TestSamplesWithoutTimeBetween(t *testing.T) {
	r := start(Config{})
	r.after(0, Sample{})
	for i := range 3 {
		r.after(0, Sample{Flows: []Flow{{To: to(1), Count: count(uint64(i+1) * 1000)}}})
	}
	r.after(-time.Hour, Sample{Flows: []Flow{{To: to(1), Count: count(4000)}}})
	got := r.after(time.Hour+time.Second, Sample{Flows: []Flow{{To: to(1), Count: count(4000)}}})
	if got.Own.Total != count(4000) {
		t.Errorf("%+v", got.Own)
	}
	near(t, "the rate", got.Own.Rate.Bytes, 4000*weightOf(time.Second, defaultSmoothing))
}

// Whatever the counters do: every byte that they gained is in the sums, once; the
// rows and the rest make up the sums as long as nobody was crowded out; there are
// never more rows than allowed; rates are finite, not negative, and not above the
// fastest second.
func TestMeterProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.IntRange(1, 6).Draw(t, "places")
		r := start(Config{Destinations: places})
		type counter struct {
			flow  Flow
			there bool
		}
		counters := make([]*counter, rapid.IntRange(1, 8).Draw(t, "counters"))
		for i := range counters {
			counters[i] = &counter{flow: Flow{Way: Way(i % 2), To: to(i / 2), Into: i % 3, From: i % 2, Transit: i%4 > 1}}
		}
		var want Count
		wasTold := map[netip.Prefix]bool{}
		fastest := 0.0
		r.after(0, Sample{})
		for range rapid.IntRange(1, 20).Draw(t, "samples") {
			var s Sample
			dt := time.Duration(rapid.IntRange(1, 5000).Draw(t, "ms")) * time.Millisecond
			var gained Count
			for i := range rapid.IntRange(0, 3).Draw(t, "links") {
				s.Links = append(s.Links, Link{Index: i, Rx: count(rapid.Uint64Range(0, 1e6).Draw(t, "rx"))})
			}
			for _, c := range counters {
				add := count(rapid.Uint64Range(0, 1e6).Draw(t, "add") * 100)
				switch rapid.SampledFrom([]string{"goes on", "goes on", "idle", "evicted", "anew"}).Draw(t, "what") {
				case "goes on":
				case "idle":
					add = Count{}
				case "evicted":
					c.flow.Count, c.there = Count{}, false
					continue
				case "anew":
					if add.Bytes >= c.flow.Bytes {
						add = Count{} // who counted on so fast cannot be told from one that went on
					} else {
						c.flow.Count = Count{}
					}
				}
				if c.there || add != (Count{}) {
					c.flow.Count = c.flow.Count.plus(add)
					c.there = true
					gained = gained.plus(add)
				}
				s.Flows = append(s.Flows, c.flow)
			}
			want = want.plus(gained)
			fastest = max(fastest, float64(gained.Bytes)/dt.Seconds())
			rand.Shuffle(len(s.Flows), func(i, j int) { s.Flows[i], s.Flows[j] = s.Flows[j], s.Flows[i] })
			got := r.after(dt, s)
			checkReport(t, got, want, places, fastest, wasTold)
			if len(got.Tunnels) != len(s.Links) {
				t.Fatalf("%d tunnels, %d links", len(got.Tunnels), len(s.Links))
			}
		}
	})
}

func checkReport(t *rapid.T, got Report, want Count, places int, fastest float64, wasTold map[netip.Prefix]bool) {
	if sum := got.Own.Total.plus(got.Carried.Total); sum != want {
		t.Fatalf("in all %+v, want %+v", sum, want)
	}
	if len(got.Destinations) > places {
		t.Fatalf("%d destinations, at most %d", len(got.Destinations), places)
	}
	rows := got.Other.Own.Total.plus(got.Other.Carried.Total)
	for i, d := range got.Destinations {
		wasTold[d.Prefix] = true
		rows = rows.plus(d.Own.Total).plus(d.Carried.Total)
		if i > 0 && d.rate() > got.Destinations[i-1].rate() {
			t.Fatalf("not sorted: %+v", got.Destinations)
		}
	}
	if rows.Bytes > want.Bytes || len(wasTold) == len(got.Destinations) && rows != want {
		t.Fatalf("rows make %+v, in all there is %+v, %d were told apart", rows, want, len(wasTold))
	}
	for _, x := range []Stream{got.Own, got.Carried, got.Other.Own} {
		if r := x.Rate.Bytes; !(r >= 0 && r <= fastest*1.000001) || math.IsNaN(x.Rate.Packets) || x.Rate.Packets < 0 {
			t.Fatalf("rate %+v, the fastest was %f", x.Rate, fastest)
		}
	}
}

// A sample beyond all bounds costs what the bound costs.
func TestHugeSample(t *testing.T) {
	r := start(Config{})
	var s Sample
	for i := range flowsMax + 1000 {
		s.Flows = append(s.Flows, Flow{To: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), Count: count(100)})
	}
	got := r.after(0, s)
	if len(got.Destinations) != defaultDestinations || len(r.counters) != flowsMax || got.Own.Total.Packets != flowsMax {
		t.Errorf("%d destinations, %d counters, %+v", len(got.Destinations), len(r.counters), got.Own.Total)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var s Sample
			for i := range n {
				s.Flows = append(s.Flows, Flow{To: to(i), Into: i % 20, Count: count(100)})
			}
			r := start(Config{})
			b.ReportAllocs()
			for b.Loop() {
				for i := range s.Flows {
					s.Flows[i].Bytes += uint64(i)
				}
				r.after(time.Second, s)
			}
		})
	}
}
