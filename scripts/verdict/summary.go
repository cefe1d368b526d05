package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// event is a line of go test -json, see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// summary collects the events of one or more go test.
type summary struct {
	w      io.Writer
	strict bool // skips fail

	output   map[string]string // by package and test, while it runs
	packages []string          // the closing line of each
	skips    []string
	passed   int
	failed   int
	skipped  int
	refused  int // of skipped: those that count as failures
	broken   int // packages that failed without a test that did
	other    int // what went wrong outside tests
}

func newSummary(w io.Writer, strict bool) *summary {
	return &summary{w: w, strict: strict, output: map[string]string{}}
}

// read takes the events of one go test. A line that is none is passed through.
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			fmt.Fprintln(s.w, lines.Text())
			continue
		}
		s.add(e)
	}
	return lines.Err()
}

func (s *summary) add(e event) {
	key := e.Package + " " + e.Test
	switch {
	case e.Action == "build-output":
		fmt.Fprint(s.w, e.Output)
	case e.Action == "output":
		s.output[key] += e.Output
	case e.Test == "":
		s.endPackage(e, key)
	default:
		s.endTest(e, key)
	}
}

func (s *summary) endTest(e event, key string) {
	isSub := strings.Contains(e.Test, "/")
	switch e.Action {
	case "pass":
		if !isSub {
			s.passed++
		}
	case "fail":
		s.fail(e, key, isSub)
	case "skip":
		s.skip(e, key)
	default:
		return
	}
	delete(s.output, key)
}

// fail prints what the test wrote. A subtest counts with its parent.
func (s *summary) fail(e event, key string, isSub bool) {
	if !isSub {
		s.failed++
	}
	fmt.Fprintf(s.w, "\n=== %s %s\n%s", e.Package, e.Test, s.output[key])
}

// elsewhere finds the make target, or the test, that runs what is skipped here.
var elsewhere = regexp.MustCompile(`\bmake (soak|bench|test-kernel|demo|generate)\b|RE6ST_SOAK|only as a child of Test`)

func (s *summary) skip(e event, key string) {
	s.skipped++
	note := ""
	if !elsewhere.MatchString(s.output[key]) {
		s.refused++
		if s.strict {
			note = "FAIL: "
		}
	}
	s.skips = append(s.skips, fmt.Sprintf("%sskipped %s %s: %s", note, e.Package, e.Test, reason(s.output[key])))
}

// reason is what the test said, without the frame that go test puts around it.
func reason(output string) string {
	var out []string
	for _, line := range strings.Split(output, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			out = append(out, line)
		}
	}
	return strings.Join(out, " ")
}

// endPackage keeps the package's line. A package that fails as a whole (a
// panic, a race, a failed build) prints all that is left of its output.
func (s *summary) endPackage(e event, key string) {
	switch e.Action {
	case "pass", "skip":
	case "fail":
		s.broken++
		for k, text := range s.output {
			if strings.HasPrefix(k, e.Package+" ") && k != key {
				fmt.Fprintf(s.w, "\n=== %s, unfinished\n%s", k, text)
				delete(s.output, k)
			}
		}
		fmt.Fprint(s.w, s.output[key])
	default:
		return
	}
	for _, line := range strings.Split(s.output[key], "\n") {
		if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "FAIL\t") {
			s.packages = append(s.packages, line)
			if e.Action != "fail" {
				fmt.Fprintln(s.w, line)
			}
		}
	}
	delete(s.output, key)
}

func (s *summary) complain(text string) {
	s.other++
	fmt.Fprintln(s.w, text)
}

func (s *summary) faults() int { return s.failed + s.broken + s.other }

// close prints the end and says whether all is well. A failed package without
// a failed test still counts as one failure.
func (s *summary) close() bool {
	for _, line := range s.skips {
		fmt.Fprintln(s.w, line)
	}
	failed := s.failed
	if failed == 0 {
		failed = s.broken + s.other
	}
	if s.strict {
		failed += s.refused
	}
	for _, line := range s.packages {
		if strings.HasPrefix(line, "FAIL") {
			fmt.Fprintln(s.w, line)
		}
	}
	fmt.Fprintf(s.w, "%d passed, %d failed, %d skipped\n", s.passed, failed, s.skipped)
	return failed == 0 && s.passed > 0
}
