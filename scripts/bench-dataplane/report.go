package main

import (
	"fmt"
	"io"
	"slices"

	"re6st/internal/measure"
)

// report is what was measured; its JSON form is for machines.
type report struct {
	SchemaVersion int             `json:"schema_version"`
	Host          measure.Host    `json:"host"`
	Missing       []string        `json:"missing,omitempty"` // what could not be compared
	Single        *comparison     `json:"single,omitempty"`
	Paths         []*path         `json:"paths,omitempty"`
	Lines         []*line         `json:"lines,omitempty"` // of Paths: medians and ratios
	Memory        []*systemMemory `json:"memory,omitempty"`
	Tunnels       []*manyTunnels  `json:"tunnels,omitempty"`
	Forward       []measure.Bench `json:"forward,omitempty"`
	Goals         []goal          `json:"goals,omitempty"`
}

// line sums up a path: medians of the rounds, and medians of the ratios by round.
type line struct {
	System   string  `json:"system"`
	Underlay string  `json:"underlay"`
	Relays   int     `json:"relays"`
	Mbit     float64 `json:"mbit"`
	MbitWG   float64 `json:"mbit_to_wireguard_go"`
	Spread   float64 `json:"mbit_to_wireguard_go_spread"`
	MbitBare float64 `json:"mbit_to_bare_link"`
	PPS      float64 `json:"pps"`
	PPSWG    float64 `json:"pps_to_wireguard_go"`
	PPSSpr   float64 `json:"pps_to_wireguard_go_spread"`
	RTT      float64 `json:"rtt_us"`
	Added    float64 `json:"added_rtt_us"` // to the bare link's
	AddedWG  float64 `json:"added_rtt_to_wireguard_go"`
	Ends     float64 `json:"ends_cpu_s_per_gb"`
	Relay    float64 `json:"relays_cpu_s_per_gb"`
	Rest     float64 `json:"rest_cpu_s_per_gb"`
	CPUWG    float64 `json:"cpu_to_wireguard_go"` // of all daemons
	RAC      float64 `json:"relays_to_ends"`      // R/(A+C)
	Small    float64 `json:"small_cpu_us"`
	SmallR   float64 `json:"small_relay_cpu_us"`
}

func (r *report) find(system, underlay string, relays int) *path {
	i := slices.IndexFunc(r.Paths, func(p *path) bool {
		return p.System == system && p.Underlay == underlay && p.Relays == relays
	})
	if i < 0 {
		return &path{}
	}
	return r.Paths[i]
}

func (r *report) line(system, underlay string, relays int) *line {
	for _, l := range r.Lines {
		if l.System == system && l.Underlay == underlay && l.Relays == relays {
			return l
		}
	}
	return nil
}

// finish derives all that is printed.
func (r *report) finish() {
	for _, p := range r.Paths {
		r.Lines = append(r.Lines, summary(p, r.find(nameStock, p.Underlay, p.Relays), r.find(nameBare, p.Underlay, p.Relays)))
	}
	r.Goals = goals(r)
}

func summary(p, wg, bare *path) *line {
	med := func(pick func(once) float64) float64 { return measure.Median(present(p.figures(pick))) }
	to := func(other *path, pick func(once) float64) []float64 {
		return measure.Ratios(p.figures(pick), other.figures(pick))
	}
	mbit, pps := func(o once) float64 { return o.Mbit }, func(o once) float64 { return o.PPS }
	l := &line{
		System: p.System, Underlay: p.Underlay, Relays: p.Relays,
		Mbit: med(mbit), MbitWG: measure.Median(to(wg, mbit)), Spread: measure.Spread(to(wg, mbit)), MbitBare: measure.Median(to(bare, mbit)),
		PPS: med(pps), PPSWG: measure.Median(to(wg, pps)), PPSSpr: measure.Spread(to(wg, pps)),
		RTT:  med(func(o once) float64 { return o.RTT }),
		Ends: med(func(o once) float64 { return o.Ends }), Relay: med(func(o once) float64 { return o.Relays }),
		Rest:  med(func(o once) float64 { return o.Rest }),
		CPUWG: measure.Median(to(wg, func(o once) float64 { return o.Ends + o.Relays })),
		Small: med(func(o once) float64 { return o.SmallCPU }), SmallR: med(func(o once) float64 { return o.SmallRelay }),
	}
	var shares []float64
	for _, o := range p.Rounds {
		shares = append(shares, measure.Ratio(o.Relays, o.Ends))
	}
	l.RAC = measure.Median(present(shares))
	if mine := added(p, bare); len(present(mine)) > 0 && p.System != bare.System {
		l.Added = measure.Median(present(mine))
		l.AddedWG = measure.Median(measure.Ratios(mine, added(wg, bare)))
	}
	return l
}

// added is the round trip beyond that of the bare link in the same round; 0 where one
// of both was not measured.
func added(p, bare *path) []float64 {
	var out []float64
	for i := range min(len(p.Rounds), len(bare.Rounds)) {
		a, b := p.Rounds[i].RTT, bare.Rounds[i].RTT
		if a == 0 || b == 0 {
			a, b = 0, 0
		}
		out = append(out, max(0, a-b))
	}
	return out
}

// present are the figures of rounds that did not fail.
func present(all []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(all), func(f float64) bool { return f == 0 })
}

// markdown prints the tables of docs/benchmarks.md.
func (r *report) markdown(w io.Writer) {
	fmt.Fprintln(w, r.Host)
	for _, m := range r.Missing {
		fmt.Fprintln(w, "not compared:", m)
	}
	if r.Single != nil {
		r.Single.markdown(w)
	}
	r.pathTables(w)
	r.memoryTable(w)
	r.tunnelsTable(w)
	r.forwardTable(w)
	if len(r.Goals) > 0 {
		fmt.Fprint(w, "\nAgainst the goals; × is to stock wireguard-go in this run\n\n")
		measure.Table(w, "", "goal", "reached", "")
		for _, g := range r.Goals {
			measure.Row(w, g.What, g.limit(), g.reached(), g.verdict())
		}
	}
}

func (r *report) pathTables(w io.Writer) {
	titles := []string{"Direct", "One relay", "Two relays"}
	for _, u := range underlays {
		for relays, title := range titles {
			var of []*line
			for _, l := range r.Lines {
				if l.Underlay == u && l.Relays == relays && l.RTT > 0 {
					of = append(of, l)
				}
			}
			if len(of) == 0 {
				continue
			}
			fmt.Fprintf(w, "\n%s, %s, %d rounds in turn, medians\n\n", title, u, len(r.Paths[0].Rounds))
			measure.Table(w, "", "TCP Mbit/s", "× wg (spread)", "× bare", "64 bytes, packets/s", "× wg (spread)", "RTT µs", "added", "× wg",
				"CPU s/GB: ends", "relays", "× wg, all", "R/(A+C)", "CPU µs a small packet", "of it relays")
			for _, l := range of {
				measure.Row(w, l.cells()...)
			}
		}
	}
}

func (l *line) cells() []string {
	n := measure.Number
	return []string{
		l.System, n("%.0f", l.Mbit), spread(l.MbitWG, l.Spread), n("%.3f", l.MbitBare), n("%.0f", l.PPS), spread(l.PPSWG, l.PPSSpr),
		n("%.0f", l.RTT), n("%.0f", l.Added), n("%.2f", l.AddedWG), n("%.2f", l.Ends), n("%.2f", l.Relay), n("%.2f", l.CPUWG), n("%.2f", l.RAC),
		n("%.1f", l.Small), n("%.1f", l.SmallR),
	}
}

func spread(ratio, by float64) string {
	if ratio == 0 || by == 0 {
		return measure.Number("%.2f", ratio)
	}
	return fmt.Sprintf("%.2f (±%.0f %%)", ratio, 100*by)
}

func (r *report) memoryTable(w io.Writer) {
	if len(r.Memory) == 0 {
		return
	}
	fmt.Fprint(w, "\nRSS in MB of these daemons, before the first load and after the last\n\n")
	measure.Table(w, "", "end, idle", "busy", "relay, idle", "busy", "threads of the relay")
	for _, m := range r.Memory {
		cells := []string{m.System}
		for _, i := range []int{0, 1} {
			for _, of := range [][]memoryOf{m.Idle, m.Busy} {
				cell := ""
				if i < len(of) {
					cell = fmt.Sprintf("%.1f", of[i].RSSMB)
				}
				cells = append(cells, cell)
			}
		}
		if len(m.Busy) > 1 {
			cells = append(cells, fmt.Sprint(m.Busy[1].Threads))
		}
		measure.Row(w, cells...)
	}
}
