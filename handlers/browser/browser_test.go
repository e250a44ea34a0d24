package browser_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers/browser"
)

func get(method, etag string) *http.Response {
	r := httptest.NewRequest(method, "/bearerkit.mjs", nil)
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	w := httptest.NewRecorder()
	browser.Script().ServeHTTP(w, r)
	return w.Result()
}

func TestScript(t *testing.T) {
	res := get("GET", "")
	assert.Equal(t, 200, res.StatusCode)
	assert.Equal(t, "text/javascript; charset=utf-8", res.Header.Get("Content-Type"))
	assert.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
	assert.Equal(t, "public, max-age=300", res.Header.Get("Cache-Control"))
	assert.Equal(t, 304, get("GET", res.Header.Get("Etag")).StatusCode)
	assert.Equal(t, 200, get("HEAD", "").StatusCode)

	res = get("POST", "")
	assert.Equal(t, 405, res.StatusCode)
	assert.Equal(t, "GET, HEAD", res.Header.Get("Allow"))
	assert.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
}

func TestTheModuleIsSmallAndAlone(t *testing.T) {
	source, err := os.ReadFile("client.mjs")
	require.NoError(t, err)
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	require.NoError(t, err)
	_, _ = w.Write(source)
	require.NoError(t, w.Close())
	assert.LessOrEqual(t, packed.Len(), 4096)
	for _, word := range []string{"import ", "require(", "localStorage", "sessionStorage", "document.", "indexedDB", "eval(", "console."} {
		assert.NotContains(t, string(source), word)
	}
}

// The module's own tests are JavaScript.
func TestInNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		require.False(t, os.Getenv("CI") == "true", "node is not installed: the browser module would go untested")
		t.Skip("node is not installed")
	}
	out, err := exec.CommandContext(t.Context(), node, "--test", "client.test.mjs").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.False(t, strings.Contains(string(out), "# tests 0"), "%s", out)
}

// What the editors and compilers of those who use the module read.
func TestTypes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	tsc := "testdata/types/node_modules/.bin/tsc"
	if _, err := os.Stat(tsc); err != nil {
		require.False(t, os.Getenv("CI") == "true", "TypeScript is not installed: npm ci in testdata/types")
		t.Skip("TypeScript is not installed: npm ci in testdata/types")
	}
	out, err := exec.CommandContext(t.Context(), tsc, "-p", "testdata/types").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func ExampleScript() {
	mux := http.NewServeMux()
	mux.Handle("/bearerkit.mjs", browser.Script())

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/bearerkit.mjs", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	fmt.Println(strings.Contains(w.Body.String(), "export function createClient"))
	// Output:
	// 200 text/javascript; charset=utf-8
	// true
}
