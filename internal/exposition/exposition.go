// Package exposition writes metrics as Prometheus reads them: the text format,
// version 0.0.4. It collects nothing, serves nothing and keeps nothing from one
// page to the next.
//
// Prometheus' own library does the same by way of Protocol Buffers, which a node
// would hold in memory for its whole life, asked for metrics or not. That library
// is the second opinion in the tests.
package exposition

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ContentType is that of a page, for HTTP.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// A Kind says how a value may change.
type Kind string

// The kinds.
const (
	Gauge   Kind = "gauge"
	Counter Kind = "counter"
)

// A Family is one metric with the values of its labels open.
type Family struct {
	Name, Help string
	Kind       Kind
	Labels     []string
}

// A Page is all that is told at one time. The zero one is empty.
type Page struct {
	series map[*Family]map[string]float64 // by the labels as they are written
}

// Put sets one value. There are as many labels as the family has; of two values
// with the same ones the later counts.
func (p *Page) Put(f *Family, value float64, labels ...string) {
	if p.series == nil {
		p.series = map[*Family]map[string]float64{}
	}
	if p.series[f] == nil {
		p.series[f] = map[string]float64{}
	}
	p.series[f][f.written(labels)] = value
}

// Families says of which metrics there is a value, by name.
func (p *Page) Families() []*Family {
	return slices.SortedFunc(maps.Keys(p.series), func(a, b *Family) int { return strings.Compare(a.Name, b.Name) })
}

// Append writes the page: each family once, all in the order of their text, so that
// two pages can be compared.
func (p *Page) Append(b []byte) []byte {
	for _, f := range p.Families() {
		b = append(b, "# HELP "+f.Name+" "+helpEscapes.Replace(f.Help)+"\n# TYPE "+f.Name+" "+string(f.Kind)+"\n"...)
		series := p.series[f]
		for _, labels := range slices.Sorted(maps.Keys(series)) {
			b = append(b, f.Name+labels+" "...)
			b = strconv.AppendFloat(b, series[labels], 'g', -1, 64)
			b = append(b, '\n')
		}
	}
	return b
}

// What would end a line or a value: peers choose some of the texts.
var (
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// written is the part in braces, by name of label.
func (f *Family) written(values []string) string {
	if len(f.Labels) == 0 {
		return ""
	}
	pairs := make([]string, len(f.Labels))
	for i, name := range f.Labels {
		pairs[i] = name + `="` + labelEscapes.Replace(strings.ToValidUTF8(values[i], "\uFFFD")) + `"`
	}
	slices.Sort(pairs)
	return "{" + strings.Join(pairs, ",") + "}"
}
