package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// claim is a row that this release says it meets.
type claim struct {
	row  row
	text string
}

// parseClaimed reads claimed.txt: a row and its subject on each line. A line
// that cannot be read is a claim of no row, which report refuses.
func parseClaimed(text string) []claim {
	var out []claim
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, subject, _ := strings.Cut(line, " ")
		r, _ := parseRow(name)
		out = append(out, claim{r, strings.TrimSpace(subject)})
	}
	return out
}

// report prints the ledger. Its error names the claimed rows without a test.
func report(w io.Writer, entries []entry, claims []claim) error {
	tests, reduced := map[row]int{}, map[row]bool{}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROW\tCOUNTS\tTEST\tPLACE\tNOTE")
	for _, e := range entries {
		counts := "full"
		if e.reduced != "" {
			counts = "reduced"
			reduced[e.row] = true
		}
		tests[e.row]++
		fmt.Fprintf(table, "%v\t%s\t%s\t%s\t%s\n", e.row, counts, e.test, e.place, e.reduced)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var missing []string
	claimedReduced := 0
	for _, c := range claims {
		switch {
		case c.row == row{}:
			return fmt.Errorf("claimed.txt: no row at %q", c.text)
		case tests[c.row] == 0:
			missing = append(missing, fmt.Sprintf("%v (%s)", c.row, c.text))
		case reduced[c.row]:
			claimedReduced++
		}
	}
	fmt.Fprintf(w, "%d rows have tests. Of %d claimed: %d at full counts, %d reduced (reduced is not done), %d without a test\n",
		len(tests), len(claims), len(claims)-claimedReduced-len(missing), claimedReduced, len(missing))
	if len(missing) > 0 {
		return fmt.Errorf("claimed and without a test: %s", strings.Join(missing, ", "))
	}
	return nil
}
