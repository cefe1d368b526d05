package babel

import (
	"math/bits"
	"time"
)

// history is the Hello history of one kind (RFC 8966, appendix A.1): one bit a
// Hello, the latest in the top bit.
type history struct {
	bits     uint16
	outage   uint16 // bits that count as no loss
	length   uint8  // bits that mean something, at most 16
	expected uint16
	isBegun  bool
	interval time.Duration
	missAt   time.Time // when the next one counts as missed; zero: none promised
}

const historyMax = 16

// hear notes a Hello. False: the sender has lost its seqno, and the neighbour
// must be forgotten.
func (h *history) hear(now time.Time, seqno uint16, interval time.Duration) bool {
	if !h.isBegun {
		h.isBegun, h.expected = true, seqno
	}
	switch d := int(int16(seqno - h.expected)); {
	case d < -historyMax || d > historyMax:
		return false
	case d < 0: // the sender made its interval longer: undo
		h.bits <<= -d
		h.outage <<= -d
		h.length -= min(h.length, uint8(-d))
	case d > 0: // shorter, or some were lost: fast-forward
		h.bits >>= d
		h.outage >>= d
		h.length = min(h.length+uint8(d), historyMax)
	}
	h.push(true)
	h.expected = seqno + 1
	// An unscheduled Hello promises nothing.
	if interval > 0 {
		h.interval = interval
		h.missAt = now.Add(interval + interval/2)
	}
	return true
}

// miss notes that the promised Hello did not come. "No extra margin is
// necessary": it was in the timeout that has just expired.
func (h *history) miss(now time.Time) {
	h.push(false)
	h.expected++
	h.missAt = now.Add(h.interval)
	if h.bits == 0 {
		h.missAt = time.Time{}
	}
}

func (h *history) push(heard bool) {
	h.bits >>= 1
	h.outage >>= 1
	if heard {
		h.bits |= 0x8000
	}
	h.length = min(h.length+1, historyMax)
}

// heardOf counts the ones among the last n.
func (h *history) heardOf(n int) int { return bits.OnesCount16(h.bits >> (16 - n)) }

// isGood is 2-out-of-3 (appendix A.2.1).
func (h *history) isGood() bool { return h.heardOf(3) >= 2 }

// outageMin is how many misses in a row are more than loss.
const outageMin = 4

// excuse is called with the first Hello after the link was down: a long run of
// misses before it was an outage. That is over, and must not make the link that has
// healed look like one that loses packets.
func (h *history) excuse() {
	run := bits.LeadingZeros16(h.bits << 1)
	if run = min(run, int(h.length)-1); run >= outageMin {
		h.outage |= (1<<run - 1) << (historyMax - 1 - run)
	}
}

// missed16 counts the misses among the last 16, of those since the first Hello.
func (h *history) missed16() int {
	since := ^uint16(0) << (historyMax - h.length)
	return bits.OnesCount16(^h.bits & since &^ h.outage)
}
