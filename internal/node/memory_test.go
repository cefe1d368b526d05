package node

import (
	"runtime/debug"
	"testing"
)

// What the operator says about the garbage collector counts.
func TestFrugal(t *testing.T) {
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	for said, want := range map[string]int{"": garbagePercent, "200": 100, "off": 100} {
		t.Setenv("GOGC", said)
		frugal()
		if got := debug.SetGCPercent(100); got != want {
			t.Errorf("GOGC=%q: %d %%, want %d", said, got, want)
		}
	}
}
