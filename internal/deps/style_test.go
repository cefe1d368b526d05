package deps

import (
	"fmt"
	"go/ast"
	"strings"
)

// linesMax is the wall for a file. One that is longer says why in a line that
// begins with the directive below.
const (
	linesMax     = 700
	longDecision = "//re6st:long "
)

// checkStyle keeps the rules of taste that cost nothing to check. What is generated
// is of the taste of its generator.
func checkStyle(t *tree) []violation {
	var out []violation
	for _, name := range t.paths() {
		p := t.packages[name]
		if !isDocumented(p) {
			out = append(out, violation{name, "no package comment: what it is for, and what not"})
		}
		for _, f := range p.files {
			if !ast.IsGenerated(f.syntax) {
				out = append(out, t.checkLength(f)...)
			}
		}
		for _, f := range p.tests {
			if ast.IsGenerated(f.syntax) {
				continue
			}
			out = append(out, t.checkLength(f)...)
			out = append(out, t.checkSleep(f)...)
		}
	}
	return out
}

func isDocumented(p *pkg) bool {
	for _, f := range p.files {
		if f.syntax.Doc != nil && strings.TrimSpace(f.syntax.Doc.Text()) != "" {
			return true
		}
	}
	return false
}

func (t *tree) checkLength(f *file) []violation {
	if f.lines <= linesMax || strings.Contains(f.text, "\n"+longDecision) {
		return nil
	}
	return []violation{{
		fmt.Sprintf("%s:%d", f.name, f.lines),
		fmt.Sprintf("longer than %d lines, and no %sline says why", linesMax, longDecision),
	}}
}

// checkSleep: a test that sleeps is slow on a good day and fails on a bad one.
// Inside a synctest bubble time is virtual and a sleep is exact.
func (t *tree) checkSleep(f *file) []violation {
	var out []violation
	for _, spec := range f.syntax.Imports {
		if importPath(spec) != "time" || strings.Contains(f.text, `"testing/synctest"`) {
			continue
		}
		for _, use := range usesOf(f, spec, []string{"Sleep"}) {
			out = append(out, violation{t.at(use.Pos()), "a test sleeps: await the condition, or use testing/synctest"})
		}
	}
	return out
}
