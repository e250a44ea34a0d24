package bearerkit_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFidelityNamesTests walks the tables of docs/fidelity.md: every row names a
// test that exists, or says that what it quotes is not ours, and says whether the
// kit does what is written.
func TestFidelityNamesTests(t *testing.T) {
	doc, err := os.ReadFile("docs/fidelity.md")
	require.NoError(t, err)
	name := regexp.MustCompile("`([a-z]+)\\.(Test[A-Za-z0-9_]+)`")
	rows, tests := 0, map[string]bool{}
	for i, line := range strings.Split(string(doc), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || strings.HasPrefix(cells[1], "---") || strings.HasSuffix(cells[1], " says ") || cells[1] == " commission " {
			continue
		}
		rows++
		verdict := cells[len(cells)-2]
		known := len(cells) == 5 || regexp.MustCompile(`exact|differs: .+, because|not ours|silent|not in the document`).MatchString(verdict)
		assert.True(t, known, "line %d: neither exact nor a reason: %s", i+1, verdict)
		found := name.FindAllStringSubmatch(cells[3], -1)
		assert.False(t, len(found) == 0 && !strings.Contains(verdict, "not ours"), "line %d: names no test: %s", i+1, cells[1])
		for _, m := range found {
			tests[m[1]+"."+m[2]] = true
		}
	}
	assert.GreaterOrEqual(t, rows, 80)
	folders := map[string]string{"bearerkit": ".", "gateway": "examples/gateway", "examples": "examples"}
	defined := map[string]string{}
	for test := range tests {
		pkg, fn, _ := strings.Cut(test, ".")
		dir := folders[pkg]
		if dir == "" {
			if dir = pkg; !isDir(dir) {
				dir = "providers/" + pkg
			}
		}
		if _, ok := defined[dir]; !ok {
			defined[dir] = testSources(t, dir)
		}
		assert.True(t, strings.Contains(defined[dir], "\nfunc "+fn+"(t *testing.T)"), "%s is not in %s", fn, dir)
	}
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func testSources(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(dir + "/*_test.go")
	require.NoError(t, err)
	assert.NotEmpty(t, files, "no tests in %s", dir)
	var all strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		all.Write(b)
	}
	return all.String()
}
