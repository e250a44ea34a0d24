package doctest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConsumersBuildWithTheDocumentedLines makes modules outside the repository,
// with the replace lines of CONTRIBUTING.md.
func TestConsumersBuildWithTheDocumentedLines(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	page, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	require.NoError(t, err)
	documented := regexp.MustCompile(`(?m)^    (replace (\S+?) => )\.\./bearerkit(\S*)$`).FindAllStringSubmatch(string(page), -1)
	require.Len(t, documented, 2)
	require.Equal(t, strings.TrimSuffix(kit, "/"), documented[0][2])
	require.Equal(t, documented[0][2]+documented[1][3], documented[1][2], "a nested module has the name of its directory")

	nested := []string{"middleware/grpc", "middleware/otel", "tokencache/oauth2bridge", "tokencache/otel", "tokencache/redisstore", "tokencache/sqlstore"}
	tags := regexp.MustCompile("(?s)Tags of a release:.*?not for import").FindString(string(page))
	for _, dir := range nested {
		require.Contains(t, tags, dir, "its tag is listed")
	}
	roots := []string{"handlers", "handlers/browser", "middleware", "providers/oauth", "tokencache"}

	t.Run("the root alone", func(t *testing.T) {
		list := consume(t, documented[0][1]+root+"\n", roots)
		got := regexp.MustCompile(`( v0\.0\.0\S*)? => .*`).ReplaceAllString(list, "")
		want := regexp.MustCompile(`(?m)(^    \S+( v\S+)?\n)+`).FindAllString(string(page[strings.Index(string(page), "lines of `go list -m all`"):]), 1)
		require.Len(t, want, 1)
		require.Equal(t, strings.ReplaceAll(want[0], "    ", ""), got)
	})
	t.Run("all modules", func(t *testing.T) {
		lines, all := documented[0][1]+root+"\n", roots
		for _, dir := range nested {
			lines += fmt.Sprintf("replace %s%s => %s\n", kit, dir, filepath.Join(root, dir))
			all = append(all, dir)
		}
		consume(t, lines, all)
	})
}

// consume builds a module that imports packages of the kit, and lists its modules.
func consume(t *testing.T, replace string, packages []string) (modules string) {
	t.Helper()
	dir := t.TempDir()
	imports := ""
	for _, p := range packages {
		imports += fmt.Sprintf("import _ %q\n", kit+p)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\n"+imports+"\nfunc main() {}\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/consumer\n\ngo 1.25\n\n"+replace), 0o600))
	for _, args := range [][]string{{"mod", "tidy"}, {"build", "-o", os.DevNull, "."}, {"list", "-m", "all"}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "go %v: %s", args, stderr.String())
		modules = string(out)
	}
	return modules
}
