package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// report is what was measured; its JSON form is for machines.
type report struct {
	mu      sync.Mutex
	Costs   []cost     `json:"cost,omitempty"`
	Idles   []idleCost `json:"idle,omitempty"`
	Bursts  []burst    `json:"burst,omitempty"`
	Outages []outage   `json:"cut,omitempty"`
	Losses  []lossy    `json:"loss,omitempty"`
	Failed  int        `json:"failed"`
}

func (r *report) add(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// measure runs one measurement in a lab of its own and counts it if it fails.
func (r *report) measure(part string, d daemon, f func(lab.TB)) {
	begun := time.Now()
	defer func() {
		fmt.Fprintf(os.Stderr, "bench-babel: %s %s, %.0f s\n", part, d.name, time.Since(begun).Seconds())
	}()
	if !lab.Standalone("bench-babel-"+part+"-"+d.name, os.Stderr, f) {
		r.add(func() { r.Failed++ })
	}
}

func table(w io.Writer, head string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n|%s\n", head, strings.Repeat("---|", strings.Count(head, "|")-1))
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

// seconds writes a time of which zero means that it never came.
func seconds(v float64) string {
	if v == 0 {
		return "never"
	}
	return f("%.2f", v)
}

func f(format string, v ...any) string { return fmt.Sprintf(format, v...) }

func (r *report) markdown(w io.Writer) {
	r.costTable(w)
	r.idleTable(w)
	r.burstTable(w)
	r.cutTable(w)
	r.lossTable(w)
}

func (r *report) costTable(w io.Writer) {
	var rows [][]string
	for _, c := range r.Costs {
		same := func(o cost) bool { return o.Daemon == c.Daemon && o.Prefixes == c.Prefixes }
		if slices.ContainsFunc(rows, func(row []string) bool { return row[0] == c.Daemon && row[1] == fmt.Sprint(c.Prefixes) }) {
			continue
		}
		var learn, retract, gone, missing []float64
		for _, o := range r.Costs {
			if same(o) {
				learn, retract = append(learn, o.LearnMS), append(retract, o.RetractMS)
				gone, missing = append(gone, o.RetractSeconds), append(missing, float64(o.MissingKernel+o.MissingSink))
			}
		}
		rows = append(rows, []string{
			c.Daemon, fmt.Sprint(c.Prefixes), f("%.1f", measure.Median(learn)), f("%.2f", measure.Ratio(measure.Median(learn), r.learnOf("babeld", c.Prefixes))),
			f("%.1f", measure.Median(retract)), seconds(measure.Median(gone)), f("%.0f", slices.Max(missing)),
			f("%.1f / %.1f", c.RSSEmptyMB, c.RSSMB), f("%.2f", c.BytesPerRoute),
			f("%.3f", c.RestCPU), f("%.0f", c.RestBytes), f("%.0f", c.BackBytes),
		})
	}
	table(w, "| daemon | prefixes | CPU ms per 1,000 learned, installed, passed on | × babeld | CPU ms per 1,000 retracted | gone after, s | missing | RSS MB, empty / full | dump, bytes a route | at rest: CPU % | bytes/s out | bytes/s back |", rows)
}

func (r *report) learnOf(name string, prefixes int) float64 {
	var v []float64
	for _, c := range r.Costs {
		if c.Daemon == name && c.Prefixes == prefixes {
			v = append(v, c.LearnMS)
		}
	}
	return measure.Median(v)
}

func (r *report) idleTable(w io.Writer) {
	var rows [][]string
	for _, i := range r.Idles {
		rows = append(rows, []string{i.Daemon, f("%.4f", i.CPU), f("%.1f", i.Bytes), f("%.1f", i.RSSMB)})
	}
	table(w, "| daemon, no routes, two links | CPU % | bytes/s a link | RSS MB |", rows)
}

func (r *report) burstTable(w io.Writer) {
	var rows [][]string
	for _, b := range r.Bursts {
		rows = append(rows, []string{
			b.Daemon, fmt.Sprint(b.Prefixes), seconds(b.LearnSeconds), fmt.Sprint(b.Known), fmt.Sprint(b.Drops), fmt.Sprint(b.SeqnoRequests), f("%.2f", b.SentTimes),
		})
	}
	table(w, "| daemon | prefixes in one burst | passed on, all, after s | known at the end | datagrams dropped | seqno requests | × the table's bytes sent |", rows)
}

func (r *report) cutTable(w io.Writer) {
	var rows [][]string
	for _, o := range r.Outages {
		var lost uint64
		for _, n := range o.HealLost {
			lost = max(lost, n)
		}
		row := []string{
			f("%s, Hello %g s", o.Manner, o.Hello), o.Topology, o.Daemon, f("%.2f (%.2f)", measure.Median(o.Gaps), slices.Max(append(o.Gaps, 0))),
			f("%d of %d", o.Never, len(o.Gaps)), f("%.1f (%.1f)", measure.Median(o.Heal), slices.Max(append(o.Heal, 0))), fmt.Sprint(lost),
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return slices.Compare(a[:2], b[:2]) })
	table(w, "| link cut | | daemon | s without packets, median (max) | never within 60 s | back over the link after s, median (max) | most packets lost in a heal |", rows)
}

func (r *report) lossTable(w io.Writer) {
	var rows [][]string
	for _, l := range r.Losses {
		left := f("%.0f", l.Left)
		if l.Left >= 89 {
			left = "never"
		}
		rows = append(rows, []string{l.Daemon, left, f("%.1f", l.Lost)})
	}
	table(w, "| daemon, 10 % loss on the link in use, Hello 1 s, 90 s | left for good after s | packets lost, % |", rows)
}
