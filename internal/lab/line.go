package lab

import (
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// Weather is what a Relay does to the frames of one direction.
type Weather struct {
	Delay     time.Duration
	Jitter    time.Duration // added to Delay, uniformly from 0; reorders frames
	Loss      float64       // share of frames that vanish, 0 to 1
	Duplicate float64       // share of frames that come twice
	Reorder   float64       // share of frames that overtake: they get no delay
	Cut       bool          // nothing passes
}

// line is one direction of a Relay: it decides what becomes of each frame. It
// has no clock; one owner at a time.
//
// Each frame takes the same number of draws, whatever becomes of it. So a seed
// decides the fate of the n-th frame alone, and a test that sends the same
// frames loses the same ones. What kernels send by themselves (neighbour
// discovery, ARP, multicast listener reports) comes at times that no seed
// decides: it draws from a source of its own.
type line struct {
	weather Weather
	seed    uint64
	data    *rand.Rand
	noise   *rand.Rand
	queue   frames
	order   uint64
}

func newLine(w Weather, seed uint64) *line {
	l := &line{seed: seed}
	l.set(w)
	return l
}

// set changes the weather and begins the dice anew, so that what came before
// does not matter. Frames on their way keep their times.
func (l *line) set(w Weather) {
	l.weather = w
	l.data = rand.New(rand.NewPCG(l.seed, 1))
	l.noise = rand.New(rand.NewPCG(l.seed, 2))
}

// frame waits for its time.
type frame struct {
	due   time.Time
	order uint64 // of arrival, for those due at once
	bytes []byte
}

// push takes a frame that is the line's to keep.
func (l *line) push(now time.Time, b []byte) {
	r := l.data
	if isNoise(b) {
		r = l.noise
	}
	lost, twice, overtakes := r.Float64(), r.Float64(), r.Float64()
	jitter := [2]float64{r.Float64(), r.Float64()}
	w := l.weather
	if w.Cut || lost < w.Loss {
		return
	}
	copies := 1
	if twice < w.Duplicate {
		copies = 2
	}
	for i := range copies {
		due := now.Add(w.Delay + time.Duration(jitter[i]*float64(w.Jitter)))
		if overtakes < w.Reorder {
			due = now
		}
		l.order++
		heap.Push(&l.queue, frame{due: due, order: l.order, bytes: b})
	}
}

// pop returns the next frame that is due, or nil.
func (l *line) pop(now time.Time) []byte {
	if len(l.queue) == 0 || l.queue[0].due.After(now) {
		return nil
	}
	return heap.Pop(&l.queue).(frame).bytes
}

// deadline is when pop has something next; the zero time is never.
func (l *line) deadline() time.Time {
	if len(l.queue) == 0 {
		return time.Time{}
	}
	return l.queue[0].due
}

// frames is a heap by time.
type frames []frame

func (f frames) Len() int { return len(f) }
func (f frames) Less(i, j int) bool {
	if f[i].due.Equal(f[j].due) {
		return f[i].order < f[j].order
	}
	return f[i].due.Before(f[j].due)
}
func (f frames) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *frames) Push(x any)   { *f = append(*f, x.(frame)) }
func (f *frames) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	(*f)[last] = frame{}
	*f = (*f)[:last]
	return x
}

const etherHeader = 14

// isNoise recognises what a kernel sends by itself.
func isNoise(b []byte) bool {
	if len(b) < etherHeader {
		return true
	}
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0800:
		return false
	case 0x86dd:
	default:
		return true
	}
	ip := b[etherHeader:]
	if len(ip) < 41 {
		return true
	}
	switch next := ip[6]; next {
	case 0: // hop-by-hop options: a listener report
		return true
	case 58:
		return ip[40] >= 130 && ip[40] <= 143 // listeners, routers, neighbours
	default:
		return false
	}
}
