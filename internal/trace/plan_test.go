package trace

import (
	"net/netip"
	"testing"
	"time"
)

// way is a network of routers in a line, each so far away.
type way struct {
	hops  []time.Duration // to each hop and back; the last is the target
	mute  map[int]bool    // hops that do not answer
	block int             // from here on nothing comes back; 0: nowhere
	no    int             // here somebody says that there is no way
}

func addressOf(hop int) netip.Addr { return netip.AddrFrom16([16]byte{0x20, 1, 15: byte(hop)}) }

// walk runs a plan over the way and returns what it saw, and how long it took.
func (w way) walk(t *testing.T) (Result, time.Duration, int) {
	t.Helper()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type back struct {
		at  time.Time
		hop int
		seq uint16
	}
	var flying []back
	p, now, sent := newPlan(start, 0xfff0), start, 0
	for !p.isOver(now) {
		limits, seqs := p.due(now)
		sent += len(limits)
		for i, limit := range limits {
			hop := min(limit, len(w.hops))
			if w.no > 0 {
				hop = min(hop, w.no)
			}
			if w.mute[hop] || w.block > 0 && hop >= w.block {
				continue
			}
			flying = append(flying, back{now.Add(w.hops[hop-1]), hop, seqs[i]})
		}
		next := p.wake()
		first := -1
		for i, b := range flying {
			if !b.at.After(next) && (first < 0 || b.at.Before(flying[first].at)) {
				first = i
			}
		}
		if first < 0 {
			if !next.After(now) {
				t.Fatalf("nothing to wait for at %v", now.Sub(start))
			}
			now = next
			continue
		}
		b := flying[first]
		flying = append(flying[:first], flying[first+1:]...)
		now = b.at
		kind := Passed
		switch b.hop {
		case w.no:
			kind = Unreachable
		case len(w.hops):
			kind = Arrived
		}
		if !p.answered(now, addressOf(b.hop), kind, b.seq) {
			t.Errorf("an answer is not taken")
		}
		if p.answered(now, addressOf(b.hop), kind, b.seq) {
			t.Errorf("an answer counts twice")
		}
	}
	return p.result(), now.Sub(start), sent
}

func steps(n int, each time.Duration) []time.Duration {
	var all []time.Duration
	for i := range n {
		all = append(all, time.Duration(i+1)*each)
	}
	return all
}

func TestPlan(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name    string
		way     way
		hops    int
		reached bool
		most    time.Duration
	}{
		{"next door", way{hops: steps(1, ms)}, 1, true, 500 * ms},
		{"four hops", way{hops: steps(4, 20*ms)}, 4, true, 600 * ms},
		{"twenty hops", way{hops: steps(20, 10*ms)}, 20, true, 1500 * ms},
		{"a mute hop", way{hops: steps(4, 20*ms), mute: map[int]bool{2: true}}, 4, true, 1500 * ms},
		{"a dead target", way{hops: steps(4, 20*ms), block: 4}, 3, false, 1100 * ms},
		{"nothing answers", way{hops: steps(4, 20*ms), block: 1}, 0, false, 1500 * ms},
		{"a distant target", way{hops: steps(3, 250*ms)}, 3, true, 1800 * ms},
		{"refused on the way", way{hops: steps(6, 20*ms), no: 3}, 3, false, 600 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, took, sent := tt.way.walk(t)
			if len(r.Hops) != tt.hops || r.Reached != tt.reached || took > tt.most {
				t.Errorf("%d hops, reached: %v, in %v: %+v", len(r.Hops), r.Reached, took, r)
			}
			for i, h := range r.Hops {
				want := addressOf(i + 1)
				if tt.way.mute[i+1] {
					want = netip.Addr{}
				}
				if h.Limit != i+1 || h.Address != want || h.Sent != rounds || want.IsValid() && (h.Received != rounds || h.RTT != tt.way.hops[i]) {
					t.Errorf("hop %d: %+v", i+1, h)
				}
			}
			if sent > rounds*(tt.hops+2*horizon) {
				t.Errorf("%d packets", sent)
			}
		})
	}
}

// A route that changes meanwhile makes no hop beyond the target.
func TestPlanWhileRoutesChange(t *testing.T) {
	now := time.Now()
	p := newPlan(now, 0)
	_, seqs := p.due(now)
	p.answered(now, addressOf(9), Arrived, seqs[4])
	p.answered(now, addressOf(2), Passed, seqs[5]) // an older way was longer
	p.answered(now, addressOf(3), Passed, seqs[2])
	p.answered(now, addressOf(9), Arrived, seqs[2]) // not open any more
	_, seqs = p.due(now.Add(interval))
	p.answered(now, addressOf(9), Arrived, seqs[2])
	r := p.result()
	if len(r.Hops) != 3 || !r.Reached || r.Hops[2].Address != addressOf(9) {
		t.Errorf("%+v", r)
	}
}
