package doctest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	code    = regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`")
)

// anchor is the fragment that a rendered heading has.
func anchor(heading string) string {
	kept := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z', r > 127:
			return r
		}
		return -1
	}, strings.ToLower(heading))
	return strings.Trim(kept, " ")
}

// broken returns the relative links of a Markdown file that lead nowhere.
func broken(t *testing.T, file string) (out []string) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(b), ""), -1) {
		target, fragment, _ := strings.Cut(m[1]+m[2], "#")
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		to := file
		if target != "" {
			to = filepath.Join(filepath.Dir(file), target)
		}
		text, err := os.ReadFile(to)
		if info, statErr := os.Stat(to); statErr != nil || err != nil && !info.IsDir() {
			out = append(out, m[1]+m[2])
			continue
		}
		found := fragment == ""
		for _, h := range heading.FindAllStringSubmatch(string(text), -1) {
			found = found || anchor(h[1]) == fragment
		}
		if !found {
			out = append(out, m[1]+m[2])
		}
	}
	return out
}

func TestEveryRelativeLinkResolves(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "ls-files", "--cached", "--others", "--exclude-standard", "*.md").Output()
	require.NoError(t, err)
	files := strings.Fields(string(out))
	require.GreaterOrEqual(t, len(files), 10)
	for _, file := range files {
		if strings.Contains(file, "node_modules") {
			continue
		}
		require.Empty(t, broken(t, filepath.Join("../..", file)), file)
	}
}

func TestABrokenLinkIsFound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(file, []byte("# A page\n[a](page.md#a-page) [b](none.md) [c](#none) [d](https://example.com/none) `[e](none)`\n"), 0o600))
	require.Equal(t, []string{"none.md", "#none"}, broken(t, file))
}

// TestAPageIsShortEnough keeps a page within what is read at one sitting.
func TestAPageIsShortEnough(t *testing.T) {
	for _, file := range pages(t) {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		limit := 200
		if filepath.Base(file) == "README.md" {
			limit = 120
		}
		require.LessOrEqual(t, strings.Count(string(b), "\n"), limit, file)
	}
}
