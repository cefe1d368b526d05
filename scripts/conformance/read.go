package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// demand is a line of the table.
type demand struct {
	number int
	level  string // M, S, o, i
	text   string
}

func (d demand) isOptional() bool { return d.level == "o" || d.level == "i" }

var (
	demandLine = regexp.MustCompile(`(?m)^\| (\d{3}) \| ([MSoi]) \| [^|]+ \| ([^|]+) \|$`)
	anyLine    = regexp.MustCompile(`(?m)^\| *\d+ *\|.*$`)
	excuseLine = regexp.MustCompile(`(?m)^- \*\*(\d{3})\*\*:? (.+)$`)
	numbers    = regexp.MustCompile(`^(?:Test|Fuzz)((?:[A-Z]\d+_)+)`)
	number     = regexp.MustCompile(`^C(\d{3})$`)
)

func readDemands(name string) ([]demand, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading demands: %w", err)
	}
	return parseDemands(string(b))
}

// parseDemands reads the table, whose numbers are 1, 2, 3 and so on.
func parseDemands(text string) ([]demand, error) {
	var all []demand
	for _, line := range anyLine.FindAllString(text, -1) {
		m := demandLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("reading demands: no demand: %s", line)
		}
		n, _ := strconv.Atoi(m[1])
		if n != len(all)+1 {
			return nil, fmt.Errorf("reading demands: %03d follows %03d", n, len(all))
		}
		all = append(all, demand{n, m[2], m[3]})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("reading demands: no table")
	}
	return all, nil
}

func readExcuses(name string) (map[int]string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading excuses: %w", err)
	}
	return parseExcuses(string(b)), nil
}

// parseExcuses reads the lines of the section "Not done" that begin with a number.
func parseExcuses(text string) map[int]string {
	_, section, _ := strings.Cut(text, "\n## Not done")
	section, _, _ = strings.Cut(section, "\n## ")
	all := map[int]string{}
	for _, m := range excuseLine.FindAllStringSubmatch(section, -1) {
		n, _ := strconv.Atoi(m[1])
		all[n] = m[2]
	}
	return all
}

// test is one that carries numbers.
type test struct {
	name    string
	pkg     string // as ./babel/wire
	numbers []int
}

// findTests looks at the names of the tests of a tree.
func findTests(tree fs.FS) ([]test, error) {
	var all []test
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "build" || name != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil {
				continue
			}
			if n := numbersOf(f.Name.Name); len(n) > 0 {
				all = append(all, test{f.Name.Name, "./" + path.Dir(name), n})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("finding tests: %w", err)
	}
	return all, nil
}

// numbersOf are those that a name carries, among rows: TestF10_C048_OneWayCut.
func numbersOf(name string) []int {
	m := numbers.FindStringSubmatch(name)
	if m == nil {
		return nil
	}
	var all []int
	for _, part := range strings.Split(m[1], "_") {
		if m := number.FindStringSubmatch(part); m != nil {
			n, _ := strconv.Atoi(m[1])
			all = append(all, n)
		}
	}
	return all
}

func packagesOf(tests []test) []string {
	var all []string
	for _, t := range tests {
		all = append(all, t.pkg)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// id names a test in its module: ./babel/wire TestC001_One.
func (t test) id() string { return t.pkg + " " + t.name }

// results is how a test, by its id, ended: pass, fail or skip.
type results map[string]string

// assumed is what is not run.
func assumed(tests []test) results {
	all := results{}
	for _, t := range tests {
		all[t.id()] = "pass"
	}
	return all
}

// readResults reads what go test -json writes, and prints what failed. A test of
// which a part was skipped counts as skipped.
func readResults(r io.Reader, w io.Writer) (results, error) {
	all := results{}
	output := map[string]*bytes.Buffer{}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		var event struct{ Action, Package, Test, Output string }
		if err := json.Unmarshal(scanner.Bytes(), &event); err != nil {
			continue // of the compiler
		}
		key := event.Package + " " + event.Test
		switch event.Action {
		case "output":
			if output[key] == nil {
				output[key] = &bytes.Buffer{}
			}
			output[key].WriteString(event.Output)
		case "pass", "fail", "skip":
			name, part, _ := strings.Cut(event.Test, "/")
			_, pkg, _ := strings.Cut(event.Package, "/") // without the module
			top := test{name: name, pkg: "./" + pkg}.id()
			switch {
			case name == "":
			case part == "":
				if all[top] != "skip" || event.Action == "fail" {
					all[top] = event.Action
				}
			case event.Action == "skip":
				all[top] = "skip"
			}
			if event.Action != "pass" && output[key] != nil {
				fmt.Fprint(w, output[key])
			}
			delete(output, key)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("reading results: %w", err)
	}
	return all, nil
}
