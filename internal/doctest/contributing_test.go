package doctest_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var mapped = regexp.MustCompile(`[A-Za-z0-9_*./-]+`)

// missing returns the paths of a row of CONTRIBUTING's map that do not exist. A
// name without a folder is in the folder of the path before it, and "…*.go"
// stands for at least one file. VENDOR and doc.go stand for several packages.
func missing(root, cell string) (out []string) {
	folder := ""
	for _, part := range strings.FieldsFunc(cell, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == '(' || r == ')' }) {
		p := strings.TrimRight(mapped.FindString(part), ".")
		if p == "doc.go" || !strings.ContainsAny(p, "/.*") && p != "docs" || strings.Contains(p, "VENDOR") {
			continue
		}
		found := false
		for _, candidate := range []string{p, path.Join(folder, p)} {
			m, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(candidate)))
			if err == nil && len(m) > 0 {
				p, found = candidate, true
				break
			}
		}
		if !found {
			out = append(out, p)
			continue
		}
		folder = p
		if strings.Contains(path.Base(p), ".") {
			folder = path.Dir(p)
		}
	}
	return out
}

// TestTheMapOfContributingIsTrue: "to change X, start at Y", and Y exists.
func TestTheMapOfContributingIsTrue(t *testing.T) {
	b, err := os.ReadFile("../../CONTRIBUTING.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(b), "| to change | start at |")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || strings.HasPrefix(cells[1], "---") {
			continue
		}
		rows++
		assert.Empty(t, missing("../..", cells[2]), "%s", line)
	}
	assert.Greater(t, rows, 25)
}

func TestAPathThatIsNotThereIsFound(t *testing.T) {
	assert.Empty(t, missing("../..", "providers/provider.go, key.go; middleware/transport*.go (bodies)"))
	assert.Equal(t, []string{"none.go", "nowhere/at-all"}, missing("../..", "providers/provider.go, none.go, nowhere/at-all"))
}

// TestEveryTargetOfMakePrintsItself: make without a target prints what there is.
func TestEveryTargetOfMakePrintsItself(t *testing.T) {
	b, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	targets := regexp.MustCompile(`(?m)^([a-z]+):(.*)$`).FindAllSubmatch(b, -1)
	require.Greater(t, len(targets), 5)
	for _, m := range targets {
		assert.Contains(t, string(m[2]), " ## ", "%s", m[1])
		assert.Regexp(t, `(?m)^\.PHONY:.* `+string(m[1])+`( |$)`, string(b))
	}
}
