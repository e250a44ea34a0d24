package doctest_test

import (
	"flag"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/api.txt")

const baseline = "testdata/api.txt"

// TestExportedNamesAreThoseOfTheBaseline shows what a change breaks or adds: a
// line is an exported declaration, field or method. `make api` accepts it.
func TestExportedNamesAreThoseOfTheBaseline(t *testing.T) {
	got := exported(t, "../..")
	require.Greater(t, len(got), 300)
	text := strings.Join(got, "\n") + "\n"
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(baseline), 0o755))
		require.NoError(t, os.WriteFile(baseline, []byte(text), 0o644))
	}
	b, err := os.ReadFile(baseline)
	require.NoError(t, err)
	want := strings.Split(strings.TrimSpace(string(b)), "\n")
	var changes []string
	for _, line := range want {
		if !slices.Contains(got, line) {
			changes = append(changes, "- "+line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			changes = append(changes, "+ "+line)
		}
	}
	require.Empty(t, changes, "the exported names changed: say so in CHANGELOG.md and run `make api`\n%s", strings.Join(changes, "\n"))
}

// exported lists what the packages below root export, sorted.
func exported(t *testing.T, root string) (lines []string) {
	t.Helper()
	fset := token.NewFileSet()
	require.NoError(t, filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		skip := d.Name() == "examples" || d.Name() == "internal" || d.Name() == "testdata" || d.Name() == "node_modules"
		if d.IsDir() && (skip || strings.HasPrefix(d.Name(), ".") && rel != ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, file, nil, 0)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		ast.FileExports(f)
		for _, decl := range f.Decls {
			for _, line := range declared(fset, decl) {
				lines = append(lines, pkg+": "+line)
			}
		}
		return nil
	}))
	slices.Sort(lines)
	return slices.Compact(lines)
}

// declared is a declaration as lines, one for each name, field and method.
func declared(fset *token.FileSet, decl ast.Decl) (lines []string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && !ast.IsExported(receiver(d.Recv.List[0].Type)) {
			return nil
		}
		d.Body = nil
		return []string{oneLine(fset, d)}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				for _, n := range s.Names {
					lines = append(lines, d.Tok.String()+" "+n.Name)
				}
			case *ast.TypeSpec:
				var fields *ast.FieldList
				switch x := s.Type.(type) {
				case *ast.StructType:
					fields = x.Fields
					lines = append(lines, "type "+s.Name.Name+" struct")
				case *ast.InterfaceType:
					fields = x.Methods
					lines = append(lines, "type "+s.Name.Name+" interface")
				default:
					lines = append(lines, "type "+oneLine(fset, s))
				}
				if fields == nil {
					continue
				}
				for _, field := range fields.List {
					for _, n := range field.Names {
						lines = append(lines, s.Name.Name+"."+n.Name+" "+oneLine(fset, field.Type))
					}
					if len(field.Names) == 0 {
						lines = append(lines, s.Name.Name+" embeds "+oneLine(fset, field.Type))
					}
				}
			}
		}
	}
	return lines
}

// receiver is the name of a receiver's type.
func receiver(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.IndexListExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}

// oneLine is a node's source on one line.
func oneLine(fset *token.FileSet, node any) string {
	var b strings.Builder
	if err := format.Node(&b, fset, node); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
