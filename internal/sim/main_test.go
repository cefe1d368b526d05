package sim

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// hello is H of the bounds: the default Hello interval.
const hello = 4 * time.Second

func isSoak() bool { return os.Getenv("RE6ST_SOAK") != "" }

// count is how often something is tried: in CI, under the race detector or in a
// short run, and in soak.
func count(usual, short, soak int) int {
	switch {
	case isSoak():
		return soak
	case testing.Short() || isRace:
		return short
	}
	return usual
}

// excerpt is of measured latencies: 40 sites.
func excerpt(t testing.TB) Latencies {
	t.Helper()
	return latencies(t, "testdata/planetlab40_rtt.csv")
}

// measured is a whole matrix of measured latencies, which is not kept here.
func measured(t testing.TB, name string) Latencies {
	t.Helper()
	folder := os.Getenv("RE6ST_LATENCY_DATA")
	if folder == "" {
		t.Skip("RE6ST_LATENCY_DATA names no folder with measured latencies; see make soak")
	}
	return latencies(t, filepath.Join(folder, name))
}

func latencies(t testing.TB, name string) Latencies {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	m, err := ReadLatencies(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// noViolations: at no instant was there a loop.
func noViolations(t *testing.T, w *World) {
	t.Helper()
	for _, v := range w.Violations() {
		t.Error(v)
	}
}

func await(t *testing.T, w *World, what string, most time.Duration, cond func() bool) time.Duration {
	t.Helper()
	d, ok := w.Await(most, cond)
	if !ok {
		t.Fatalf("%v: %s: not within %v; %s", w.Now(), what, most, w.Unreached())
	}
	return d
}

// someTime is a random phase of the Hellos.
func (w *World) someTime(most time.Duration) time.Duration {
	return time.Duration(w.rand.Int64N(int64(most)))
}

// durations are measured times.
type durations []time.Duration

func (d durations) quantile(q float64) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[min(int(q*float64(len(d))), len(d)-1)]
}

func (d durations) within(most time.Duration) float64 {
	n := 0
	for _, x := range d {
		if x <= most {
			n++
		}
	}
	return float64(n) / float64(len(d))
}
