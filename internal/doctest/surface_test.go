package doctest_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// surface is what the packages for import export, and what shows its use.
type surface struct {
	names        map[string]bool // "handlers.Mount", "tokencache.Cache.Ready"
	constructors map[string]bool
	undocumented []string
	shown        map[string]bool // names in Examples, links of comments, and docs
	runnable     map[string]bool // names in Examples with an output
}

// conventional methods implement an interface of the standard library, whose
// documentation is theirs.
var conventional = regexp.MustCompile(`\.(Error|Unwrap|String|GoString|Format|LogValue|ServeHTTP|RoundTrip|CloseIdleConnections|GobEncode|(Unm|M)arshal(JSON|Text|Binary))$`)

var (
	docLink = regexp.MustCompile(`\[\*?([A-Za-z][A-Za-z0-9_.]*)\]`)
	docName = regexp.MustCompile(`\b[a-z][a-z0-9]*\.[A-Z][A-Za-z0-9]*(\.[A-Z][A-Za-z0-9]*)?\b|\.[A-Z][A-Za-z0-9]*\b`)
)

// surfaceOf reads the packages below root that are for import.
func surfaceOf(t *testing.T, root string) surface {
	t.Helper()
	s := surface{names: map[string]bool{}, constructors: map[string]bool{}, shown: map[string]bool{}, runnable: map[string]bool{}}
	fset := token.NewFileSet()
	require.NoError(t, filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "internal" || name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") && file != root):
			return filepath.SkipDir
		case !strings.HasSuffix(name, ".go"):
			return nil
		}
		f, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, file)
		example := strings.HasPrefix(filepath.ToSlash(rel), "examples/")
		switch {
		case strings.HasSuffix(file, "_test.go"):
			s.examples(f)
		case example:
			s.show(selected(f))
		case f.Name.Name != "main":
			s.exported(f)
			s.links(f)
		}
		return nil
	}))
	for _, file := range pages(t) {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, name := range docName.FindAllString(string(b), -1) {
			s.shown[strings.TrimPrefix(name, ".")] = true
		}
	}
	return s
}

// exported notes what f exports. Package documentation links the types in the
// signatures and fields that it shows, and shows constants with their type.
func (s *surface) exported(f *ast.File) {
	add := func(name string, comment *ast.CommentGroup, constructor bool) {
		s.names[f.Name.Name+"."+name] = true
		if constructor {
			s.constructors[f.Name.Name+"."+name] = true
		}
		if comment.Text() == "" && !conventional.MatchString("."+path.Base(name)) {
			s.undocumented = append(s.undocumented, f.Name.Name+"."+name)
		}
	}
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if !d.Name.IsExported() {
				continue
			}
			if d.Recv != nil && !ast.IsExported(receiver(d.Recv.List[0].Type)) {
				continue
			}
			s.types(f, d.Type)
			if d.Recv == nil {
				add(d.Name.Name, d.Doc, constructs(d))
			} else {
				add(receiver(d.Recv.List[0].Type)+"."+d.Name.Name, d.Doc, false)
				if strings.Contains(d.Doc.Text(), " implements ") {
					s.shown[f.Name.Name+"."+receiver(d.Recv.List[0].Type)+"."+d.Name.Name] = true
				}
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch x := spec.(type) {
				case *ast.TypeSpec:
					if x.Name.IsExported() {
						add(x.Name.Name, either(x.Doc, d.Doc), false)
						s.types(f, x.Type)
					}
				case *ast.ValueSpec:
					for _, n := range x.Names {
						if n.IsExported() {
							add(n.Name, either(x.Doc, x.Comment, d.Doc), false)
							s.shown[f.Name.Name+"."+n.Name] = s.shown[f.Name.Name+"."+n.Name] || d.Tok == token.CONST
						}
					}
				}
			}
		}
	}
}

// types notes the exported types in a signature or in a type's fields.
func (s *surface) types(f *ast.File, n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id.IsExported() {
			s.shown[f.Name.Name+"."+id.Name] = true
		}
		return true
	})
}

// constructs reports whether a function returns a value that it has made: it is
// called New or Open, or returns an http.Handler.
func constructs(d *ast.FuncDecl) bool {
	name := d.Name.Name
	if strings.HasPrefix(name, "New") && name != "NewContext" || name == "Open" {
		return true
	}
	if d.Type.Results == nil {
		return false
	}
	sel, ok := d.Type.Results.List[0].Type.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Handler"
}

func either(groups ...*ast.CommentGroup) *ast.CommentGroup {
	for _, g := range groups {
		if g.Text() != "" {
			return g
		}
	}
	return nil
}

// links notes the links of f's comments.
func (s *surface) links(f *ast.File) {
	for _, group := range f.Comments {
		for _, m := range docLink.FindAllStringSubmatch(group.Text(), -1) {
			s.shown[m[1]] = true
			s.shown[f.Name.Name+"."+m[1]] = true
		}
	}
}

// examples notes what the Examples of f use.
func (s *surface) examples(f *ast.File) {
	for _, e := range doc.Examples(f) {
		names := selected(e.Code)
		s.show(names)
		if e.Output != "" || e.EmptyOutput {
			for name := range names {
				s.runnable[name] = true
			}
		}
	}
}

func (s *surface) show(names map[string]bool) {
	for name := range names {
		s.shown[name] = true
	}
}

// selected returns the names that n selects: "handlers.Mount", and "Ready" of
// cache.Ready.
func selected(n ast.Node) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(n, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			names[sel.Sel.Name] = true
			if id, ok := sel.X.(*ast.Ident); ok {
				names[id.Name+"."+sel.Sel.Name] = true
			}
		}
		return true
	})
	return names
}

// TestEveryExportedNameIsShown: a reader of the documentation reaches every
// exported name, from an Example, an example program, a link in a comment, or a
// page of docs.
func TestEveryExportedNameIsShown(t *testing.T) {
	s := surfaceOf(t, "../..")
	require.Greater(t, len(s.names), 250)
	for name := range s.names {
		last := name[strings.LastIndex(name, ".")+1:]
		method := strings.Count(name, ".") == 2
		assert.True(t, conventional.MatchString(name) || s.shown[name] || method && (s.shown[last] || s.shown[name[strings.Index(name, ".")+1:]]), "%s: no Example and no link", name)
	}
	assert.Empty(t, s.undocumented, "no doc comment")
}

// TestEveryConstructorHasARunnableExample: the Example is compiled and its
// output compared.
func TestEveryConstructorHasARunnableExample(t *testing.T) {
	s := surfaceOf(t, "../..")
	require.Greater(t, len(s.constructors), 20)
	for name := range s.constructors {
		assert.True(t, s.runnable[name], "%s", name)
	}
}
