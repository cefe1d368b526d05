package main

import (
	"fmt"
	"io"

	"re6st/internal/measure"
)

func (r report) print(w io.Writer, c config) {
	for _, l := range c.loads {
		fmt.Fprintf(w, "\n%s, %d rounds of %d s in turn, medians\n\n", l.name, c.rounds, c.seconds)
		measure.Table(w, "relay", "Mbit/s", "R/(A+C)", "spread", "× stock", "relay's CPU s/GB", "relay's CPU µs/packet", "relay's RSS, MB")
		for _, kind := range c.relays {
			f, s := r[l.name][kind], r[l.name][stock]
			if f == nil {
				continue
			}
			if s == nil {
				s = &figures{}
			}
			measure.Row(w, kind, measure.Number("%.0f", measure.Median(f.Mbit)), measure.Number("%.2f", measure.Median(f.Share)),
				measure.Number("%.2f", measure.Spread(f.Share)), measure.Number("%.2f", measure.Median(measure.Ratios(f.Mbit, s.Mbit))),
				measure.Number("%.2f", measure.Median(f.CPU)), measure.Number("%.1f", measure.Median(f.Packet)), measure.Number("%.1f", f.Memory))
		}
	}
}
