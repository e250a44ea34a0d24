package bearerkit_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestInvariantsAndThreatsNameTests walks the tables of docs/invariants.md and
// docs/threats.md: every row names tests, and each of the tests exists.
func TestInvariantsAndThreatsNameTests(t *testing.T) {
	name := regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9_]+)`")
	sources := map[string]string{}
	for file, rows := range map[string]int{"docs/invariants.md": 20, "docs/threats.md": 30} {
		doc, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(doc)) {
			if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|--") || strings.Contains(line, "| tests |") {
				continue
			}
			rows--
			found := name.FindAllStringSubmatch(line, -1)
			assert.NotEmpty(t, found, "%s: a row without a test: %s", file, line)
			for _, m := range found {
				if _, ok := sources[m[1]]; !ok {
					sources[m[1]] = testSources(t, m[1])
				}
				assert.True(t, strings.Contains(sources[m[1]], "\nfunc "+m[2]+"(t *testing.T)"), "%s: %s.%s", file, m[1], m[2])
			}
		}
		assert.LessOrEqual(t, rows, 0, "%s has lost rows", file)
	}
}
