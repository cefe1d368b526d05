package deps

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"
)

// module is the prefix of our own import paths.
const module = "re6st"

// tree is the source of the module, parsed.
type tree struct {
	fset     *token.FileSet
	packages map[string]*pkg // by path below the module, "." is the root
}

type pkg struct {
	path  string
	files []*file // without tests
	tests []*file
}

type file struct {
	name   string // below the root
	lines  int
	text   string
	syntax *ast.File
}

// violation is a rule broken at a place.
type violation struct {
	at   string // file:line, or "law"
	text string
}

func (v violation) String() string { return v.at + ": " + v.text }

// loadTree parses every Go file of root. Files of all platforms count, for the
// law has no exception for one; only what asks for the tag "ignore" does not.
func loadTree(root fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet(), packages: map[string]*pkg{}}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && isOutside(d.Name()):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasPrefix(d.Name(), "_"):
			return nil
		}
		return t.add(root, name)
	})
	return t, err
}

// isOutside says whether a directory is none of the module's: the go command's
// own rule, and what make puts aside.
func isOutside(dir string) bool {
	return dir == "testdata" || dir == "vendor" || dir == "bin" || dir == "build" ||
		strings.HasPrefix(dir, ".") || strings.HasPrefix(dir, "_")
}

func (t *tree) add(root fs.FS, name string) error {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	syntax, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parsing %q: %w", name, err)
	}
	if isIgnored(syntax) {
		return nil
	}
	dir := path.Dir(name)
	p := t.packages[dir]
	if p == nil {
		p = &pkg{path: dir}
		t.packages[dir] = p
	}
	f := &file{name: name, lines: strings.Count(string(text), "\n"), text: string(text), syntax: syntax}
	if strings.HasSuffix(name, "_test.go") {
		p.tests = append(p.tests, f)
	} else {
		p.files = append(p.files, f)
	}
	return nil
}

// isIgnored says whether the file carries the build tag "ignore".
func isIgnored(f *ast.File) bool {
	for _, group := range f.Comments {
		if group.Pos() > f.Package {
			break
		}
		for _, c := range group.List {
			expr, err := constraint.Parse(c.Text)
			if err == nil && !expr.Eval(func(tag string) bool { return tag != "ignore" }) &&
				strings.Contains(c.Text, "ignore") {
				return true
			}
		}
	}
	return false
}

func (t *tree) at(pos token.Pos) string {
	p := t.fset.Position(pos)
	return p.Filename + ":" + strconv.Itoa(p.Line)
}

// paths lists the packages in order, so that every run reports alike.
func (t *tree) paths() []string {
	var out []string
	for p := range t.packages {
		out = append(out, p)
	}
	sort.Strings(out)
	return out
}

// importPath is the path of an import as written.
func importPath(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
	return p
}

// ours strips the module off an import path of our own.
func ours(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// matches says whether one of the patterns stands for the package.
func matches(patterns []string, p string) bool {
	for _, pattern := range patterns {
		if ok, _ := path.Match(pattern, p); ok {
			return true
		}
	}
	return false
}
