package mac

// windowSize is how far behind the highest a packet counter may arrive (RFC
// 9467, section 3.2).
const windowSize = 128

// window remembers which packet counters of one index and one kind of
// destination have come: the highest, and the windowSize up to it. The zero value
// is not ready: see begin.
type window struct {
	highest uint32
	seen    [2]uint64 // bit n: highest-n, from the lowest of seen[0]
}

// begin: nothing up to the counter will be accepted. Whether older packets came
// before their counters were known, nobody remembers.
func (w *window) begin(count uint32) {
	*w = window{count, [2]uint64{^uint64(0), ^uint64(0)}}
}

// take accepts a counter once. "If the received PC is smaller or equal than the
// PC contained in the neighbour table, the packet MUST be dropped" (RFC 8967,
// section 4.3), but for the window.
func (w *window) take(count uint32) bool {
	if count > w.highest {
		w.shift(count - w.highest)
		w.highest = count
		w.seen[0] |= 1
		return true
	}
	behind := w.highest - count
	if behind >= windowSize {
		return false
	}
	word, bit := &w.seen[behind/64], uint64(1)<<(behind%64)
	isNew := *word&bit == 0
	*word |= bit
	return isNew
}

func (w *window) shift(by uint32) {
	switch {
	case by >= windowSize:
		w.seen = [2]uint64{}
	case by >= 64:
		w.seen = [2]uint64{0, w.seen[0] << (by - 64)}
	default:
		w.seen = [2]uint64{w.seen[0] << by, w.seen[1]<<by | w.seen[0]>>(64-by)}
	}
}
