package doctest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// functions returns the names of all tests, fuzz targets and benchmarks of the
// repository, one a line.
func functions(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)`)
	require.NoError(t, filepath.WalkDir("../..", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == "node_modules" {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(file)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			b.WriteString("\n" + string(m[1]))
		}
		return err
	}))
	return b.String()
}

// TestEveryTestThatIsNamedExists: a claim's test is there, or some with that prefix are.
func TestEveryTestThatIsNamedExists(t *testing.T) {
	all := functions(t)
	named := regexp.MustCompile(`\b(Test|Fuzz|Benchmark)[A-Z]\w*`)
	for _, file := range pages(t) {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, name := range named.FindAllString(fence.ReplaceAllString(string(b), ""), -1) {
			require.True(t, strings.Contains(all, "\n"+name), "%s names %s", file, name)
		}
	}
}

// TestTroubleshootingHasEveryRefusal compares the page with the refusals' own
// texts, and with the codes of the endpoints.
func TestTroubleshootingHasEveryRefusal(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	require.NoError(t, err)
	has := func(text string) {
		require.True(t, strings.Contains(string(page), text), "docs/troubleshooting.md does not have %s", text)
	}
	refusals, err := os.ReadFile("../../middleware/error.go")
	require.NoError(t, err)
	rows := regexp.MustCompile(`Reason: "(\w+)", Description: (?:"([^"]+)"|notValid)`).FindAllSubmatch(refusals, -1)
	require.Greater(t, len(rows), 20)
	for _, row := range rows {
		has("`" + string(row[1]) + "`")
		has(string(row[2]))
	}
	codes, err := os.ReadFile("../../providers/error.go")
	require.NoError(t, err)
	upstream := regexp.MustCompile(`Code = "(upstream_\w+|grant_required|refresh_rejected|not_signed_in|identity_mismatch)"`).FindAllSubmatch(codes, -1)
	require.Greater(t, len(upstream), 8)
	for _, code := range upstream {
		has("`" + string(code[1]) + "`")
	}
}
