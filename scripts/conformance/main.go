// Command conformance checks our Babel against the numbered demands of
// docs/babel-conformance.md: each has a test whose name carries its number
// (TestC057_SourceBeforeReply, TestC018_C020_SubTLVs) and which passes, or, if it
// is optional, a line in docs/babel.md that says why it has none.
//
//	go run ./scripts/conformance           runs those tests and reports
//	go run ./scripts/conformance -names    looks at their names only
//
// The exit status is 1 if a number has neither, if its tests fail or are skipped,
// if a test names a number that does not exist, or if a number that is not
// optional is only excused.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	namesOnly := flag.Bool("names", false, "do not run the tests")
	flag.Parse()
	if err := check(".", *namesOnly); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func check(root string, namesOnly bool) error {
	demands, err := readDemands(filepath.Join(root, "docs", "babel-conformance.md"))
	if err != nil {
		return err
	}
	excuses, err := readExcuses(filepath.Join(root, "docs", "babel.md"))
	if err != nil {
		return err
	}
	tests, err := findTests(os.DirFS(root))
	if err != nil {
		return err
	}
	results := assumed(tests)
	if !namesOnly {
		if results, err = run(root, packagesOf(tests)); err != nil {
			return err
		}
	}
	return report(os.Stdout, demands, excuses, tests, results)
}

// run is go test on the tests that carry numbers. A failure of theirs is a result
// and no error.
func run(root string, packages []string) (results, error) {
	cmd := exec.Command("go", append([]string{"test", "-json", "-run", "C[0-9]{3}_"}, packages...)...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("running tests: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("running tests: %w", err)
	}
	res, err := readResults(out, os.Stdout)
	if waitErr := cmd.Wait(); err == nil && waitErr != nil && len(res) == 0 {
		err = fmt.Errorf("running tests: %w", waitErr)
	}
	return res, err
}
