package deps

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// impure lists what a pure package may not import. A path ending in /... bans
// the tree; the exceptions are pure themselves.
var impure = []struct{ path, reason string }{
	{"os/...", "files and processes"},
	{"io/ioutil", "files"},
	{"net/...", "sockets"},
	{"syscall/...", "the kernel"},
	{"golang.org/x/sys/...", "the kernel"},
	{"log", "a log: return an Event"},
	{"sync/...", "locks: one loop owns the machine"},
	{"golang.org/x/sync/...", "goroutines"},
	{"golang.org/x/time/...", "a clock of its own"},
	{"crypto/rand", "randomness that no seed repeats"},
	{"database/sql/...", "files"},
	{"unsafe", "it hides writes from every check here"},
}

// pureNet are the packages below net that only compute.
var pureNet = []string{"net/netip", "net/url"}

// impureNames lists the names that a pure package may not use of a library that
// it may import.
var impureNames = map[string][]string{
	"time": {
		"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer",
		"Sleep", "LoadLocation", "Local",
	},
	"context": {"WithTimeout", "WithDeadline", "WithTimeoutCause", "WithDeadlineCause", "AfterFunc"},
	"runtime": {"NumGoroutine", "GC", "Gosched", "SetFinalizer", "AddCleanup", "LockOSThread"},
}

// pureNames lists, of a library with shared state, the names that do not touch
// it. Everything else of it is banned. A LogValue method needs slog's values.
var pureNames = map[string][]string{
	"math/rand":    {"New", "NewSource", "NewZipf", "Rand", "Source", "Source64", "Zipf"},
	"math/rand/v2": {"New", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "Source", "PCG", "ChaCha8", "Zipf"},
	"log/slog": {
		"Value", "LogValuer", "Attr", "StringValue", "IntValue", "Int64Value", "Uint64Value", "BoolValue",
		"DurationValue", "TimeValue", "GroupValue", "AnyValue", "String", "Int", "Int64", "Uint64", "Bool",
		"Duration", "Time", "Any",
	},
}

// checkPurity walks the pure packages. Their tests may do as they like.
func checkPurity(t *tree, rules []*rule) []violation {
	var out []violation
	for _, p := range t.paths() {
		r := ruleFor(rules, p)
		if r == nil || !r.pure {
			continue
		}
		for _, f := range t.packages[p].files {
			out = append(out, t.checkPureImports(f)...)
			out = append(out, t.checkPureSyntax(f)...)
		}
		out = append(out, t.checkVariables(t.packages[p])...)
	}
	return out
}

func (t *tree) checkPureImports(f *file) []violation {
	var out []violation
	for _, spec := range f.syntax.Imports {
		got := importPath(spec)
		bad := func(reason string) {
			out = append(out, violation{t.at(spec.Pos()), "pure package imports " + got + ": " + reason})
		}
		if spec.Name != nil && spec.Name.Name == "." {
			bad("a dot import hides whose names are used")
		}
		for _, x := range impure {
			root, isTree := strings.CutSuffix(x.path, "/...")
			if (got == root || isTree && strings.HasPrefix(got, root+"/")) && !slices.Contains(pureNet, got) {
				bad(x.reason)
			}
		}
		for _, use := range usesOf(f, spec, nil) {
			allowed, isListed := pureNames[got]
			if slices.Contains(impureNames[got], use.Sel.Name) || isListed && !slices.Contains(allowed, use.Sel.Name) {
				out = append(out, violation{
					t.at(use.Pos()),
					fmt.Sprintf("pure package uses %s.%s: time and chance are arguments", got, use.Sel.Name),
				})
			}
		}
	}
	return out
}

func (t *tree) checkPureSyntax(f *file) []violation {
	var out []violation
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			out = append(out, violation{t.at(n.Pos()), "pure package starts a goroutine"})
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				out = append(out, violation{t.at(n.Pos()), "pure package has an init function"})
			}
		}
		return true
	})
	return out
}

// usesOf finds the selectors on an imported package, all or those of the names.
// A local variable that has the package's name is taken for it: rename it.
func usesOf(f *file, spec *ast.ImportSpec, names []string) []*ast.SelectorExpr {
	name := packageName(importPath(spec))
	if spec.Name != nil {
		name = spec.Name.Name
	}
	var out []*ast.SelectorExpr
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if ok && x.Name == name && (names == nil || slices.Contains(names, sel.Sel.Name)) {
			out = append(out, sel)
		}
		return true
	})
	return out
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// packageName guesses the name of a package from its path. It is right for the
// standard library, the only one of which names are banned.
func packageName(importPath string) string {
	base := path.Base(importPath)
	if majorVersion.MatchString(base) {
		base = path.Base(path.Dir(importPath))
	}
	return base
}
