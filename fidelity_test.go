package bearerkit_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFidelityNamesTests walks the tables of docs/fidelity.md: every row names a
// test that exists, or says that what it quotes is not ours, and says whether the
// kit does what is written.
func TestFidelityNamesTests(t *testing.T) {
	doc, err := os.ReadFile("docs/fidelity.md")
	if err != nil {
		t.Fatal(err)
	}
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
		if !known {
			t.Errorf("line %d: neither exact nor a reason: %s", i+1, verdict)
		}
		found := name.FindAllStringSubmatch(cells[3], -1)
		if len(found) == 0 && !strings.Contains(verdict, "not ours") {
			t.Errorf("line %d: names no test: %s", i+1, cells[1])
		}
		for _, m := range found {
			tests[m[1]+"."+m[2]] = true
		}
	}
	if rows < 80 {
		t.Errorf("only %d rows", rows)
	}
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
		if !strings.Contains(defined[dir], "\nfunc "+fn+"(t *testing.T)") {
			t.Errorf("%s is not in %s", fn, dir)
		}
	}
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func testSources(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(dir + "/*_test.go")
	if err != nil || len(files) == 0 {
		t.Errorf("no tests in %s: %v", dir, err)
	}
	var all strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}
