package deps

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// rule is one line of the law.
type rule struct {
	pattern string // of package paths
	pure    bool
	may     []string
	need    map[string]bool // of may: those that must be used, once both exist
	tests   []string        // what its tests may import beyond that
}

// parseLaw reads the text of the law. A package has one rule; a "tests" line
// joins the rule of its package.
func parseLaw(text string) ([]*rule, error) {
	var rules []*rule
	byPattern := map[string]*rule{}
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		head, list, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("law line %d: no colon in %q", n+1, line)
		}
		head, pure := strings.CutPrefix(head, "pure ")
		head, tests := strings.CutSuffix(head, " tests")
		r := byPattern[head]
		switch {
		case r == nil:
			r = &rule{pattern: head, pure: pure, need: map[string]bool{}}
			byPattern[head] = r
			rules = append(rules, r)
		case !tests:
			return nil, fmt.Errorf("law line %d: %s has a line already", n+1, head)
		}
		for _, word := range strings.Fields(list) {
			word, optional := strings.CutSuffix(word, "?")
			for _, p := range expand(word) {
				if tests {
					r.tests = append(r.tests, p)
					continue
				}
				r.may = append(r.may, p)
				r.need[p] = !optional
			}
		}
	}
	return rules, nil
}

// expand writes a/{b,c} out.
func expand(word string) []string {
	before, rest, ok := strings.Cut(word, "{")
	if !ok {
		return []string{word}
	}
	list, after, _ := strings.Cut(rest, "}")
	var out []string
	for _, x := range strings.Split(list, ",") {
		out = append(out, before+x+after)
	}
	return out
}

func ruleFor(rules []*rule, p string) *rule {
	for _, r := range rules {
		if ok, _ := path.Match(r.pattern, p); ok {
			return r
		}
	}
	return nil
}

// checkImports holds the tree against the law, in both directions.
func checkImports(t *tree, rules []*rule) []violation {
	var out []violation
	used := map[*rule]map[string]bool{}
	for _, p := range t.paths() {
		r := ruleFor(rules, p)
		if r == nil {
			out = append(out, violation{"law", "package " + p + " has no line"})
			continue
		}
		if used[r] == nil {
			used[r] = map[string]bool{}
		}
		for _, f := range t.packages[p].files {
			out = append(out, t.checkFile(f, r.may, func(q string) { used[r][q] = true })...)
		}
		testsMay := slices.Concat([]string{p}, everyTest, r.may, r.tests)
		for _, f := range t.packages[p].tests {
			out = append(out, t.checkFile(f, testsMay, func(string) {})...)
		}
	}
	for _, r := range rules {
		if used[r] == nil {
			continue // no such package yet
		}
		for _, q := range r.may {
			if r.need[q] && t.packages[q] != nil && !used[r][q] && t.hasCode(r.pattern) {
				out = append(out, violation{"law", fmt.Sprintf("%s may import %s and does not: strike it", r.pattern, q)})
			}
		}
	}
	return out
}

// hasCode says whether a package of the pattern has more than its tests: one
// that has not yet cannot use anything.
func (t *tree) hasCode(pattern string) bool {
	for p, x := range t.packages {
		if ok, _ := path.Match(pattern, p); ok && len(x.files) > 0 {
			return true
		}
	}
	return false
}

func (t *tree) checkFile(f *file, may []string, use func(string)) []violation {
	var out []violation
	for _, spec := range f.syntax.Imports {
		q, ok := ours(importPath(spec))
		if !ok {
			continue
		}
		use(q)
		if !matches(may, q) {
			out = append(out, violation{t.at(spec.Pos()), path.Dir(f.name) + " may not import " + q})
		}
	}
	return out
}

// checkBans finds the libraries that only some may use.
func checkBans(t *tree, bans []ban) []violation {
	var out []violation
	for _, p := range t.paths() {
		for _, b := range bans {
			if matches(b.only, p) {
				continue
			}
			files := t.packages[p].files
			if !b.tests {
				files = append(files[:len(files):len(files)], t.packages[p].tests...)
			}
			for _, f := range files {
				out = append(out, t.checkBan(f, b)...)
			}
		}
	}
	return out
}

func (t *tree) checkBan(f *file, b ban) []violation {
	var out []violation
	for _, spec := range f.syntax.Imports {
		got := importPath(spec)
		tree, isTree := strings.CutSuffix(b.path, "/...")
		if got != tree && (!isTree || !strings.HasPrefix(got, tree+"/")) {
			continue
		}
		who := strings.Join(b.only, ", ")
		if b.names == nil {
			out = append(out, violation{t.at(spec.Pos()), fmt.Sprintf("%s is for %s: %s", got, who, b.reason)})
			continue
		}
		for _, use := range usesOf(f, spec, b.names) {
			out = append(out, violation{
				t.at(use.Pos()),
				fmt.Sprintf("%s.%s is for %s: %s", got, use.Sel.Name, who, b.reason),
			})
		}
	}
	return out
}
