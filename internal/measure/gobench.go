package measure

import (
	"regexp"
	"strconv"
	"strings"
)

// Bench is one line of a Go benchmark: its name without the number of processors, and
// its figures by unit.
type Bench struct {
	Name    string             `json:"name"`
	Figures map[string]float64 `json:"figures"`
}

var (
	benchLine  = regexp.MustCompile(`(?m)^(Benchmark\S+)\s+(\d+)\s+(.+)$`)
	processors = regexp.MustCompile(`-\d+$`)
)

// ParseBench reads the output of go test -bench. A benchmark that ran several times
// (-count) has the least of each figure: what disturbs only adds.
func ParseBench(out string) []Bench {
	var all []Bench
	index := map[string]int{}
	for _, m := range benchLine.FindAllStringSubmatch(out, -1) {
		name := strings.TrimPrefix(processors.ReplaceAllString(m[1], ""), "Benchmark")
		i, known := index[name]
		if !known {
			i = len(all)
			index[name] = i
			all = append(all, Bench{Name: name, Figures: map[string]float64{}})
		}
		fields := strings.Fields(m[3])
		for f := 0; f+1 < len(fields); f += 2 {
			v, err := strconv.ParseFloat(fields[f], 64)
			if err != nil {
				break // not a line of figures after all
			}
			if old, had := all[i].Figures[fields[f+1]]; !had || v < old {
				all[i].Figures[fields[f+1]] = v
			}
		}
	}
	return all
}
