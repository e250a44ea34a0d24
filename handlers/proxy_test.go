package handlers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

// attach is a transport that attaches a token, as middleware.Transport does.
type attach struct{ base http.RoundTripper }

func (a attach) RoundTrip(r *http.Request) (*http.Response, error) {
	clone := r.Clone(r.Context())
	clone.Header.Set("Authorization", "Bearer ours")
	return a.base.RoundTrip(clone)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func proxyConfig(target string) handlers.ProxyConfig {
	return handlers.ProxyConfig{
		Target: target, Transport: attach{http.DefaultTransport}, Allow: []string{"/"},
		Authorize: handlers.DangerouslyAllowAnyCaller,
	}
}

// newProxy is a proxy before upstream.
func newProxy(t testing.TB, upstream http.HandlerFunc, change func(*handlers.ProxyConfig)) http.Handler {
	t.Helper()
	s := httptest.NewServer(upstream)
	t.Cleanup(s.Close)
	c := proxyConfig(s.URL)
	if change != nil {
		change(&c)
	}
	h, err := handlers.Proxy(c)
	return must(t, h, err)
}

func TestProxyForwards(t *testing.T) {
	var got *http.Request
	var body []byte
	h := newProxy(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-Kept", "yes")
		w.WriteHeader(201)
		_, _ = io.WriteString(w, "made")
	}, func(c *handlers.ProxyConfig) {
		c.Target += "/base/"
		c.Header = http.Header{"redox-source-id": {"source-7"}}
	})
	r := httptest.NewRequest("PATCH", "/fhir/R4/a%20b;v=1/_search?x=1&y=a%2Fb", strings.NewReader("payload"))
	r.Header.Set("X-Mine", "kept")
	a := serve(t, h, r)
	assert.Equal(t, 201, a.status)
	assert.Equal(t, "made", a.body)
	assert.Equal(t, "yes", a.header.Get("X-Kept"))
	assert.Equal(t, "private, no-store", a.header.Get("Cache-Control"), "fetched with somebody's token")
	assert.Equal(t, "PATCH", got.Method)
	assert.Equal(t, "/base/fhir/R4/a%20b;v=1/_search?x=1&y=a%2Fb", got.RequestURI)
	assert.Equal(t, "payload", string(body))
	assert.Equal(t, "kept", got.Header.Get("X-Mine"))
	assert.Equal(t, "Bearer ours", got.Header.Get("Authorization"))
	assert.Equal(t, "source-7", got.Header.Get("Redox-Source-Id"))
	assert.NotEqual(t, "example.com", got.Host)
}

func TestProxyRemovesWhatCallersSend(t *testing.T) {
	var got http.Header
	h := newProxy(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header }, func(c *handlers.ProxyConfig) {
		c.Header = http.Header{"Redox-Source-Id": {"ours"}, "X-Cms-Api-Key": nil}
	})
	r := httptest.NewRequest("GET", "/x", nil)
	for _, name := range []string{
		"Authorization", "authorization", "AUTHORIZATION", "Proxy-Authorization", "Cookie", "cookie", "COOKIE", "Cookie2",
		"Forwarded", "X-Forwarded-For", "X_Forwarded_For", "x-forwarded-user", "X-Forwarded_Access-Token", "X-Real-Ip", "True-Client-IP",
		"redox_source_id", "Redox_Source-Id", "REDOX-SOURCE-ID", "redox.source.id", "X_CMS_API_KEY", "x-cms-api-key",
		"X-Original-URL", "x_rewrite_url", "X-HTTP-Method-Override", "X-Method-Override",
		"Keep-Alive", "Te", "Trailer", "X-Secret-Hop", "Proxy-Connection",
	} {
		r.Header[name] = []string{"theirs"}
	}
	r.Header["Connection"] = []string{"close, x-secret-hop, X-Kept-Not"}
	r.Header["X-Kept-Not"] = []string{"theirs"}
	r.Header["X-Kept"] = []string{"kept"}
	require.Equal(t, 200, serve(t, h, r).status)
	assert.Equal(t, []string{"kept"}, got["X-Kept"])
	assert.Equal(t, []string{"ours"}, got["Redox-Source-Id"])
	assert.Equal(t, []string{"Bearer ours"}, got["Authorization"])
	assert.NotContains(t, fmt.Sprint(got), "theirs")
}

func TestProxyCleansAnswers(t *testing.T) {
	h := newProxy(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range []string{
			"Server", "WWW-Authenticate", "Alt-Svc", "Clear-Site-Data", "Strict-Transport-Security", "Set-Cookie2",
			"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Proxy-Authenticate", "Keep-Alive",
		} {
			w.Header().Set(name, "upstream")
		}
		w.Header()["Set-Cookie"] = []string{"session=upstream", "lang=en; Path=/", "langu=upstream", "=upstream", "upstream"}
		w.Header().Set("Cache-Control", "public, max-age=60")
	}, func(c *handlers.ProxyConfig) { c.SetCookies = []string{"lang"} })
	a := serve(t, h, httptest.NewRequest("GET", "/x", nil))
	assert.NotContains(t, fmt.Sprint(a.header), "upstream")
	assert.Equal(t, []string{"lang=en; Path=/"}, a.header["Set-Cookie"])
	assert.Equal(t, "private, no-store", a.header.Get("Cache-Control"), "with a cookie in it")
}

func TestProxyPaths(t *testing.T) {
	reached := ""
	h := newProxy(t, func(_ http.ResponseWriter, r *http.Request) { reached = r.RequestURI }, func(c *handlers.ProxyConfig) {
		c.Allow = []string{"/fhir/", "POST /endpoint"}
	})
	call := func(method, path string) answer {
		reached = ""
		r := httptest.NewRequest(method, "/", nil)
		if u, err := url.ParseRequestURI(path); err == nil { // as net/http does
			r.URL = u
		} else {
			r.URL = &url.URL{Path: path}
		}
		return serve(t, h, r)
	}
	for _, good := range []string{"/fhir/", "/fhir/R4/Patient", "/fhir/a.b/..c/c..", "/fhir/a%20b", "/fhir/x;y", "/fhir/%C3%A9", "/fhir/a:b@c", "/fhir/%3F%23"} {
		a := call("GET", good)
		assert.Equal(t, 200, a.status, good)
		assert.Equal(t, good, reached)
	}
	for _, bad := range []string{
		"/", "/fhir", "/other", "/fhirx/a", "/endpoint/more",
		"/fhir/..", "/fhir/../endpoint", "/fhir/./a", "/fhir/.", "/..", "/fhir/..;/a", "/fhir/..;x=1/a", "/fhir/.;/a",
		"/fhir/%2e%2e/a", "/fhir/%2E%2e/a", "/fhir/.%2e/a", "/fhir/a%2eb",
		"/fhir/%2fa", "/fhir/a%2Fb", "/fhir/..%2f..%2fadmin", "/fhir/%5c..%5ca", `/fhir/a\b`, `/fhir/..\a`,
		"//fhir/a", "/fhir//a", "/fhir/a//", "/fhir/a%00", "/fhir/a\x00", "/fhir/%0d%0aX:y", "/fhir/%7f", "/fhir/%252e%252e/a", "/fhir/a%25",
		"", "*", "fhir/a",
	} {
		a := call("GET", bad)
		assert.Equal(t, 404, a.status, bad)
		assert.Equal(t, "not_found", a.json["code"], bad)
		assert.Empty(t, reached, bad)
	}
	assert.Equal(t, 200, call("POST", "/endpoint").status)
	assert.NotContains(t, call("GET", "/other").header, "Allow")
	for _, method := range []string{"TRACE", "TRACK", "CONNECT"} {
		a := call(method, "/fhir/x") // an echo would show our token
		assert.Equal(t, 405, a.status, method)
		assert.Contains(t, a.header.Get("Allow"), "GET", method)
		assert.Empty(t, reached, method)
	}
	a := call("GET", "/endpoint")
	assert.Equal(t, 405, a.status)
	assert.Equal(t, "POST", a.header.Get("Allow"))
}

func TestProxyErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		trip   roundTrip
		status int
		code   string
	}{
		{"refused token", func(r *http.Request) (*http.Response, error) { return respond(r, 401, "planted upstream text"), nil }, 502, "upstream_rejected_token"},
		{"no token to be had", func(*http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("source: %w", &providers.Error{Code: providers.CodeBusy, Err: errors.New("planted")})
		}, 503, "upstream_busy"},
		{"nobody to get one for", func(*http.Request) (*http.Response, error) {
			return nil, &providers.Error{Code: providers.CodeRefreshRejected}
		}, 401, "refresh_rejected"},
		{"unreachable", func(*http.Request) (*http.Response, error) { return nil, errors.New("dial planted.internal: refused") }, 502, "upstream_unreachable"},
		{"too slow", func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded }, 504, "upstream_timeout"},
		{"a wrapper's bound", func(*http.Request) (*http.Response, error) { return nil, &http.MaxBytesError{Limit: 1} }, 413, "body_too_large"},
		{"forbidden is the caller's affair", func(r *http.Request) (*http.Response, error) { return respond(r, 403, "no"), nil }, 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			conf := proxyConfig("https://api.example.com")
			conf.Transport, conf.Logger = c.trip, logTo(&log)
			h, err := handlers.Proxy(conf)
			a := serve(t, must(t, h, err), httptest.NewRequest("GET", "/x", nil))
			assert.Equal(t, c.status, a.status)
			assert.NotContains(t, a.body, "planted")
			if c.code != "" {
				assert.Equal(t, c.code, a.json["code"])
				assert.Contains(t, log.String(), "handlers: proxy")
				assertHardened(t, a.header)
			}
			assert.Equal(t, c.status == 401, a.header.Get("WWW-Authenticate") == "Bearer")
		})
	}
}

func respond(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Www-Authenticate": {`Bearer realm="upstream"`}}, Request: r,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

func TestProxyToAClientThatHasGone(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := proxyConfig("https://api.example.com")
	c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		cancel()
		return nil, r.Context().Err()
	})
	h, err := handlers.Proxy(c)
	w := &strictWriter{header: http.Header{}}
	must(t, h, err)
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { h.ServeHTTP(w, httptest.NewRequest("GET", "/x", nil).WithContext(ctx)) })
	assert.Zero(t, w.writes)
}

func TestProxyAsksWhoCalls(t *testing.T) {
	h := newProxy(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the upstream") }, func(c *handlers.ProxyConfig) {
		c.Authorize = handlers.SubjectFrom(subject) // and nobody mounted the middleware
	})
	a := serve(t, h, httptest.NewRequest("GET", "/x", nil))
	assert.Equal(t, 401, a.status)
	assert.Equal(t, "not_signed_in", a.json["code"])
}

// A header that net/http would not send as it is, or at all, is a mistake that
// the constructor reports.
func TestProxyRefusesHeadersThatItCannotSet(t *testing.T) {
	for name, value := range map[string]string{
		"Host": "internal.example", "host": "internal.example", "Content-Length": "7", "content-length": "7", "Transfer-Encoding": "chunked", "Trailer": "X",
		"Connection": "close", "Keep-Alive": "timeout=5", "Proxy-Connection": "close", "TE": "trailers", "Te": "trailers", "Upgrade": "h2c",
		"X-Ours": "planted\r\nX-More: y", "X-Nul": "planted\x00", "X Blank": "planted", "X-Line\n": "planted", "": "planted",
	} {
		c := proxyConfig("https://api.example.com")
		c.Header = http.Header{name: {"fine", value}, "X-Fine": {"a\tb é"}}
		_, err := handlers.Proxy(c)
		require.ErrorContains(t, err, "Header: ", name)
		assert.NotContains(t, err.Error(), "planted", "it may be a key")
		assert.Equal(t, 1, strings.Count(err.Error(), "Header: "), name)
	}
	c := proxyConfig("https://api.example.com")
	c.Header = http.Header{"Authorization": nil, "Host": nil, "x-fine": {"a\tb é"}, "User-Agent": {"ours"}, "Connection": {}}
	_, err := handlers.Proxy(c)
	require.NoError(t, err, "what has no value is only removed")
}

func TestProxyReportsEveryMistake(t *testing.T) {
	_, err := handlers.Proxy(handlers.ProxyConfig{Target: "http://api.example.com", Allow: []string{"/a", "/a", "no slash", "/{"}})
	for _, want := range []string{"handlers: proxy", "Target: must be https", "Transport: required", "Authorize: required", "Allow: "} {
		assert.ErrorContains(t, err, want)
	}
	assert.Equal(t, 3, strings.Count(err.Error(), "Allow: "))
	_, err = handlers.Proxy(handlers.ProxyConfig{})
	assert.ErrorContains(t, err, "Allow: required")
	c := proxyConfig("https://api.example.com")
	c.EncodedSlashes, c.Public, c.Origins = []string{"no slash"}, []string{"no slash"}, []string{"no origin"}
	_, err = handlers.Proxy(c)
	for _, want := range []string{"EncodedSlashes: ", "Public: ", "Origins: "} {
		assert.ErrorContains(t, err, want)
	}
}
