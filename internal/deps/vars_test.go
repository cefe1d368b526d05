package deps

import (
	"errors"
	"go/ast"
	"go/token"
	"go/types"
)

// A pure package may have package variables that are constants in all but
// name: sentinel errors, tables, object identifiers. The rule: after its
// declaration nothing assigns to the variable, to an element or to a field of
// it, takes its address, clears it, copies into it or calls a method with a
// pointer receiver of ours on it; and a value of a foreign type without an
// initial value (a zero bytes.Buffer, a list) is refused, since only its
// methods could give it meaning.

// checkVariables applies the rule to one package.
func (t *tree) checkVariables(p *pkg) []violation {
	info := t.resolve(p)
	vars := map[types.Object]bool{}
	var out []violation
	for _, f := range p.files {
		for _, d := range f.syntax.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				spec := spec.(*ast.ValueSpec)
				for _, name := range spec.Names {
					if obj := info.Defs[name]; obj != nil && name.Name != "_" {
						vars[obj] = true
					}
				}
				if _, foreign := spec.Type.(*ast.SelectorExpr); foreign && spec.Values == nil {
					out = append(out, violation{t.at(spec.Pos()), "pure package has a mutable variable " + spec.Names[0].Name})
				}
			}
		}
	}
	w := &writeFinder{t: t, info: info, vars: vars}
	for _, f := range p.files {
		ast.Inspect(f.syntax, w.visit)
	}
	return append(out, w.found...)
}

// resolve tells which declaration each name of the package means. Foreign
// packages stay empty, so the errors about them are of no interest.
func (t *tree) resolve(p *pkg) *types.Info {
	info := &types.Info{
		Defs:       map[*ast.Ident]types.Object{},
		Uses:       map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	config := types.Config{Importer: opaque{}, Error: func(error) {}, FakeImportC: true}
	var files []*ast.File
	for _, f := range p.files {
		files = append(files, f.syntax)
	}
	_, _ = config.Check(p.path, t.fset, files, info)
	return info
}

type opaque struct{}

func (opaque) Import(path string) (*types.Package, error) {
	if path == "C" {
		return nil, errors.New("no C here")
	}
	p := types.NewPackage(path, packageName(path))
	p.MarkComplete()
	return p, nil
}

// writeFinder looks for what changes a package variable.
type writeFinder struct {
	t     *tree
	info  *types.Info
	vars  map[types.Object]bool
	found []violation
}

func (w *writeFinder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			for _, x := range n.Lhs {
				w.report(x, "assigns to")
			}
		}
	case *ast.IncDecStmt:
		w.report(n.X, "assigns to")
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			w.report(n.Key, "assigns to")
			w.report(n.Value, "assigns to")
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			w.report(n.X, "takes the address of")
		}
	case *ast.CallExpr:
		w.call(n)
	}
	return true
}

// writers are the built-in functions that change their first argument.
var writers = map[string]string{"delete": "deletes from", "clear": "clears", "copy": "copies into"}

func (w *writeFinder) call(n *ast.CallExpr) {
	switch fun := ast.Unparen(n.Fun).(type) {
	case *ast.Ident:
		if what, ok := writers[fun.Name]; ok && len(n.Args) > 0 {
			w.report(n.Args[0], what)
		}
	case *ast.SelectorExpr:
		s := w.info.Selections[fun]
		if s == nil || s.Kind() != types.MethodVal {
			return
		}
		if _, pointer := s.Obj().Type().(*types.Signature).Recv().Type().(*types.Pointer); pointer {
			w.report(fun.X, "calls "+fun.Sel.Name+", which may change,")
		}
	}
}

func (w *writeFinder) report(x ast.Expr, what string) {
	if id := root(x); id != nil && w.vars[w.info.Uses[id]] {
		w.found = append(w.found, violation{w.t.at(x.Pos()), "pure package " + what + " the package variable " + id.Name})
	}
}

// root is the variable that an operand is a part of.
func root(x ast.Expr) *ast.Ident {
	switch x := x.(type) {
	case *ast.Ident:
		return x
	case *ast.ParenExpr:
		return root(x.X)
	case *ast.IndexExpr:
		return root(x.X)
	case *ast.SliceExpr:
		return root(x.X)
	case *ast.SelectorExpr:
		return root(x.X)
	case *ast.StarExpr:
		return root(x.X)
	}
	return nil
}
