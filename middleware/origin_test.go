package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// web is a RoundTripper over a few hosts in memory: a path like
// "/307/http://other.test/x" redirects there, "/401" refuses, others answer
// 200. It keeps which URLs saw a token.
type web struct {
	mu   sync.Mutex
	seen []string // URLs in order, those with a token marked "*"
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	mark := ""
	for _, vs := range r.Header {
		if strings.Contains(strings.Join(vs, ","), "token-") {
			mark = "*"
		}
	}
	w.mu.Lock()
	w.seen = append(w.seen, mark+r.URL.Scheme+"://"+r.URL.Host)
	w.mu.Unlock()
	rec := httptest.NewRecorder()
	if status, to, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); ok && len(status) == 3 {
		rec.Header().Set("Location", to)
		rec.WriteHeader(map[string]int{"302": 302, "307": 307}[status])
	} else if r.URL.Path == "/401" {
		rec.WriteHeader(401)
	} else {
		_, _ = rec.Write(body)
	}
	return rec.Result(), nil
}

// TC-10, invariant 12: no token leaves its origin over any redirect graph. The
// nested module internal/interop runs the same graphs through
// golang.org/x/oauth2's Transport, which leaks.
func TestTransportRedirectGraphs(t *testing.T) {
	const a, b = "https://a.test", "https://b.test"
	cases := []struct {
		name, path string
		origins    []string
		want       string
	}{
		{"same host", "/307/" + a + "/x", nil, "*https://a.test *https://a.test"},
		{"same host, default port spelt out", "/307/https://A.test:443/x", nil, "*https://a.test *https://A.test:443"},
		{"other host", "/307/" + b + "/x", nil, "*https://a.test https://b.test"},
		{"other port", "/307/" + a + ":8443/x", nil, "*https://a.test https://a.test:8443"},
		{"scheme-relative", "/302///b.test/x", nil, "*https://a.test https://b.test"},
		{"downgrade", "/307/http://a.test/x", nil, "*https://a.test http://a.test"},
		{"subdomain", "/307/https://x.a.test/", nil, "*https://a.test https://x.a.test"},
		{"suffix", "/307/https://a.test.evil.test/", nil, "*https://a.test https://a.test.evil.test"},
		{"away and back", "/307/" + b + "/307/" + a + "/x", nil, "*https://a.test https://b.test https://a.test"},
		{"away, back, on", "/307/" + b + "/307/" + a + "/307/" + a + "/x", nil, "*https://a.test https://b.test https://a.test https://a.test"},
		{"401 elsewhere renews nothing", "/307/" + b + "/401", nil, "*https://a.test https://b.test"},
		{"listed", "/307/" + b + "/x", []string{a, b + ":443/"}, "*https://a.test *https://b.test"},
		{"listed, away and back", "/307/https://c.test/307/" + a + "/x", []string{a, b}, "*https://a.test https://c.test https://a.test"},
		{"not listed", "/x", []string{b}, "https://a.test"},
		{"not listed, then listed", "/307/" + b + "/x", []string{b}, "https://a.test https://b.test"},
	}
	for _, attach := range []string{"Authorization", "X-Api-Key"} {
		for _, c := range cases {
			t.Run(attach+"/"+c.name, func(t *testing.T) {
				w := &web{}
				src := newGrantSource()
				client := http.Client{Transport: &middleware.Transport{
					Source: middleware.Fixed(src), Base: w, Origins: c.origins,
					Attach: func(r *http.Request, tok providers.Token) { r.Header.Set(attach, tok.AccessToken) },
				}}
				res, err := client.Post(a+c.path, "text/plain", strings.NewReader("body"))
				require.NoError(t, err)
				_ = res.Body.Close()
				require.Equal(t, c.want, strings.Join(w.seen, " "))
				require.Zero(t, src.renews)
			})
		}
	}
}

// A 401 in the middle of a redirect chain is renewed and replayed there.
func TestTransportRenewsBehindARedirect(t *testing.T) {
	w := &web{}
	src := newGrantSource()
	client := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(src), Base: w}}
	res, err := client.Post("https://a.test/307/https://a.test/401", "text/plain", strings.NewReader("body"))
	require.NoError(t, err)
	require.Equal(t, 401, res.StatusCode)
	require.Equal(t, "*https://a.test *https://a.test *https://a.test", strings.Join(w.seen, " "))
	require.Equal(t, 1, src.renews)
}
