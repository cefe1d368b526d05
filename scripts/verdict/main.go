// Command verdict runs go test over groups of packages and prints what counts:
// the output of the tests that fail, each package's line, the tests that were
// skipped with their reasons, and at the end "N passed, N failed, N skipped".
//
//	verdict [arguments of go test] [-- arguments of a further go test]...
//
// With CI=true a skip is a failure, unless its reason names the make target
// that runs the test, or the test whose child process it is: a skip that hides
// is worse than no test.
package main

import (
	"fmt"
	"os"
	"os/exec"
)

func main() {
	s := newSummary(os.Stdout, os.Getenv("CI") == "true")
	for _, args := range groups(os.Args[1:]) {
		if err := run(s, args); err != nil {
			s.complain(fmt.Sprintf("go test %v: %v", args, err))
		}
	}
	if !s.close() {
		os.Exit(1)
	}
}

// groups splits the arguments at each "--".
func groups(args []string) [][]string {
	out := [][]string{nil}
	for _, a := range args {
		if a == "--" {
			out = append(out, nil)
			continue
		}
		out[len(out)-1] = append(out[len(out)-1], a)
	}
	return out
}

// run feeds one go test to the summary. That tests fail is in the events; an
// exit status without a failed test among them is a failure of its own.
func run(s *summary, args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	before := s.faults()
	readErr := s.read(events)
	err = cmd.Wait()
	if err != nil && s.faults() > before {
		return readErr
	}
	if err == nil {
		err = readErr
	}
	return err
}
