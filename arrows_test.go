package bearerkit_test

import (
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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/bearerkit/bearerkit/"

// TestTopLevel pins the folders and files of the repository's root: those that
// were commissioned, and those that Go projects have beside them.
func TestTopLevel(t *testing.T) {
	commissioned := []string{"middleware", "handlers", "tokencache", "providers", "examples", "go.mod", "go.sum", "README.md", "LICENSE"}
	usual := []string{"internal", "docs", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "staticcheck.conf"}
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		hidden, test := strings.HasPrefix(e.Name(), "."), strings.HasSuffix(e.Name(), "_test.go") || strings.HasSuffix(e.Name(), ".test")
		assert.True(t, hidden || test || slices.Contains(commissioned, e.Name()) || slices.Contains(usual, e.Name()), e.Name())
	}
	assert.Subset(t, names, commissioned)
}

// TestArrows pins which package may import which: providers imports the standard
// library only; handlers, middleware and tokencache never import each other; the
// vendors import none of the three; internal packages import nothing above
// providers.
func TestArrows(t *testing.T) {
	kit := []string{"handlers", "middleware", "tokencache"}
	seen := map[string]bool{}
	require.NoError(t, filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
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
			imported, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			ours, isOurs := strings.CutPrefix(imported, module)
			to, _, _ := strings.Cut(ours, "/")
			external := !isOurs && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".")
			assert.False(t, pkg == "providers" && (isOurs || external), "%s: the contract imports %s", file, imported)
			assert.False(t, isOurs && slices.Contains(kit, to) && to != top, "%s: %s imports %s", file, top, to)
			assert.False(t, isOurs && top == "internal" && to != "internal" && ours != "providers", "%s: an internal package imports %s", file, imported)
		}
		return nil
	}))
	for _, p := range append(kit, "providers", "internal") {
		assert.True(t, seen[p], "package %s was not looked at", p)
	}
}

// nested reports whether dir is a separate module.
func nested(dir string) bool {
	m, _ := filepath.Glob(filepath.Join(dir, "go.mod"))
	return dir != "." && len(m) > 0
}
