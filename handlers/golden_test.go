package handlers_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
)

var update = flag.Bool("update", false, "write the golden responses anew")

// The requests in testdata/golden are what the vendors' documented frontends
// send; each NAME.request has its NAME.response.
func TestDocumentedCalls(t *testing.T) {
	base, upstream := upstreamServer(t)
	upstream.set(documentedUpstream)
	mux := http.NewServeMux()
	v := vendors(t, base)
	mount := func(path, vendor string, build func(handlers.Config) (http.Handler, error)) {
		h, err := build(v[vendor].config())
		mux.Handle(path, must(t, h, err))
	}
	mount("/api/consent/token", "redacto", handlers.Generate)
	mount("/api/consent/refresh-token", "redacto", handlers.Refresh)
	mount("/generate-token", "contactsmanager", handlers.Generate)
	mount("/generate", "kudo", handlers.Generate)
	mount("/verify", "kudo", handlers.Verify)

	requests, err := filepath.Glob("testdata/golden/*.request")
	require.NoError(t, err)
	require.NotEmpty(t, requests)
	for _, file := range requests {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".request"), func(t *testing.T) {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, readRequest(t, file))
			got := dump(t, w.Result())
			golden := strings.TrimSuffix(file, ".request") + ".response"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
			for _, secret := range planted {
				assert.NotContains(t, got, secret)
			}
		})
	}
}

// documentedUpstream answers what the vendors' pages show, to callers with
// their keys.
func documentedUpstream(w http.ResponseWriter, r *http.Request) {
	const pair = `{"detail":{"token":"eyJhbGciOiJIUzI1NiIs...","refresh_token":"eyJhbGciOiJIUzI1NiIs...refresh","expires_at":"2024-01-16T10:30:00Z"}}`
	const consent = "/consent/public/organisations/" + org + "/workspaces/" + workspace + "/tokens/"
	switch {
	case r.URL.Path == consent+"generate" && r.Header.Get("X-CMS-API-Key") == cmsKey,
		r.URL.Path == consent+"refresh" && r.Header.Get("X-CMS-API-Key") == cmsKey:
		reply(200, pair)(w, r)
	case r.URL.Path == "/generate" && r.Header.Get("X-Api-Key") == kudoKey:
		reply(200, `{"token":"bbf18f21-3d0d-4a4c-b650-9c14d4075ce0","expiration_time":1595917409}`)(w, r)
	case r.URL.Path == "/verify" && r.Header.Get("X-Api-Token") == "bbf18f21-3d0d-4a4c-b650-9c14d4075ce0":
		reply(200, `{"auth":"`+kudoAuth+`","file":"filePath","userId":"userId","server":"`+kudoServer+`","param":"value"}`)(w, r)
	default:
		reply(403, "{ Wrong token }")(w, r)
	}
}

func readRequest(t *testing.T, file string) *http.Request {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	head, body, _ := bytes.Cut(raw, []byte("\n\n"))
	r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(bytes.NewReader(head), strings.NewReader("\n\n"))))
	require.NoError(t, err)
	body = bytes.TrimSpace(body)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return r
}

var signed = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)

// dump writes an answer with its header sorted and, in place of a token signed
// just now, a word.
func dump(t *testing.T, res *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	text := signed.ReplaceAllString(string(body), "<signed>")
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\n", res.StatusCode, http.StatusText(res.StatusCode))
	for _, name := range slices.Sorted(maps.Keys(res.Header)) {
		if name == "Content-Length" {
			assert.Equal(t, fmt.Sprint(len(body)), res.Header.Get(name))
			continue
		}
		for _, value := range res.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	return b.String() + "\n" + text + "\n"
}
