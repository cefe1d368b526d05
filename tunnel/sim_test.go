package tunnel

import (
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// latencies are round-trip times between all pairs: those measured, if RE6ST_LATENCY_DATA names the directory with
// them, or else n hosts on a plane with detours.
func (w *world) latencies(t *testing.T, file string, n int) [][]time.Duration {
	t.Helper()
	dir := os.Getenv("RE6ST_LATENCY_DATA")
	if dir == "" {
		return w.plane(n)
	}
	f, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]time.Duration, min(n, len(rows)))
	for i := range out {
		out[i] = make([]time.Duration, len(out))
		for j := range out[i] {
			ms, err := strconv.ParseFloat(rows[i][j], 64)
			if err != nil {
				ms = 300 // never measured
			}
			out[i][j] = time.Duration(max(ms, 0.1) * float64(time.Millisecond))
		}
	}
	return out
}

func (w *world) plane(n int) [][]time.Duration {
	x, y := make([]float64, n), make([]float64, n)
	for i := range n {
		x[i], y[i] = 150*w.rand.Float64(), 100*w.rand.Float64()
	}
	out := make([][]time.Duration, n)
	for i := range n {
		out[i] = make([]time.Duration, n)
		for j := range i {
			ms := 1 + math.Hypot(x[i]-x[j], y[i]-y[j])*(1+w.rand.Float64())
			out[i][j] = time.Duration(ms * float64(time.Millisecond))
			out[j][i] = out[i][j]
		}
	}
	return out
}

// ratio is the sum over all pairs of the RTT over the mesh, 1 ms for each hop included, to that of the direct ways.
func (w *world) ratio() float64 {
	g := w.links()
	var over, direct float64
	for i := range w.nodes {
		d := shortest(g, i)
		for j := range w.nodes {
			if i != j {
				over += float64(d[j]) / costPerMs
				direct += float64(w.rtt(i, j)) / float64(time.Millisecond)
			}
		}
	}
	return over / direct
}

func (w *world) degrees() (mean float64, most int) {
	sum := 0
	for _, n := range w.nodes {
		sum += len(n.m.byPeer)
		most = max(most, len(n.m.byPeer))
	}
	return float64(sum) / float64(len(w.nodes)), most
}

// The mesh gets better than the direct ways within minutes, without a node that has far more tunnels than the others.
// On the latencies of 242 real hosts: 1.116 at first, 1.039 after one minute, 0.921 after five, 0.892 after ten, with
// 125 probes and 28 offers a node and at most 1.75 times the mean degree.
func TestSelectionShortensPaths(t *testing.T) {
	n := 40
	if os.Getenv("RE6ST_LATENCY_DATA") != "" {
		n = 242
	}
	w := newWorld(t, 21, 1)
	l := w.latencies(t, "wondernetwork242_rtt.csv", n)
	w.rtt = func(a, b int) time.Duration { return l[a][b] }
	for i := 1; i < len(l); i++ {
		w.nodes = append(w.nodes, w.newNode(i))
	}
	w.bootAll(DefaultParameters())
	w.run(20 * time.Second)
	before := w.ratio()
	t.Logf("after 20 s: ratio %.3f, %d probes, %d offers a node", before, w.probes/len(l), w.opened/len(l))
	for _, minutes := range []int{1, 2, 5, 10} {
		w.run(w.start.Add(time.Duration(minutes) * time.Minute).Sub(w.now))
		mean, most := w.degrees()
		t.Logf("after %d min: ratio %.3f, degree %.1f, at most %d, %d probes, %d offers a node",
			minutes, w.ratio(), mean, most, w.probes/len(l), w.opened/len(l))
	}
	w.check()
	after := w.ratio()
	if !w.isConnected() || after > 0.97*before {
		t.Errorf("connected %v, ratio %.3f, was %.3f", w.isConnected(), after, before)
	}
	if mean, most := w.degrees(); float64(most) > 2.2*mean || mean < 15 {
		t.Errorf("degree %.1f, at most %d", mean, most)
	}
}
