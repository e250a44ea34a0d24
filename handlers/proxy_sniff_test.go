package handlers_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
)

const page = "<html><script>alert(document.domain)</script></html>"

// A browser runs the script of an answer without a type if a server on the way,
// or the browser itself, takes it for HTML. It would run in our origin.
func TestAnAnswerWithoutATypeDoesNotBecomeHTML(t *testing.T) {
	for name, tc := range map[string]struct {
		types []string
		own   string // the upstream's X-Content-Type-Options
	}{
		"an upload that is inert":    {nil, "nosniff"},
		"neither type nor nosniff":   {nil, ""},
		"another word than nosniff":  {nil, "sniff"},
		"a type":                     {[]string{"text/csv"}, ""},
		"a page that says so itself": {[]string{"text/html; charset=utf-8"}, "nosniff"},
	} {
		upstream := func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = tc.types
			if tc.own != "" {
				w.Header().Set("X-Content-Type-Options", tc.own)
			}
			_, _ = io.WriteString(w, page)
		}
		h := newProxy(t, upstream, nil)
		wrapped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html") // an application's default
			h.ServeHTTP(w, r)
		})
		plain := httptest.NewServer(h)
		t.Cleanup(plain.Close)
		typed := httptest.NewServer(wrapped)
		t.Cleanup(typed.Close)
		for _, s := range []*httptest.Server{plain, typed, serveHTTP2(t, h, nil)} {
			res, err := s.Client().Get(s.URL + "/Binary/1")
			require.NoError(t, err)
			a := read(t, res)
			assert.Equal(t, page, a.body, name)
			assert.Equal(t, tc.types, a.header["Content-Type"], name)
			assert.Equal(t, []string{"nosniff"}, a.header["X-Content-Type-Options"], name)
		}
	}
}

func TestAnErrorOfTheProxyKeepsItsType(t *testing.T) {
	h := newProxy(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, page)
	}, func(c *handlers.ProxyConfig) { c.Allow = []string{"GET /api/"} })
	for path, status := range map[string]int{"/api/x": 502, "/other": 404} {
		a := serve(t, h, httptest.NewRequest("GET", path, nil))
		assert.Equal(t, status, a.status)
		assert.Equal(t, []string{"application/problem+json"}, a.header["Content-Type"])
	}
}
