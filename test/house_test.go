// Package house keeps the laws of this repository: what each folder may import,
// how long functions and files may grow, what is never written. What goes in is
// the source itself, what comes out is a failed test that names the place, the
// law and its reason; docs/decisions holds the longer arguments.
package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sluicegw/sluice"

// source is one Go file.
type source struct {
	path   string // below the repository, with slashes
	dir    string // "" for the root
	test   bool   // named *_test.go
	lines  int
	fset   *token.FileSet
	syntax *ast.File
}

// at returns "path:line" of a node.
func (s source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// lineCount returns the number of lines from the first to the last of a node.
func (s source) lineCount(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

// sources parses every Go file of the repository.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	for _, p := range files(t) {
		if path.Ext(p) != ".go" {
			continue
		}
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, filepath.Join("..", p), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, source{
			path: p, dir: dirOf(p), test: strings.HasSuffix(p, "_test.go"),
			lines: fset.File(syntax.Pos()).LineCount(), fset: fset, syntax: syntax,
		})
	}
	if len(out) < 10 {
		t.Fatalf("found %d Go files; the walk is broken", len(out))
	}
	return out
}

// files lists the files of the repository that belong to it, with slashes,
// sorted: neither what git ignores nor git's own.
func files(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		p = filepath.ToSlash(strings.TrimPrefix(p, ".."+string(filepath.Separator)))
		if d.IsDir() {
			if slices.Contains([]string{".git", ".tools", "bin", "loadtest/results"}, p) {
				return fs.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() && p != ".git" { // a file in a worktree
			out = append(out, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func dirOf(p string) string {
	if d := path.Dir(p); d != "." {
		return d
	}
	return ""
}

// under reports whether dir is room or below it.
func under(dir, room string) bool {
	return dir == room || strings.HasPrefix(dir, room+"/")
}

func TestHousePackageComments(t *testing.T) {
	all := sources(t)
	withCode := map[string]bool{}
	for _, s := range all {
		withCode[s.dir] = withCode[s.dir] || !s.test
	}
	docs, names := map[string]string{}, map[string]string{}
	for _, s := range all {
		if s.test && withCode[s.dir] {
			continue // the comment belongs to the code, if there is some
		}
		names[s.dir] = s.syntax.Name.Name
		if s.syntax.Doc != nil {
			docs[s.dir] += s.syntax.Doc.Text()
		}
	}
	for dir, name := range names {
		if sentences(docs[dir]) < 2 {
			t.Errorf("%s: the package comment has fewer than two sentences; say what goes in, what comes out and what the package alone decides", dir)
		}
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "base", "misc", "shared"}, name) {
			t.Errorf("%s: a package named %s says nothing about what belongs there; name it after what it does", dir, name)
		}
	}
}

// sentences counts full stops at the end of a word.
func sentences(doc string) int {
	n := 0
	for word := range strings.FieldsSeq(doc) {
		if strings.HasSuffix(word, ".") || strings.HasSuffix(word, ".)") {
			n++
		}
	}
	return n
}

// readFile returns the text of a file of the repository.
func readFile(t *testing.T, p string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", p))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
