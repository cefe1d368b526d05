package sim

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// hash is a running hash of what happens at a node. It need not resist anybody,
// but be the same everywhere.
type hash uint64

const hashPrime = 0x9e3779b97f4a7c15

func (h *hash) add(words ...uint64) {
	for _, x := range words {
		*h = hash((uint64(*h) ^ x) * hashPrime)
		*h ^= *h >> 29
	}
}

func (h *hash) bytes(b []byte) {
	h.add(uint64(len(b)))
	for len(b) >= 8 {
		h.add(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	var last [8]byte
	copy(last[:], b)
	h.add(binary.LittleEndian.Uint64(last[:]))
}

// Hash is of all packets sent and received, route changes and events so far.
func (w *World) Hash() uint64 {
	var h hash
	for _, n := range w.nodes {
		h.add(uint64(n.hash))
	}
	h.add(uint64(w.fib.version), uint64(w.now))
	return uint64(h)
}

// line is a line of the trace.
type line struct {
	at   time.Duration
	node int
	text string
}

func (n *Node) trace(format string, args ...any) {
	if n.w.config.Trace != nil {
		n.lines = append(n.lines, line{max(n.now, n.w.now), n.Index, fmt.Sprintf(format, args...)})
	}
}

// Tell puts a line of the scenario into the trace.
func (w *World) Tell(format string, args ...any) {
	if w.config.Trace != nil {
		w.settle()
		_, _ = fmt.Fprintf(w.config.Trace, "%12.6f ---- %s\n", w.now.Seconds(), fmt.Sprintf(format, args...))
	}
}

func (w *World) writeLines() {
	if len(w.lines) == 0 {
		return
	}
	slices.SortStableFunc(w.lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.node, b.node))
	})
	for _, l := range w.lines {
		_, _ = fmt.Fprintf(w.config.Trace, "%12.6f node %d %s\n", l.at.Seconds(), l.node, l.text)
	}
}
