package exposition

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"
)

var (
	height = &Family{Name: "tree_height_meters", Help: `What a tape says, with a \.`, Kind: Gauge}
	leaves = &Family{Name: "tree_leaves_total", Help: "Leaves that fell.", Kind: Counter, Labels: []string{"species", "colour"}}
)

func TestPage(t *testing.T) {
	var p Page
	p.Put(leaves, 2, "oak", "red")
	p.Put(height, 12.5)
	p.Put(leaves, 1e21, "ash\n\"\\", "green")
	p.Put(leaves, 3, "oak", "red")
	const want = `# HELP tree_height_meters What a tape says, with a \\.
# TYPE tree_height_meters gauge
tree_height_meters 12.5
# HELP tree_leaves_total Leaves that fell.
# TYPE tree_leaves_total counter
tree_leaves_total{colour="green",species="ash\n\"\\"} 1e+21
tree_leaves_total{colour="red",species="oak"} 3
`
	if got := string(p.Append(nil)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := (&Page{}).Append(nil); len(got) != 0 {
		t.Errorf("an empty page is %q", got)
	}
}

// Prometheus' own reader finds every value where it was put, whatever the labels
// are.
func TestReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Page
		put := map[[2]string]float64{}
		for range rapid.IntRange(0, 5).Draw(t, "series") {
			var k [2]string
			for i := range k {
				k[i] = string(rapid.SliceOf(rapid.Byte()).Draw(t, "label"))
			}
			v := rapid.Float64().Draw(t, "value")
			p.Put(leaves, v, k[0], k[1])
			put[[2]string{strings.ToValidUTF8(k[0], "\uFFFD"), strings.ToValidUTF8(k[1], "\uFFFD")}] = v
		}
		text := p.Append(nil)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%v of\n%s", err, text)
		}
		if len(put) == 0 {
			return
		}
		got := families[leaves.Name].GetMetric()
		if len(got) != len(put) || families[leaves.Name].GetHelp() != leaves.Help {
			t.Fatalf("%d series of %d in\n%s", len(got), len(put), text)
		}
		for _, m := range got {
			var k [2]string
			for _, l := range m.GetLabel() {
				k[map[string]int{"species": 0, "colour": 1}[l.GetName()]] = l.GetValue()
			}
			if v, isPut := put[k]; !isPut || math.Float64bits(v) != math.Float64bits(m.GetCounter().GetValue()) {
				t.Fatalf("%q is %v, want %v, %v", k, m.GetCounter().GetValue(), v, isPut)
			}
		}
	})
}

func TestLint(t *testing.T) {
	var p Page
	p.Put(leaves, 2, "oak", "red")
	p.Put(height, 12.5)
	if problems, err := promlint.New(bytes.NewReader(p.Append(nil))).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v, %+v", err, problems)
	}
}
