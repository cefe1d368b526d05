package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestScanFindsRowsAndCounts(t *testing.T) {
	entries, err := scan(fstest.MapFS{
		"b/x_test.go": {Data: []byte(`package b

func TestT02_HostileCSR(t *testing.T) {}

// TestF02_A13_Kills does two rows.
//
//re6st:reduced 300 of 10000 kills; full in make soak
func TestF02_A13_Kills(t *testing.T) {}

	func FuzzT13_Packet(f *testing.F) {}

func TestA1Plain(t *testing.T) {}

func TestPlain(t *testing.T) {}

func (s suite) TestZ3_Method() {}
`)},
		"b/testdata/x_test.go": {Data: []byte("package b\n\nfunc TestZ9_Not(t *testing.T) {}\n")},
		"b/x.go":               {Data: []byte("package b\n\nfunc TestZ8_Not() {}\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, strings.Join([]string{e.row.String(), e.test, e.place, e.reduced}, "|"))
	}
	want := []string{
		"A13|TestF02_A13_Kills|b/x_test.go:8|300 of 10000 kills; full in make soak",
		"F-02|TestF02_A13_Kills|b/x_test.go:8|300 of 10000 kills; full in make soak",
		"T-02|TestT02_HostileCSR|b/x_test.go:3|",
		"T-13|FuzzT13_Packet|b/x_test.go:10|10 s a target; full in make soak",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
}

func TestScanRefusesAReductionWithoutItsEnd(t *testing.T) {
	for _, text := range []string{"", " some kills", " 300 of 10000; later", " ; full in make soak"} {
		source := "package b\n\n//re6st:reduced" + text + "\nfunc TestF02_Kills() {}\n"
		if _, err := scan(fstest.MapFS{"b/x_test.go": {Data: []byte(source)}}); err == nil {
			t.Errorf("directive %q was taken", text)
		}
	}
}

func TestReportFailsOnAClaimWithoutATest(t *testing.T) {
	entries := []entry{
		{row{'A', 13}, "TestA13_Dump", "a_test.go:1", ""},
		{row{'F', 2}, "TestF02_Kills", "b_test.go:1", "3 of 9 kills; full in make soak"},
	}
	for _, c := range []struct{ name, claims, wantErr string }{
		{"all there", "# a comment\nA13 dump\nF-02 kills\n", ""},
		{"one missing", "A13 dump\nT-04 race\n", "T-04 (race)"},
		{"not a row", "A13 dump\nhello world\n", "no row"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := report(&out, entries, parseClaimed(c.claims))
			switch {
			case c.wantErr == "" && err != nil:
				t.Errorf("report: %v", err)
			case c.wantErr != "" && (err == nil || !strings.Contains(err.Error(), c.wantErr)):
				t.Errorf("report: %v, want %q in it", err, c.wantErr)
			}
		})
	}
	var out bytes.Buffer
	if err := report(&out, entries, parseClaimed("A13 dump\nF-02 kills")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "1 at full counts, 1 reduced (reduced is not done), 0 without a test") {
		t.Errorf("summary:\n%s", out.String())
	}
}

func TestClaimedIsReadable(t *testing.T) {
	claims := parseClaimed(claimed)
	if len(claims) < 21 {
		t.Errorf("%d claims", len(claims))
	}
	for _, c := range claims {
		if (c.row == row{}) {
			t.Errorf("no row at %q", c.text)
		}
	}
}
