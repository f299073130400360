package house

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// The sizes above which code is split.
const (
	maxFuncLines = 60
	maxFileLines = 500
	// Parameters, besides a context or a testing.TB.
	maxExportedParameters   = 3
	maxUnexportedParameters = 4
)

// exceptions are files ("path") and functions ("path:Name") that may be larger,
// each with the reason. One that is no longer needed fails the test.
func exceptions() map[string]string {
	return map[string]string{
		"compile/graph/graph.go:NewRule":  "the rules are listed in one place, a line each",
		"compile/graph/index.go:NewIndex": "the same for indexes",
	}
}

func TestHouseSizes(t *testing.T) {
	allowed := exceptions()
	used := map[string]bool{}
	tooLarge := func(key, where, what string, size, limit int) {
		if size <= limit {
			return
		}
		if allowed[key] != "" {
			used[key] = true
			return
		}
		t.Errorf("%s: %s, the limit is %d and this has %d; split it, or add a reasoned exception to test/code_test.go", where, what, limit, size)
	}
	for _, s := range sources(t) {
		tooLarge(s.path, s.path, "too many lines in the file", s.lines, maxFileLines)
		for _, d := range s.syntax.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || s.test {
				continue
			}
			key := s.path + ":" + f.Name.Name
			tooLarge(key, s.at(f), "too many lines in "+f.Name.Name, s.lineCount(f), maxFuncLines)
			limit := maxUnexportedParameters
			if f.Name.IsExported() {
				limit = maxExportedParameters
			}
			tooLarge(key, s.at(f), "too many parameters of "+f.Name.Name, parameters(f.Type), limit)
		}
	}
	for key := range allowed {
		if !used[key] {
			t.Errorf("the exception for %s is not needed any more; remove it", key)
		}
	}
}

// parameters counts the parameters of a function but contexts and testing.TBs.
func parameters(f *ast.FuncType) int {
	n := 0
	for _, p := range f.Params.List {
		if e, ok := p.Type.(*ast.SelectorExpr); ok {
			if x, ok := e.X.(*ast.Ident); ok && (x.Name == "context" || x.Name == "testing") {
				continue
			}
		}
		n += max(1, len(p.Names))
	}
	return n
}

// linked are variables that the linker sets.
func linked() []string { return []string{"cmd/sluice:version"} }

func TestHouseNoPackageState(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == "init" && d.Recv == nil {
					t.Errorf("%s: init runs unseen and in an order nobody chose; call a function from main", s.at(d))
				}
			case *ast.GenDecl:
				if d.Tok != token.VAR {
					continue
				}
				for _, spec := range d.Specs {
					checkVar(t, s, d, spec.(*ast.ValueSpec))
				}
			}
		}
	}
}

// checkVar refuses package variables but error values, interface assertions,
// compiled patterns (constant by nature), embedded files, flags of tests and
// what the linker sets.
func checkVar(t *testing.T, s source, d *ast.GenDecl, v *ast.ValueSpec) {
	t.Helper()
	for i, name := range v.Names {
		var value ast.Expr
		if i < len(v.Values) {
			value = v.Values[i]
		}
		switch {
		case name.Name == "_", isCall(value, "errors", "New"), isCall(value, "fmt", "Errorf"):
		case isCall(value, "regexp", "MustCompile"):
		case embedded(d.Doc), embedded(v.Doc):
		case s.test && isCall(value, "flag", "Bool"):
		case slices.Contains(linked(), s.dir+":"+name.Name):
		default:
			t.Errorf("%s: package variable %s; state belongs to whoever runs, tables belong into a function", s.at(v), name.Name)
		}
	}
}

func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// isCall reports whether e is a call of pkg.name.
func isCall(e ast.Expr, pkg string, names ...string) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains(names, f.Sel.Name) {
		return false
	}
	x, ok := f.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// callsOf returns the calls of functions of a package in a file.
func callsOf(s source, pkg string, names ...string) []ast.Node {
	var out []ast.Node
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok && isCall(e, pkg, names...) {
			out = append(out, n)
		}
		return true
	})
	return out
}

func TestHouseNobodySleeps(t *testing.T) {
	for _, s := range sources(t) {
		for _, call := range callsOf(s, "time", "Sleep") {
			t.Errorf("%s: a sleep is too short on a slow machine and too long on a fast one; wait for what you wait for", s.at(call))
		}
	}
}

func TestHouseNoTestIsSkipped(t *testing.T) {
	for _, s := range sources(t) {
		for _, receiver := range []string{"t", "b", "f", "tb"} {
			for _, call := range callsOf(s, receiver, "Skip", "Skipf", "SkipNow") {
				t.Errorf("%s: a skipped test proves nothing; fail with what is missing", s.at(call))
			}
		}
	}
}
