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
		{"data", []uint64{0, 3, 3}, []bool{false, true, true}},
		{"held for ten seconds", []uint64{0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}, []bool{false, true, true, true, true, true, true, true, true, true, true, false}},
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
	a.Observe(now, 7, 0)
	a.Observe(now, 7, 100)
	a.Forget(7)
	if a.Observe(now, 7, 1000) {
		t.Error("a new link inherits the traffic of an old one")
	}
}
