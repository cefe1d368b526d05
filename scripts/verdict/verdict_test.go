package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lines writes events as go test -json does.
func lines(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		action, rest, _ := strings.Cut(e, " ")
		test, output, _ := strings.Cut(rest, " ")
		if test == "-" {
			test = ""
		}
		fmt.Fprintf(&b, "{\"Action\":%q,\"Package\":\"re6st/p\",\"Test\":%q,\"Output\":%q}\n", action, test, output)
	}
	return b.String()
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		name    string
		events  string
		strict  bool
		well    bool
		last    string
		printed string
	}{
		{
			name:   "pass",
			events: lines("run TestA", "pass TestA", "output - ok  \tre6st/p\t0.1s\n", "pass -"),
			well:   true, last: "1 passed, 0 failed, 0 skipped", printed: "ok  \tre6st/p\t0.1s",
		},
		{
			name: "subtest fails with its parent",
			events: lines("output TestA/x \tx_test.go:3: wrong\n", "fail TestA/x", "fail TestA",
				"output - FAIL\tre6st/p\t0.1s\n", "fail -"),
			last: "0 passed, 1 failed, 0 skipped", printed: "x_test.go:3: wrong",
		},
		{
			name:   "panic leaves a test unfinished",
			events: lines("pass TestA", "run TestB", "output TestB panic: at the disco\n", "output - FAIL\tre6st/p\t0.1s\n", "fail -"),
			last:   "1 passed, 1 failed, 0 skipped", printed: "panic: at the disco",
		},
		{
			name:   "skip",
			events: lines("pass TestA", "output TestB needs root\n", "skip TestB"),
			well:   true, last: "1 passed, 0 failed, 1 skipped", printed: "skipped re6st/p TestB: needs root",
		},
		{
			name:   "skip in CI",
			events: lines("pass TestA", "output TestB needs root\n", "skip TestB"), strict: true,
			last: "1 passed, 1 failed, 1 skipped", printed: "FAIL: skipped re6st/p TestB: needs root",
		},
		{
			name:   "skip in CI of what runs elsewhere",
			events: lines("pass TestA", "output TestB hours: make soak runs it\n", "skip TestB"), strict: true,
			well: true, last: "1 passed, 0 failed, 1 skipped",
		},
		{name: "nothing ran", events: lines("pass -"), last: "0 passed, 0 failed, 0 skipped"},
		{
			name:   "not an event",
			events: "go: cannot find main module\n" + lines("pass TestA"),
			well:   true, last: "1 passed, 0 failed, 0 skipped", printed: "cannot find main module",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			s := newSummary(&out, c.strict)
			if err := s.read(strings.NewReader(c.events)); err != nil {
				t.Fatal(err)
			}
			if well := s.close(); well != c.well {
				t.Errorf("well = %v, want %v", well, c.well)
			}
			text := strings.TrimSuffix(out.String(), "\n")
			if last := text[strings.LastIndex(text, "\n")+1:]; last != c.last {
				t.Errorf("last line %q, want %q", last, c.last)
			}
			if !strings.Contains(text, c.printed) {
				t.Errorf("%q is not in\n%s", c.printed, text)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	got := groups([]string{"-race", "./a", "--", "./b"})
	if diff := cmp.Diff([][]string{{"-race", "./a"}, {"./b"}}, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}
