package bearerkit_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestArrows pins who may import whom: providers nothing but the standard
// library; handlers, middleware and tokencache never each other; the vendors
// none of the three; internal packages nothing above providers.
func TestArrows(t *testing.T) {
	const module = "github.com/bearerkit/bearerkit/"
	kit := []string{"handlers", "middleware", "tokencache"}
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "examples" || d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && file != "."),
			d.IsDir() && nested(file):
			return filepath.SkipDir
		case !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(file))
		top, _, _ := strings.Cut(pkg, "/")
		seen[top] = true
		for _, spec := range f.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			ours, isOurs := strings.CutPrefix(imported, module)
			to, _, _ := strings.Cut(ours, "/")
			external := !isOurs && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".")
			switch {
			case pkg == "providers" && (isOurs || external):
				t.Errorf("%s: the contract imports %s", file, imported)
			case isOurs && slices.Contains(kit, to) && to != top:
				t.Errorf("%s: %s imports %s", file, top, to)
			case isOurs && top == "internal" && to != "internal" && ours != "providers":
				t.Errorf("%s: an internal package imports %s", file, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(kit, "providers", "internal") {
		if !seen[p] {
			t.Errorf("package %s was not looked at", p)
		}
	}
}

// nested reports that dir is a module of its own.
func nested(dir string) bool {
	m, _ := filepath.Glob(filepath.Join(dir, "go.mod"))
	return dir != "." && len(m) > 0
}
