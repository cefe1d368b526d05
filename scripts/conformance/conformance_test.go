package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

const table = `| number | level | RFC | demand |
|---|---|---|---|
| 001 | M | 8966 §1 | one |
| 002 | S | 8966 §2 | two |
| 003 | o | 8966 §3 | three |
`

const notDone = `
## Elsewhere

- **002** no excuse here.

## Not done

- **003**: nobody has it.

## Next

- **001** nor here.
`

func verdict(t *testing.T, excuses, tests string, res results) (string, error) {
	t.Helper()
	demands, err := parseDemands(table)
	if err != nil {
		t.Fatal(err)
	}
	found, err := findTests(fstest.MapFS{"babel/x_test.go": {Data: []byte("package x\n" + tests)}})
	if err != nil {
		t.Fatal(err)
	}
	if res == nil {
		res = assumed(found)
	}
	var out bytes.Buffer
	err = report(&out, demands, parseExcuses(excuses), found, res)
	return out.String(), err
}

func funcs(names ...string) (text string) {
	for _, n := range names {
		text += "func " + n + "() {}\n"
	}
	return text
}

// The control: each kind of fault is found, and nothing where there is none.
func TestReport(t *testing.T) {
	good := funcs("TestC001_One", "TestF10_C002_Two")
	for _, v := range []struct {
		name, excuses, tests string
		res                  results
		want                 string // in the error; empty: none
	}{
		{"all is well", notDone, good, nil, ""},
		{"several in one", notDone, funcs("TestC001_C002_Both"), nil, ""},
		{"a missing number", notDone, funcs("TestC001_One"), nil, "002 has no test: two"},
		{"a number in the middle of a name", notDone, funcs("TestC001_One_C002_Two"), nil, "002 has no test"},
		{"a method", notDone, funcs("TestC001_One", "(s x) TestC002_Two"), nil, "002 has no test"},
		{"an optional one without a word", "", good, nil, "003 has no test"},
		{"an unknown number", notDone, good + funcs("TestC004_Four"), nil, "TestC004_Four: there is no number 004"},
		{"number zero", notDone, good + funcs("TestC000_Zero"), nil, "there is no number 000"},
		{"an excuse for nothing", notDone[:len(notDone)-len("\n## Next\n\n- **001** nor here.\n")] + "- **009** what?\n", good, nil, "docs/babel.md: there is no number 009"},
		{"an excused M", strings.Replace(notDone, "- **003**", "- **001** why not\n- **003**", 1), funcs("TestC002_Two"), nil, "001 is M and cannot be excused"},
		{"an excused S", strings.Replace(notDone, "- **003**", "- **002** why not\n- **003**", 1), funcs("TestC001_One"), nil, "002 is S and cannot be excused"},
		{"a skipped test", notDone, good, results{"./babel TestC001_One": "pass", "./babel TestF10_C002_Two": "skip"}, "002: TestF10_C002_Two was not run"},
		{"a test that did not run", notDone, good, results{"./babel TestC001_One": "pass"}, "002: TestF10_C002_Two was not run"},
		{"a failed test", notDone, good, results{"./babel TestC001_One": "fail", "./babel TestF10_C002_Two": "pass"}, "001: TestC001_One failed"},
		{"one of two failed", notDone, good + funcs("TestC001_Again"), results{"./babel TestC001_One": "fail", "./babel TestC001_Again": "pass", "./babel TestF10_C002_Two": "pass"}, "001: TestC001_One failed"},
		{"one of two skipped", notDone, good + funcs("TestC001_Again"), results{"./babel TestC001_One": "skip", "./babel TestC001_Again": "pass", "./babel TestF10_C002_Two": "pass"}, ""},
	} {
		out, err := verdict(t, v.excuses, v.tests, v.res)
		switch {
		case v.want == "" && err != nil:
			t.Errorf("%s: %v", v.name, err)
		case v.want == "" && !strings.Contains(out, "3 numbers: 2 shown by tests, 1 not done and said why"):
			t.Errorf("%s: said %q", v.name, out)
		case v.want != "" && (err == nil || !strings.Contains(err.Error(), v.want)):
			t.Errorf("%s: %v, want %q", v.name, err, v.want)
		}
	}
}

func TestReadResults(t *testing.T) {
	line := func(action, test string) string {
		return fmt.Sprintf(`{"Action":%q,"Package":"m/p","Test":%q}`, action, test)
	}
	var out bytes.Buffer
	res, err := readResults(strings.NewReader(strings.Join([]string{
		"# not of go test -json",
		line("run", "TestA"), line("pass", "TestA"),
		`{"Action":"output","Package":"m/p","Test":"TestB","Output":"why\n"}`, line("fail", "TestB"),
		line("skip", "TestC"),
		line("pass", "TestD/x"), line("skip", "TestD/y"), line("pass", "TestD"),
		line("run", "TestE"),
		line("pass", ""),
	}, "\n")), &out)
	if err != nil {
		t.Fatal(err)
	}
	want := results{"./p TestA": "pass", "./p TestB": "fail", "./p TestC": "skip", "./p TestD": "skip"}
	if fmt.Sprint(res) != fmt.Sprint(want) || out.String() != "why\n" {
		t.Errorf("%v, %q; want %v", res, out.String(), want)
	}
}

func TestParseDemandsRefuses(t *testing.T) {
	for _, text := range []string{
		"", "| 002 | M | 1 | x |", "| 001 | M | 1 | x |\n| 003 | M | 1 | x |", "| 001 | Q | 1 | x |", "| 1 | M | 1 | x |",
	} {
		if d, err := parseDemands(text); err == nil {
			t.Errorf("%q was taken: %v", text, d)
		}
	}
}

func TestTheTableIsReadable(t *testing.T) {
	b, err := os.ReadFile("../../docs/babel-conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := parseDemands(string(b)); err != nil || len(d) != 136 {
		t.Errorf("%d demands, %v; want 136", len(d), err)
	}
}
