package deps

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestImportLaw holds the module against the law of design section 2.
func TestImportLaw(t *testing.T) {
	source, rules := load(t)
	fail(t, checkImports(source, rules))
}

// TestLibrariesStayInTheirRooms: netlink, eBPF, SQLite and the execution of
// programs each have the few packages that may use them.
func TestLibrariesStayInTheirRooms(t *testing.T) {
	source, _ := load(t)
	fail(t, checkBans(source, bans))
}

// TestPurePackagesArePure: no clock, chance, I/O, goroutine or state in them.
func TestPurePackagesArePure(t *testing.T) {
	source, rules := load(t)
	fail(t, checkPurity(source, rules))
}

// TestStyle: package comments, length of files, no sleeping tests.
func TestStyle(t *testing.T) {
	source, _ := load(t)
	fail(t, checkStyle(source))
}

// TestPlantedViolations is the positive control: every archive in testdata is a
// small tree with faults. Its comment holds a law and, on lines that begin with
// "want ", all that the checks must say about it, and nothing else may be said.
func TestPlantedViolations(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives with planted faults: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			got, want := planted(t, name)
			for _, w := range want {
				if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) }) {
					t.Errorf("not found: %s", w)
				}
			}
			for _, g := range got {
				if !slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(g, w) }) {
					t.Errorf("found, and no fault: %s", g)
				}
			}
		})
	}
}

// planted runs all checks over an archive.
func planted(t *testing.T, name string) (got, want []string) {
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var lawLines []string
	for _, line := range strings.Split(string(archive.Comment), "\n") {
		if w, ok := strings.CutPrefix(line, "want "); ok {
			want = append(want, w)
		} else {
			lawLines = append(lawLines, line)
		}
	}
	rules, err := parseLaw(strings.Join(lawLines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, f := range archive.Files {
		files[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	source, err := loadTree(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range slices.Concat(checkImports(source, rules), checkBans(source, bans),
		checkPurity(source, rules), checkStyle(source)) {
		got = append(got, v.String())
	}
	return got, want
}

// TestStyleLength plants a file that is too long; an archive would be unwieldy.
func TestStyleLength(t *testing.T) {
	long := "// Package p is long.\npackage p\n" + strings.Repeat("\n", linesMax)
	for _, c := range []struct {
		name, text string
		faults     int
	}{
		{"no reason", long, 1},
		{"reason", long + longDecision + "one table, read from top to bottom\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			source, err := loadTree(fstest.MapFS{"p/p.go": &fstest.MapFile{Data: []byte(c.text)}})
			if err != nil {
				t.Fatal(err)
			}
			if got := checkStyle(source); len(got) != c.faults {
				t.Errorf("found %v, want %d", got, c.faults)
			}
		})
	}
}

// TestParseLawRefusesTwoLines: two lines for one package would hide each other.
func TestParseLawRefusesTwoLines(t *testing.T) {
	for _, text := range []string{"a: b\na: c", "a b"} {
		if _, err := parseLaw(text); err == nil {
			t.Errorf("law %q was taken", text)
		}
	}
}

func load(t *testing.T) (*tree, []*rule) {
	t.Helper()
	rules, err := parseLaw(law)
	if err != nil {
		t.Fatal(err)
	}
	source, err := loadTree(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if source.packages["internal/deps"] == nil {
		t.Fatal("the module's source is not here: nothing was checked")
	}
	return source, rules
}

func fail(t *testing.T, found []violation) {
	t.Helper()
	for _, v := range found {
		t.Error(v)
	}
}
