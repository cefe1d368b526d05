package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// entry is one test of one row.
type entry struct {
	row     row
	test    string
	place   string // file:line
	reduced string // what is reduced and where it is full; empty: full counts
}

// row is the name of a requirement: a letter and a number. Rows of threats and
// faults are written T-02, and T02 in the name of a test.
type row struct {
	letter byte
	number int
}

func (r row) String() string {
	if r.letter == 'T' || r.letter == 'F' {
		return fmt.Sprintf("%c-%02d", r.letter, r.number)
	}
	return fmt.Sprintf("%c%d", r.letter, r.number)
}

var (
	testName = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark)((?:[APNRZTF][0-9]+_)+)`)
	rowName  = regexp.MustCompile(`^([APNRZTF])-?([0-9]+)$`)
)

func parseRow(s string) (row, bool) {
	m := rowName.FindStringSubmatch(s)
	if m == nil {
		return row{}, false
	}
	n, err := strconv.Atoi(m[2])
	return row{m[1][0], n}, err == nil
}

// rowsOf reads the rows that the name of a test carries.
func rowsOf(name string) []row {
	m := testName.FindStringSubmatch(name)
	if m == nil {
		return nil
	}
	var rows []row
	for _, s := range strings.Split(strings.TrimSuffix(m[1], "_"), "_") {
		if r, ok := parseRow(s); ok {
			rows = append(rows, r)
		}
	}
	return rows
}

// scan finds the tests with rows in all _test.go files, sorted by row.
func scan(root fs.FS) ([]entry, error) {
	var out []entry
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && isOutside(d.Name()):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		found, err := scanFile(name, text)
		out = append(out, found...)
		return err
	})
	slices.SortStableFunc(out, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.row.letter, b.row.letter), cmp.Compare(a.row.number, b.row.number))
	})
	return out, err
}

func isOutside(dir string) bool {
	return dir == "testdata" || dir == "build" || dir == "bin" || strings.HasPrefix(dir, ".")
}

func scanFile(name string, text []byte) ([]entry, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parsing %q: %w", name, err)
	}
	var out []entry
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Recv != nil {
			continue
		}
		place := name + ":" + strconv.Itoa(fset.Position(f.Pos()).Line)
		reduced, err := reducedBy(f.Doc)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", place, f.Name.Name, err)
		}
		if reduced == "" && strings.HasPrefix(f.Name.Name, "Fuzz") {
			reduced = fuzzReduced
		}
		for _, r := range rowsOf(f.Name.Name) {
			out = append(out, entry{r, f.Name.Name, place, reduced})
		}
	}
	return out, nil
}

// fuzzReduced is what make test and .ci/run do with a fuzz target: the rows ask
// for numbers of executions.
const fuzzReduced = "10 s a target; full in make soak"

const directive = "//re6st:reduced"

// reducedBy reads the directive. It must say what is reduced and where the full
// counts run, for a reduction without a date is a hole.
func reducedBy(doc *ast.CommentGroup) (string, error) {
	if doc == nil {
		return "", nil
	}
	for _, c := range doc.List {
		text, ok := strings.CutPrefix(c.Text, directive)
		if !ok {
			continue
		}
		text = strings.TrimSpace(text)
		what, where, ok := strings.Cut(text, ";")
		if !ok || strings.TrimSpace(what) == "" || !strings.HasPrefix(strings.TrimSpace(where), "full in ") {
			return "", fmt.Errorf("directive %q is not of the form %q", c.Text, directive+" N of M things; full in PLACE")
		}
		return text, nil
	}
	return "", nil
}
