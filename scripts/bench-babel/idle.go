package main

import (
	"time"

	"re6st/internal/lab"
)

// idleCost is what a daemon without routes costs, with a neighbour on each of
// two links.
type idleCost struct {
	Daemon string  `json:"daemon"`
	CPU    float64 `json:"cpu_percent"`
	Bytes  float64 `json:"bytes_per_second"` // to one neighbour
	RSSMB  float64 `json:"rss_mb"`
}

func measureIdle(t lab.TB, d daemon, span time.Duration) idleCost {
	b := newBed(t, d)
	<-time.After(15 * time.Second) // what a start costs is not idleness
	sent, before, begun := counts(t, b.sink), b.cpu(), time.Now()
	<-time.After(span)
	seconds := time.Since(begun).Seconds()
	return idleCost{
		Daemon: d.name, CPU: 100 * (b.cpu() - before).Seconds() / seconds,
		Bytes: float64(counts(t, b.sink).Bytes-sent.Bytes) / seconds, RSSMB: b.rss(),
	}
}
