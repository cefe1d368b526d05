package main

import (
	"fmt"
	"io"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// side is one tunnel between two hosts, by one of both.
type side struct {
	RTTus    float64 `json:"rtt_us"`
	PPS      float64 `json:"pps"`
	Mbit     float64 `json:"mbit"`
	CPU      float64 `json:"cpu_s_per_gb"`
	SmallCPU float64 `json:"small_cpu_us"`
	IdleMB   float64 `json:"rss_idle_mb"`
	BusyMB   float64 `json:"rss_busy_mb"`
}

// comparison is one tunnel of our node beside one of stock wireguard-go: the harness
// against regressions (row P17).
type comparison struct {
	Rounds    int      `json:"rounds"`
	Ours      side     `json:"re6st"`
	WireGuard side     `json:"wireguard_go"`
	RTTRatio  float64  `json:"rtt_ratio"`      // median of many short turns
	IdleRatio float64  `json:"rss_idle_ratio"` // before the first load
	BusyRatio float64  `json:"rss_busy_ratio"`
	Worse     []string `json:"worse"` // the limits that are passed
}

// The limits. Throughput and CPU are reported, for they vary with the machine; the
// round trip and the memory compare with another process of the same minute. The memory
// is that of a tunnel in use: before the first packet most of a node's RSS is the text
// of its program, which is reported.
const (
	maxRTT = 1.2
	maxRSS = 3
)

// single measures it.
func single(t lab.TB, c config, r *report) {
	l := lab.New(t)
	systems := []*system{wireGuard(l, 0, nameStock, c.tunnels, stock, stock), nodes(l, 1, 2, c.shortcut)}
	var both []*path
	for _, s := range systems {
		s.listen(c.self)
		if err := s.await(upWithin); err != nil {
			t.Fatalf("%v", err)
		}
		both = append(both, &path{System: s.name, Underlay: underlays[0], of: s})
	}
	<-time.After(settling)
	idleWG, idleOurs := rssOf(systems[0].memory(t)), rssOf(systems[1].memory(t))
	measureAll(t, c, r, both)
	out := compare(both[1], both[0])
	out.RTTRatio = roundTrips(t, both[1], both[0])
	out.Ours.IdleMB, out.WireGuard.IdleMB = idleOurs, idleWG
	out.Ours.BusyMB, out.WireGuard.BusyMB = rssOf(systems[1].memory(t)), rssOf(systems[0].memory(t))
	out.judge()
	r.Single = out
}

// rssOf is the mean of both ends.
func rssOf(ends []memoryOf) float64 {
	var sum float64
	for _, m := range ends {
		sum += m.RSSMB
	}
	return measure.Ratio(sum, float64(len(ends)))
}

// turns is how often the two take turns for the round trips alone.
const turns = 12

// roundTrips is the median ratio of many short turns: the round trip has a limit, and
// a machine that does something else for a second must not pass it.
func roundTrips(t lab.TB, mine, wg *path) float64 {
	rtt := map[*path][]float64{}
	for range turns {
		for _, p := range []*path{wg, mine} {
			us, err := p.ping(40)
			if err != nil {
				t.Fatalf("%v: %v", p, err)
			}
			rtt[p] = append(rtt[p], us)
		}
	}
	return measure.Median(measure.Ratios(rtt[mine], rtt[wg]))
}

// compare sums up the rounds.
func compare(mine, wg *path) *comparison {
	sum := func(p *path) side {
		med := func(pick func(once) float64) float64 { return measure.Median(present(p.figures(pick))) }
		return side{
			RTTus: med(func(o once) float64 { return o.RTT }), PPS: med(func(o once) float64 { return o.PPS }),
			Mbit: med(func(o once) float64 { return o.Mbit }), CPU: med(func(o once) float64 { return o.Ends }),
			SmallCPU: med(func(o once) float64 { return o.SmallCPU }),
		}
	}
	return &comparison{Rounds: len(mine.Rounds), Ours: sum(mine), WireGuard: sum(wg), Worse: []string{}}
}

// judge says which limits are passed. What was not measured has passed its limit too.
func (c *comparison) judge() {
	c.IdleRatio = measure.Ratio(c.Ours.IdleMB, c.WireGuard.IdleMB)
	c.BusyRatio = measure.Ratio(c.Ours.BusyMB, c.WireGuard.BusyMB)
	for _, l := range []struct {
		what       string
		ratio, max float64
	}{{"ping's round trip", c.RTTRatio, maxRTT}, {"RSS", c.BusyRatio, maxRSS}} {
		switch {
		case l.ratio == 0:
			c.Worse = append(c.Worse, l.what+" was not measured")
		case l.ratio > l.max:
			c.Worse = append(c.Worse, fmt.Sprintf("%s is %.2f times wireguard-go's, more than %g", l.what, l.ratio, l.max))
		}
	}
}

func (c *comparison) markdown(w io.Writer) {
	fmt.Fprintf(w, "\nOne tunnel between two hosts, %d rounds in turn, medians\n\n", c.Rounds)
	measure.Table(w, "", "RTT µs", "TCP Mbit/s", "64 bytes, packets/s", "CPU s/GB", "CPU µs a small packet", "RSS MB idle", "busy")
	for _, s := range []struct {
		name string
		side
	}{{nameStock, c.WireGuard}, {nameNode, c.Ours}} {
		measure.Row(w, s.name, fmt.Sprintf("%.0f", s.RTTus), fmt.Sprintf("%.0f", s.Mbit), fmt.Sprintf("%.0f", s.PPS), fmt.Sprintf("%.2f", s.CPU),
			fmt.Sprintf("%.1f", s.SmallCPU), fmt.Sprintf("%.1f", s.IdleMB), fmt.Sprintf("%.1f", s.BusyMB))
	}
	fmt.Fprintf(w, "\nround trip × %.2f (limit %g), RSS × %.2f after load (limit %g) and %.2f before it: %s\n", c.RTTRatio, maxRTT, c.BusyRatio, float64(maxRSS), c.IdleRatio,
		map[bool]string{true: "within the limits", false: "WORSE"}[len(c.Worse) == 0])
}
