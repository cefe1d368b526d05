package main

import (
	"fmt"
	"io"

	"re6st/internal/measure"
)

// report is what was measured; its JSON form is for machines.
type report struct {
	SchemaVersion int          `json:"schema_version"`
	Host          measure.Host `json:"host"`
	Backend       string       `json:"backend"`
	Transfers     []*transfer  `json:"throughput,omitempty"`
	Idle          *idleCost    `json:"idle,omitempty"`
	Starts        []meshStart  `json:"start,omitempty"`
	Outages       []end        `json:"outage,omitempty"`
}

// transfer is one way from host to host, in all rounds.
type transfer struct {
	Name    string    `json:"name"`
	Mbit    []float64 `json:"mbit"`   // one for each round
	Median  float64   `json:"median"` // of Mbit
	RTTus   float64   `json:"rtt_us"` // mean of a round, least of the rounds
	CPU     float64   `json:"cpu_s_per_gb,omitempty"`
	Bare    float64   `json:"ratio_to_bare_link"`
	WG      float64   `json:"ratio_to_wireguard_go,omitempty"` // over as many hops
	Against string    `json:"against,omitempty"`               // which transfer WG is relative to

	cpuSeconds, gigabytes float64
	via                   *transfer
}

type idleCost struct {
	Tunnels       int     `json:"tunnels"`
	RSSMB         float64 `json:"rss_mb"`
	AnonymousMB   float64 `json:"rss_anonymous_mb"` // without the program's text
	CPUPercent    float64 `json:"cpu_percent"`      // of one core
	AloneRSSMB    float64 `json:"rss_no_tunnels_mb"`
	RegistryRSSMB float64 `json:"registry_rss_mb"`
	Seconds       float64 `json:"seconds"`
}

type meshStart struct {
	Nodes   int     `json:"nodes"`
	Joined  float64 `json:"joined_s"` // from the start of the registry
	Whole   float64 `json:"whole_s"`  // all pairs reach each other
	Pairs   int     `json:"pairs"`
	MaxHops int     `json:"max_hops"`
}

type end struct {
	Manner  string  `json:"manner"`
	Gap     float64 `json:"longest_gap_s"`
	Lost    uint64  `json:"lost"`
	Sent    uint64  `json:"sent"`
	Between string  `json:"between"`
}

// finish derives medians and ratios when all rounds are done.
func (r *report) finish(bare *transfer) {
	for _, t := range r.Transfers {
		t.Median = measure.Median(t.Mbit)
		if t.gigabytes > 0 {
			t.CPU = t.cpuSeconds / t.gigabytes
		}
	}
	for _, t := range r.Transfers {
		t.Bare = measure.Median(measure.Ratios(t.Mbit, bare.Mbit))
		if t.via != nil {
			t.WG, t.Against = measure.Median(measure.Ratios(t.Mbit, t.via.Mbit)), t.via.Name
		}
	}
}

// markdown prints the tables of docs/benchmarks.md.
func (r *report) markdown(w io.Writer) {
	fmt.Fprintf(w, "%v, WireGuard backend: %s\n", r.Host, r.Backend)
	if len(r.Transfers) > 0 {
		fmt.Fprintf(w, "\nTCP, one flow, %d rounds in turn, medians\n\n", len(r.Transfers[0].Mbit))
		measure.Table(w, "", "Mbit/s", "× bare link", "× wireguard-go", "RTT, µs", "CPU s/GB of the daemons")
		for _, t := range r.Transfers {
			measure.Row(w, t.Name, fmt.Sprintf("%.0f", t.Median), fmt.Sprintf("%.3f", t.Bare), measure.Number("%.2f", t.WG),
				measure.Number("%.0f", t.RTTus), measure.Number("%.2f", t.CPU))
		}
	}
	if i := r.Idle; i != nil {
		fmt.Fprintf(w, "\nOne idle node with %d tunnels, over %.0f s\n\n", i.Tunnels, i.Seconds)
		measure.Table(w, "RSS, MB", "of it anonymous", "the same without tunnels", "CPU, % of a core", "registry's RSS, MB")
		measure.Row(w, fmt.Sprintf("%.1f", i.RSSMB), fmt.Sprintf("%.1f", i.AnonymousMB), fmt.Sprintf("%.1f", i.AloneRSSMB),
			fmt.Sprintf("%.3f", i.CPUPercent), fmt.Sprintf("%.1f", i.RegistryRSSMB))
	}
	if len(r.Starts) > 0 {
		fmt.Fprint(w, "\nSeconds from the registry's start\n\n")
		measure.Table(w, "nodes", "all joined", "all pairs reached", "ordered pairs", "most hops")
		for _, s := range r.Starts {
			measure.Row(w, fmt.Sprint(s.Nodes), fmt.Sprintf("%.1f", s.Joined), fmt.Sprintf("%.1f", s.Whole), fmt.Sprint(s.Pairs), fmt.Sprint(s.MaxHops))
		}
	}
	if len(r.Outages) > 0 {
		fmt.Fprint(w, "\nA relay that is in use ends\n\n")
		measure.Table(w, "how", "longest time without connectivity, s", "packets lost", "between")
		for _, e := range r.Outages {
			measure.Row(w, e.Manner, fmt.Sprintf("%.2f", e.Gap), fmt.Sprintf("%d of %d", e.Lost, e.Sent), e.Between)
		}
	}
}
