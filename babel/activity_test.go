package babel

import (
	"testing"
	"time"
)

func TestActivity(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name    string
		packets []uint64 // one look a second
		want    []bool
	}{
		{"what was before the first look does not count", []uint64{1000, 1000}, []bool{false, false}},
		{"a keepalive", []uint64{0, 1, 1, 2}, []bool{false, false, false, false}},
		{"a burst", []uint64{0, 40, 80, 80, 80}, []bool{false, false, false, false, false}},
		{"a ping each second", []uint64{0, 2, 4, 6}, []bool{false, false, false, true}},
		{"a conversation with a pause", []uint64{0, 2, 4, 4, 6}, []bool{false, false, false, false, true}},
		{"held for ten seconds", []uint64{0, 3, 6, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}, []bool{false, false, false, true, true, true, true, true, true, true, true, true, true, true, false}},
		{"counters of another link", []uint64{50, 0, 1}, []bool{false, false, false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a Activity
			for i, n := range tt.packets {
				if got := a.Observe(start.Add(time.Duration(i)*time.Second), 7, n); got != tt.want[i] {
					t.Errorf("look %d: busy %v, want %v", i, got, tt.want[i])
				}
			}
		})
	}
}

func TestActivityForgets(t *testing.T) {
	var a Activity
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n := range uint64(4) {
		a.Observe(now, 7, n)
	}
	a.Forget(7)
	if a.Observe(now, 7, 1000) {
		t.Error("a new link inherits the traffic of an old one")
	}
}
