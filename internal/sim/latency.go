package sim

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Latencies are measured round-trip times between sites. Zero: not measured.
type Latencies [][]time.Duration

// ReadLatencies reads CSV without header, in milliseconds: a whole matrix, or
// the half below the diagonal. An empty cell was not measured.
func ReadLatencies(r io.Reader) (Latencies, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = -1
	rows, err := in.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading latencies: %w", err)
	}
	// A reader of CSV skips the empty first line of a half.
	if len(rows) > 0 && len(rows[0]) == 1 && len(rows) > 1 && len(rows[1]) == 2 {
		rows = append([][]string{nil}, rows...)
	}
	m := make(Latencies, len(rows))
	for i := range m {
		m[i] = make([]time.Duration, len(rows))
	}
	for i, row := range rows {
		for j, cell := range row {
			if cell == "" || j >= len(m) {
				continue
			}
			ms, err := strconv.ParseFloat(cell, 64)
			if err != nil || ms < 0 {
				return nil, fmt.Errorf("reading latencies: row %d, column %d: %q is no time in ms", i+1, j+1, cell)
			}
			d := time.Duration(ms * float64(time.Millisecond))
			m[i][j], m[j][i] = d, d
		}
	}
	return m, nil
}

// Measured makes tunnels between sites drawn at random, one a node while there
// are enough.
func Measured(m Latencies) LinkMaker {
	const unknown = 300 * time.Millisecond
	var sites []int
	return func(w *World, a, b int) LinkConfig {
		if sites == nil {
			sites = w.rand.Perm(len(m))
		}
		rtt := m[sites[a%len(sites)]][sites[b%len(sites)]]
		if rtt == 0 && a != b {
			rtt = unknown
		}
		return Tunnel(max(rtt/2, 100*time.Microsecond))
	}
}
