package holdfast_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPackageComments wants exactly one package comment in each package.
func TestPackageComments(t *testing.T) {
	files := map[string][]string{}
	eachFile(t, func(path string, f *ast.File) {
		dir := filepath.Dir(path)
		if _, ok := files[dir]; !ok {
			files[dir] = nil
		}
		if f.Doc != nil && strings.HasPrefix(f.Doc.Text(), packageWord(f)) {
			files[dir] = append(files[dir], path)
		}
	})
	for dir, with := range files {
		if len(with) != 1 {
			t.Errorf("package %s has %d package comments, want 1: %v", dir, len(with), with)
		}
	}
}

func packageWord(f *ast.File) string {
	if f.Name.Name == "main" {
		return "Command "
	}
	return "Package " + f.Name.Name + " "
}

// TestFunctionLength keeps functions on two screens. A longer one needs a
// directive nolint:funlen with a reason.
func TestFunctionLength(t *testing.T) {
	const limit = 80
	eachFile(t, func(path string, f *ast.File) {
		if ast.IsGenerated(f) {
			return
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil || excused(fn.Doc) {
				continue
			}
			if n := fset.Position(fn.Body.Rbrace).Line - fset.Position(fn.Body.Lbrace).Line - 1; n > limit {
				t.Errorf("%s: %s has %d lines, the limit is %d", fset.Position(fn.Pos()), fn.Name.Name, n, limit)
			}
		}
	})
}

var nolint = regexp.MustCompile(`//nolint:funlen // \w+`)

func excused(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return nolint.MatchString(c.Text) })
}

// TestExportedComments wants a comment on everything exported at top level.
func TestExportedComments(t *testing.T) {
	eachFile(t, func(path string, f *ast.File) {
		if ast.IsGenerated(f) {
			return
		}
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil {
					t.Errorf("%s: %s has no comment", path, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, name := range undocumented(d) {
					t.Errorf("%s: %s has no comment", path, name)
				}
			}
		}
	})
}

// wellKnown are methods whose meaning their interface gives.
var wellKnown = []string{"Error", "Unwrap", "Is", "As", "String", "Hint"}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	if slices.Contains(wellKnown, d.Name.Name) {
		return false
	}
	typ := d.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

func undocumented(d *ast.GenDecl) []string {
	var names []string
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
				names = append(names, s.Name.Name)
			}
		case *ast.ValueSpec:
			if d.Doc != nil || s.Doc != nil || s.Comment != nil {
				continue
			}
			for _, n := range s.Names {
				if n.IsExported() {
					names = append(names, n.Name)
				}
			}
		}
	}
	return names
}

// TestDependencies wants every module that we import in docs/dependencies.md
// with a reason, and nothing there that we no longer import.
func TestDependencies(t *testing.T) {
	listed := listedDependencies(t)
	required := requiredModules(t)
	used := map[string]bool{}
	mark := func(_ string, f *ast.File) {
		for _, imp := range f.Imports {
			if m := moduleOf(strings.Trim(imp.Path.Value, `"`), required); m != "" {
				used[m] = true
			}
		}
	}
	eachFile(t, mark)
	eachTestFile(t, mark)
	for m := range used {
		if listed[m] == "" {
			t.Errorf("docs/dependencies.md has no line with a reason for %s", m)
		}
	}
	for m := range listed {
		if !used[m] {
			t.Errorf("docs/dependencies.md lists %s, which nothing imports", m)
		}
	}
}

var dependencyLine = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\|")

func listedDependencies(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, m := range dependencyLine.FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = strings.TrimSpace(m[2])
	}
	return listed
}

func requiredModules(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require ")); len(f) >= 2 && strings.Contains(f[0], ".") && strings.HasPrefix(f[1], "v") {
			list = append(list, f[0])
		}
	}
	return list
}

func moduleOf(imp string, modules []string) string {
	best := ""
	for _, m := range modules {
		if (imp == m || strings.HasPrefix(imp, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return best
}

func eachTestFile(t *testing.T, visit func(path string, f *ast.File)) {
	t.Helper()
	for _, dir := range packageDirs(t) {
		paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			visit(path, f)
		}
	}
}

func packageDirs(t *testing.T) []string {
	t.Helper()
	dirs := map[string]bool{".": true}
	eachFile(t, func(path string, _ *ast.File) { dirs[filepath.Dir(path)] = true })
	list := make([]string, 0, len(dirs))
	for d := range dirs {
		list = append(list, d)
	}
	slices.Sort(list)
	return list
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// TestDocumentLinks wants every relative link in our documents to lead to a
// file.
func TestDocumentLinks(t *testing.T) {
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range append(docs, "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md") {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s: dead link %s", doc, m[1])
			}
		}
	}
}

// TestNoTestify keeps one style of tests: testing and go-cmp.
func TestNoTestify(t *testing.T) {
	eachTestFile(t, func(path string, f *ast.File) {
		for _, imp := range f.Imports {
			if strings.Contains(imp.Path.Value, "stretchr/testify") {
				t.Errorf("%s imports testify; use testing and go-cmp", path)
			}
		}
	})
}

// TestRootTestsSayWhyTheySkip wants a package with tests named TestRoot to be
// able to skip them, so that go test ./... works for everybody.
func TestRootTestsSayWhyTheySkip(t *testing.T) {
	for _, dir := range packageDirs(t) {
		paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		root, skips := false, false
		for _, path := range paths {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			root = root || path != "repo_test.go" && strings.Contains(string(src), "func TestRoot")
			skips = skips || strings.Contains(string(src), ".Skip") || strings.Contains(string(src), "netnstest.New(") // which skips
		}
		if root && !skips {
			t.Errorf("%s has TestRoot tests and never skips", dir)
		}
	}
}
