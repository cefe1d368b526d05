package lab

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"
)

// dataFrame is an IPv4 frame that carries its number.
func dataFrame(n int) []byte {
	b := make([]byte, 64)
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	binary.BigEndian.PutUint32(b[60:], uint32(n))
	return b
}

func noiseFrame() []byte {
	b := make([]byte, 64)
	binary.BigEndian.PutUint16(b[12:], 0x0806)
	return b
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// run pushes numbered frames, one a millisecond, and returns what comes out,
// in order.
func runLine(w Weather, seed uint64, count int, noise func(n int) bool) (out []uint32, at []time.Time) {
	l := newLine(w, seed)
	now := epoch
	drain := func() {
		for b := l.pop(now); b != nil; b = l.pop(now) {
			if !isNoise(b) {
				out, at = append(out, binary.BigEndian.Uint32(b[60:])), append(at, now)
			}
		}
	}
	for n := range count {
		if noise != nil && noise(n) {
			l.push(now, noiseFrame())
		}
		l.push(now, dataFrame(n))
		drain()
		now = now.Add(time.Millisecond)
	}
	for !l.deadline().IsZero() {
		now = l.deadline()
		drain()
	}
	return out, at
}

func TestLineSeedDecides(t *testing.T) {
	w := Weather{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.2, Duplicate: 0.05, Reorder: 0.1}
	one, _ := runLine(w, 1, 2000, nil)
	again, _ := runLine(w, 1, 2000, nil)
	noisy, _ := runLine(w, 1, 2000, func(n int) bool { return n%7 == 0 })
	other, _ := runLine(w, 2, 2000, nil)
	if !slices.Equal(one, again) {
		t.Error("the same seed gives another fate")
	}
	if !slices.Equal(one, noisy) {
		t.Error("what the kernel sends by itself changes the fate of data")
	}
	if slices.Equal(one, other) {
		t.Error("another seed gives the same fate")
	}
}

func TestLineWeather(t *testing.T) {
	tests := []struct {
		name               string
		w                  Weather
		minimum, maximum   int // frames that come out of 2000
		reordered, doubled bool
		delay              time.Duration
	}{
		{"clear", Weather{}, 2000, 2000, false, false, 0},
		{"delay", Weather{Delay: 30 * time.Millisecond}, 2000, 2000, false, false, 30 * time.Millisecond},
		{"loss", Weather{Loss: 0.2}, 1500, 1700, false, false, 0},
		{"duplicates", Weather{Duplicate: 0.05}, 2050, 2150, false, true, 0},
		{"jitter", Weather{Jitter: 20 * time.Millisecond}, 2000, 2000, true, false, 0},
		{"reorder", Weather{Delay: 5 * time.Millisecond, Reorder: 0.25}, 2000, 2000, true, false, 0},
		{"cut", Weather{Cut: true}, 0, 0, false, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, at := runLine(tt.w, 3, 2000, nil)
			if len(out) < tt.minimum || len(out) > tt.maximum {
				t.Errorf("%d frames, want %d to %d", len(out), tt.minimum, tt.maximum)
			}
			if got := !slices.IsSorted(out); got != tt.reordered {
				t.Errorf("reordered %t, want %t", got, tt.reordered)
			}
			sorted := slices.Sorted(slices.Values(out))
			if got := len(slices.Compact(sorted)) != len(out); got != tt.doubled {
				t.Errorf("duplicates %t, want %t", got, tt.doubled)
			}
			for i, n := range out {
				if got := at[i].Sub(epoch.Add(time.Duration(n) * time.Millisecond)); got < tt.delay {
					t.Fatalf("frame %d comes after %v, want %v at least", n, got, tt.delay)
				}
			}
		})
	}
}
