package interop_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/oauth2bridge"
)

// hosts redirects "/to/URL" to URL, and counts the requests that carried a
// token to another origin than https://a.test.
type hosts struct{ leaks int }

func (h *hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	if r.URL.Scheme+"://"+r.URL.Host != "https://a.test" && r.Header.Get("Authorization") != "" {
		h.leaks++
	}
	rec := httptest.NewRecorder()
	if to, ok := strings.CutPrefix(r.URL.Path, "/to/"); ok {
		rec.Header().Set("Location", to)
		rec.WriteHeader(http.StatusTemporaryRedirect)
	}
	res := rec.Result()
	res.Request = r
	return res, nil
}

// Of the graphs that package middleware tests, these make x/oauth2's Transport
// leak (golang/oauth2#805), which shows that the test can fail.
func TestRedirectsLeakFromOAuth2Only(t *testing.T) {
	cache, err := tokencache.New(counted(&calls{lifetime: time.Hour}), tokencache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close(t.Context())
	source := cache.Source(providers.Request{})
	for _, path := range []string{
		"/to/https://b.test/x",
		"/to/https://a.test.evil.test/",
		"/to/https://a.test:8443/x",
		"/to/http://a.test/x",
		"/to/https://b.test/to/https://a.test/x",
	} {
		visit := func(rt func(http.RoundTripper) http.RoundTripper) int {
			web := &hosts{}
			res, err := (&http.Client{Transport: rt(web)}).Post("https://a.test"+path, "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			return web.leaks
		}
		ours := visit(func(base http.RoundTripper) http.RoundTripper {
			return &middleware.Transport{Source: middleware.Fixed(source), Base: base}
		})
		theirs := visit(func(base http.RoundTripper) http.RoundTripper {
			return &oauth2.Transport{Source: oauth2bridge.TokenSource(t.Context(), source), Base: base}
		})
		t.Logf("%-45s tokens leaked: bearerkit %d, x/oauth2 %d", path, ours, theirs)
		if ours != 0 || theirs == 0 {
			t.Errorf("%s: bearerkit leaked %d, x/oauth2 %d", path, ours, theirs)
		}
	}
}
