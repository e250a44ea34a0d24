package doctest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFilesAndFunctionsAreShort: a file has at most 500 lines, a function that
// is no test at most 60. No package of the kit has an init function.
func TestFilesAndFunctionsAreShort(t *testing.T) {
	files := 0
	require.NoError(t, filepath.WalkDir("../..", func(file string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "testdata" || name == "node_modules" || name == ".git"):
			return filepath.SkipDir
		case !strings.HasSuffix(name, ".go"):
			return nil
		}
		files++
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, nil, 0)
		if err != nil {
			return err
		}
		assert.LessOrEqual(t, fset.File(f.Pos()).LineCount(), 501, file)
		if strings.HasSuffix(file, "_test.go") {
			return nil
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok {
				lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
				assert.LessOrEqual(t, lines, 60, "%s: %s", file, fn.Name.Name)
				assert.False(t, fn.Recv == nil && fn.Name.Name == "init", "%s: init", file)
			}
		}
		return nil
	}))
	assert.Greater(t, files, 400)
}
