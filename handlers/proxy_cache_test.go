package handlers_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/handlers"
)

// The next user of the browser must not be served from its cache, whatever the
// upstream says.
func TestProxiedAnswersAreNotStored(t *testing.T) {
	for name, says := range map[string]http.Header{
		"max-age":       {"Cache-Control": {"public, max-age=600"}},
		"immutable":     {"Cache-Control": {"max-age=31536000, immutable"}},
		"Last-Modified": {"Last-Modified": {"Mon, 01 Jan 2024 00:00:00 GMT"}, "Etag": {`W/"1"`}},
		"Expires":       {"Expires": {"Mon, 01 Jan 2040 00:00:00 GMT"}, "Pragma": {"cache"}},
		"two fields":    {"Cache-Control": {"public", "max-age=600"}},
		"CDNs": {
			"Cache-Control": {"private"}, "Cdn-Cache-Control": {"max-age=600"}, "Surrogate-Control": {"max-age=600"}, "Surrogate-Key": {"a"},
			"Cloudflare-Cdn-Cache-Control": {"max-age=600"}, "Akamai-Cache-Control": {"max-age=600"}, "Edge-Control": {"max-age=600"}, "Cache-Tag": {"a"},
		},
	} {
		for _, status := range []int{200, 203, 206, 301, 304, 404, 410} {
			t.Run(fmt.Sprint(name, "/", status), func(t *testing.T) {
				h := newProxy(t, func(w http.ResponseWriter, _ *http.Request) {
					for k, v := range says {
						w.Header()[k] = v
					}
					w.WriteHeader(status)
				}, nil)
				a := serve(t, h, httptest.NewRequest("GET", "/x", nil))
				assert.Equal(t, status, a.status)
				assert.Equal(t, []string{"private, no-store"}, a.header["Cache-Control"])
				assert.Equal(t, says.Get("Etag"), a.header.Get("Etag"), "conditional updates need it")
				for k := range a.header {
					assert.NotRegexp(t, "(?i)^(expires|pragma|age|edge-control|cache-tag|surrogate-.*|.+-cache-control)$", k)
				}
			})
		}
	}
}

func TestPublicDataIsCachedAsTheUpstreamSays(t *testing.T) {
	var says http.Header
	status := 200
	h := newProxy(t, func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range says {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
	}, func(c *handlers.ProxyConfig) {
		c.Public, c.SetCookies = []string{"/catalogue/", "GET /metadata"}, []string{"lang"}
	})
	for _, c := range []struct {
		name, method, path string
		status             int
		says               http.Header
		want               string
	}{
		{"public", "GET", "/catalogue/a", 200, http.Header{"Cache-Control": {"public, max-age=60"}}, "public, max-age=60"},
		{"head", "HEAD", "/catalogue/a", 200, http.Header{"Cache-Control": {"public, max-age=60"}}, "public, max-age=60"},
		{"not modified", "GET", "/metadata", 304, http.Header{"Cache-Control": {"max-age=60"}}, "max-age=60"},
		{"expires", "GET", "/metadata", 200, http.Header{"Expires": {"Mon, 01 Jan 2040 00:00:00 GMT"}}, ""},
		{"another path", "GET", "/other", 200, http.Header{"Cache-Control": {"public, max-age=60"}}, "private, no-store"},
		{"another method", "POST", "/catalogue/a", 200, http.Header{"Cache-Control": {"public, max-age=60"}}, "private, no-store"},
		{"nothing said", "GET", "/catalogue/a", 200, http.Header{"Last-Modified": {"Mon, 01 Jan 2024 00:00:00 GMT"}}, "private, no-store"},
		{"an error", "GET", "/catalogue/a", 404, http.Header{"Cache-Control": {"public, max-age=60"}}, "private, no-store"},
		{"a cookie", "GET", "/catalogue/a", 200, http.Header{"Cache-Control": {"public, max-age=60"}, "Set-Cookie": {"lang=de"}}, "private, no-store"},
		{"another cookie", "GET", "/catalogue/a", 200, http.Header{"Cache-Control": {"public, max-age=60"}, "Set-Cookie": {"session=1"}}, "public, max-age=60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			says, status = c.says, c.status
			says["Vary"] = []string{"Accept"}
			a := serve(t, h, httptest.NewRequest(c.method, c.path, nil))
			assert.Equal(t, c.want, a.header.Get("Cache-Control"))
			vary := strings.Join(a.header["Vary"], ", ")
			assert.Equal(t, c.want != "private, no-store", vary == "Accept, Authorization, Cookie", vary)
			assert.NotContains(t, fmt.Sprint(a.header), "session=1")
		})
	}
}

func TestProxyLetsNoOrderForOurOriginThrough(t *testing.T) {
	names := []string{
		"Set-Login", "Sec-Session-Registration", "Secure-Session-Registration", "Secure-Session-Challenge", "Timing-Allow-Origin",
		"Cross-Origin-Resource-Policy", "Report-To", "Reporting-Endpoints", "NEL", "Accept-CH", "Critical-CH", "Speculation-Rules", "Origin-Agent-Cluster",
		"Service-Worker-Allowed", "Clear-Site-Data", "Proxy-Authentication-Info", "X-Accel-Redirect", "X-Sendfile", "Observe-Browsing-Topics",
		"Attribution-Reporting-Register-Source", "Access-Control-Allow-Origin", "Refresh",
		"X-LiteSpeed-Tag", "X-LiteSpeed-Purge", "Cache-Groups", "Cache-Group-Invalidation", "Netlify-Cache-Tag", "Netlify-Vary", "Vercel-Cache-Tag",
	}
	h := newProxy(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range names {
			w.Header().Set(name, "upstream")
			w.Header().Set("Trailer", name)
		}
		w.Header().Set("Content-Security-Policy", "kept")
	}, nil)
	a := serve(t, h, httptest.NewRequest("GET", "/x", nil))
	assert.NotContains(t, fmt.Sprint(a.header), "upstream")
	assert.Equal(t, "kept", a.header.Get("Content-Security-Policy"), "a page of the upstream protects itself")
}
