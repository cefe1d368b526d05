package main

import (
	"fmt"
	"slices"
	"strings"

	"re6st/internal/status"
)

// renderTraffic is the table of `top` in so many columns and lines; 0: as many as
// it takes.
func renderTraffic(t status.Traffic, width, height int) string {
	tunnels, destinations := tunnelTable(t.Tunnels), destinationTable(t)
	head := headOf(t)
	if height > 0 {
		left := height - len(head) - 3 // two titles and a blank line
		most := max(left/2, left-len(destinations.rows))
		tunnels.cut(min(most, len(tunnels.rows)))
		destinations.cut(left - len(tunnels.rows))
	}
	lines := slices.Concat(head, tunnels.lines(width), []string{""}, destinations.lines(width))
	if height > 0 {
		lines = lines[:min(len(lines), height)]
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(clip(l, width) + "\n")
	}
	return b.String()
}

func headOf(t status.Traffic) []string {
	head := []string{
		fmt.Sprintf("%s  %s", printable(t.Name), t.Time.Format("15:04:05 UTC")),
		fmt.Sprintf("for others  %s/s, %.0f packets/s; %s so far", amount(t.Carried.BytesPerSecond), t.Carried.PacketsPerSecond, amount(float64(t.Carried.Bytes))),
		fmt.Sprintf("own         %s/s, %.0f packets/s; %s so far", amount(t.Own.BytesPerSecond), t.Own.PacketsPerSecond, amount(float64(t.Own.Bytes))),
	}
	if t.Unknown != "" {
		head = append(head, "not told apart by destination: "+printable(t.Unknown))
	}
	return append(head, "")
}

func tunnelTable(tunnels []status.TunnelTraffic) *topTable {
	t := &topTable{columns: []topColumn{
		{title: "TUNNEL", least: 8},
		{title: "INTERFACE", drop: 2},
		{title: "IN/s", isRight: true},
		{title: "OUT/s", isRight: true},
		{title: "OWN/s", isRight: true, drop: 3},
		{title: "OTHERS/s", isRight: true},
		{title: "PACKETS/s", isRight: true, drop: 1},
	}}
	for _, x := range tunnels {
		t.add(x.Peer, x.Interface, amount(x.Received.BytesPerSecond), amount(x.Sent.BytesPerSecond), amount(x.Own.BytesPerSecond),
			amount(x.Carried.BytesPerSecond), fmt.Sprintf("%.0f", x.Received.PacketsPerSecond+x.Sent.PacketsPerSecond))
	}
	return t
}

func destinationTable(doc status.Traffic) *topTable {
	t := &topTable{columns: []topColumn{
		{title: "DESTINATION", least: 12},
		{title: "OWNER", least: 6},
		{title: "VIA", least: 6, drop: 3},
		{title: "OWN/s", isRight: true},
		{title: "OTHERS/s", isRight: true},
		{title: "PACKETS/s", isRight: true, drop: 2},
		{title: "SO FAR", isRight: true, drop: 1},
	}}
	add := func(name string, x status.DestinationTraffic) {
		t.add(name, x.Owner, x.Via, amount(x.Own.BytesPerSecond), amount(x.Carried.BytesPerSecond),
			fmt.Sprintf("%.0f", x.Own.PacketsPerSecond+x.Carried.PacketsPerSecond), amount(float64(x.Own.Bytes+x.Carried.Bytes)))
	}
	for _, x := range doc.Destinations {
		add(x.Prefix, x)
	}
	if doc.Other.Own.Packets+doc.Other.Carried.Packets > 0 {
		add("other", doc.Other)
	}
	return t
}

// amount is a number of bytes with three digits.
func amount(bytes float64) string {
	unit := 0
	for bytes >= 999.5 && unit < len(amountUnits)-1 {
		bytes /= 1000
		unit++
	}
	digits := 0
	if unit > 0 && bytes < 99.95 {
		digits = 1
		if bytes < 9.995 {
			digits = 2
		}
	}
	return fmt.Sprintf("%.*f %s", digits, bytes, amountUnits[unit])
}

var amountUnits = [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}

// topColumn is a column of a table that has to fit.
type topColumn struct {
	title   string
	isRight bool
	least   int // characters that a cell is cut to where there is no room; 0: it is not cut
	drop    int // the column is left out where there is no room, 1 first; 0: never
}

// topTable is a table that fits a width and a height.
type topTable struct {
	columns []topColumn
	rows    [][]string
	more    int // rows that did not fit
}

func (t *topTable) add(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.rows = append(t.rows, cells)
}

// cut keeps so many lines, of which the last one says how many rows are missing.
func (t *topTable) cut(lines int) {
	if lines = max(lines, 1); len(t.rows) > lines {
		t.more = len(t.rows) - lines + 1
		t.rows = t.rows[:lines-1]
	}
}

const columnGap = 2

// lines are the title and the rows. First long names are cut, then columns left
// out, until it fits.
func (t *topTable) lines(width int) []string {
	shown := make([]int, len(t.columns))
	for i := range shown {
		shown[i] = i
	}
	widths := t.widths()
	for width > 0 && total(widths, shown) > width {
		if t.narrow(widths, shown, total(widths, shown)-width) {
			continue
		}
		victim := -1
		for at, i := range shown {
			if d := t.columns[i].drop; d > 0 && (victim < 0 || d < t.columns[shown[victim]].drop) {
				victim = at
			}
		}
		if victim < 0 {
			break // the lines are clipped
		}
		shown = slices.Delete(shown, victim, victim+1)
		widths = t.widths()
	}
	title := make([]string, len(t.columns))
	for i, c := range t.columns {
		title[i] = c.title
	}
	out := []string{t.line(title, widths, shown)}
	for _, r := range t.rows {
		out = append(out, t.line(r, widths, shown))
	}
	if t.more > 0 {
		out = append(out, fmt.Sprintf("and %d more", t.more))
	}
	return out
}

func (t *topTable) widths() []int {
	w := make([]int, len(t.columns))
	for i, c := range t.columns {
		w[i] = len(c.title)
		for _, r := range t.rows {
			w[i] = max(w[i], len([]rune(r[i])))
		}
	}
	return w
}

// narrow takes so many characters from the widest column of names, if any can
// spare some.
func (t *topTable) narrow(widths, shown []int, excess int) bool {
	best := -1
	for _, i := range shown {
		if least := t.columns[i].least; least > 0 && widths[i] > least && (best < 0 || widths[i] > widths[best]) {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	widths[best] = max(t.columns[best].least, widths[best]-excess)
	return true
}

func total(widths, shown []int) int {
	sum := columnGap * (len(shown) - 1)
	for _, i := range shown {
		sum += widths[i]
	}
	return sum
}

func (t *topTable) line(cells []string, widths, shown []int) string {
	var parts []string
	for _, i := range shown {
		cell := clip(cells[i], widths[i])
		space := strings.Repeat(" ", widths[i]-len([]rune(cell)))
		if t.columns[i].isRight {
			parts = append(parts, space+cell)
		} else {
			parts = append(parts, cell+space)
		}
	}
	return strings.TrimRight(strings.Join(parts, strings.Repeat(" ", columnGap)), " ")
}

// clip cuts a text to a width; 0: it has all the room.
func clip(s string, width int) string {
	r := []rune(s)
	if width <= 0 || len(r) <= width {
		return s
	}
	return string(r[:width-1]) + "…"
}

// printable is a text without what would move the cursor, or be wider than one
// column: names come from other nodes.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
