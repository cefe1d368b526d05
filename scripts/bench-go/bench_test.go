package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestA19_ComparesWithTheStoredFile(t *testing.T) {
	data, err := os.ReadFile("../../docs/benches.json")
	if err != nil {
		t.Fatal(err)
	}
	var before stored
	if err := json.Unmarshal(data, &before); err != nil {
		t.Fatal(err)
	}
	// Each subject of the row is there, with a figure.
	for _, subject := range []string{"lookup", "update", "sign", "verify", "relay"} {
		found := false
		for name, f := range before.Figures {
			found = found || strings.HasPrefix(name, subject+": ") && f["ns/op"] > 0
		}
		if !found {
			t.Errorf("no figure of %s is stored", subject)
		}
	}
	now := stored{Figures: map[string]map[string]float64{"new: x.Y": {"ns/op": 7}}}
	for name, f := range before.Figures {
		now.Figures[name] = map[string]float64{"ns/op": 1000 * f["ns/op"], "allocs/op": 9}
	}
	var b strings.Builder
	compare(&b, before, now)
	// A thousand times slower is reported, and nothing else happens.
	if n := strings.Count(b.String(), "| 1000.00 |"); n != len(before.Figures) {
		t.Errorf("%d ratios of %d figures in\n%s", n, len(before.Figures), &b)
	}
	if want := "median 1000.00, greatest 1000.00"; !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%s", want, &b)
	}
	if !strings.Contains(b.String(), "| new: x.Y |  | 7.0 |  | - | 0 |") {
		t.Errorf("a benchmark that is not stored:\n%s", &b)
	}
}
