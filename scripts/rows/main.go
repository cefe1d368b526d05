// Command rows prints the ledger: which row of the requirements is shown by
// which test, at full or at reduced counts. A test carries its rows in its name
// (TestA13_DumpEqualsKernel, TestT02_T13_HostileCSR), and says in a directive
// of its doc comment that it runs less than the row asks:
//
//	//re6st:reduced 300 of 10000 kills; full in make soak
//
// It only reads names: whether the tests pass is for make test. The exit status
// is 1 if a row in claimed.txt has no test, or a directive is not of that form.
package main

import (
	_ "embed"
	"fmt"
	"os"
)

//go:embed claimed.txt
var claimed string

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	entries, err := scan(os.DirFS(root))
	if err == nil {
		err = report(os.Stdout, entries, parseClaimed(claimed))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rows:", err)
		os.Exit(1)
	}
}
