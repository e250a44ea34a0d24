package handlers_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/tokencache"
)

// Each vendor whole, by one call, whatever it can.
func TestMountServesWhatAVendorCan(t *testing.T) {
	base, upstream := upstreamServer(t)
	for name, want := range map[string][]string{
		"redacto":         {"POST /v/token", "POST /v/refresh-token", "POST /v/sign-out", "/consent/"},
		"contactsmanager": {"POST /v/token", "POST /v/sign-out"},
		"kudo":            {"POST /v/token", "POST /v/sign-out", "/v/open", "GET /v/verify"},
		"redox":           {"GET /.well-known/jwks.json", "/fhir/", "POST /endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			upstream.set(reply(200, success))
			vendor := columns(t, base)[name]
			cache, err := tokencache.New(vendor.provider, tokencache.Options{Now: vendor.now})
			require.NoError(t, err)
			c := handlers.Config{Provider: cache, Authorize: handlers.DangerouslyAllowAnyCaller, Now: vendor.now}
			var proxies []handlers.ProxyConfig
			switch name {
			case "kudo":
				c.Target = func(token string) (string, error) { return "https://editor.example.com/?apitoken=" + token, nil }
			case "redacto":
				proxies = append(proxies, handlers.ProxyConfig{Target: base, Transport: attach{http.DefaultTransport}, Allow: []string{"/consent/"}})
			case "redox":
				proxies = append(proxies, handlers.ProxyConfig{Target: base, Transport: attach{http.DefaultTransport}, Allow: []string{"/fhir/", "POST /endpoint"}})
			}
			mux := http.NewServeMux()
			patterns, err := handlers.Mount(mux, "/v", vendor.provider, c, proxies...)
			require.NoError(t, err)
			assert.Equal(t, want, patterns)
			if vendor.wire != nil {
				r := vendor.post(vendor.good)
				r.URL.Path = "/v/token"
				assert.Equal(t, 200, serve(t, mux, r).status)
				a := serve(t, mux, httptest.NewRequest("GET", "/v/token", nil))
				assert.Equal(t, "method_not_allowed", a.json["code"], "in the package's shape")
			}
		})
	}
}

func TestMountReportsEveryFault(t *testing.T) {
	base, _ := upstreamServer(t)
	all := columns(t, base)
	_, err := handlers.Mount(nil, "", nil, handlers.Config{})
	assert.ErrorContains(t, err, "mux and vendor are required")
	_, err = handlers.Mount(http.NewServeMux(), "api/", all["kudo"].provider, handlers.Config{})
	assert.ErrorContains(t, err, "prefix must be empty or a path")
	_, err = handlers.Mount(http.NewServeMux(), "/v", all["kudo"].provider, handlers.Config{}, handlers.ProxyConfig{})
	for _, want := range []string{"handlers: generate: Authorize", "handlers: verify: Authorize", "handlers: proxy: Target", "Transport: required"} {
		assert.ErrorContains(t, err, want)
	}
	mux := http.NewServeMux()
	mux.Handle("/v/token", http.NotFoundHandler())
	_, err = handlers.Mount(mux, "/v", all["kudo"].provider, handlers.Config{Authorize: handlers.DangerouslyAllowAnyCaller})
	assert.ErrorContains(t, err, "/v/token")
	type bareProvider struct{ bare }
	_, err = handlers.Mount(http.NewServeMux(), "/v", bareProvider{}, handlers.Config{Authorize: handlers.DangerouslyAllowAnyCaller})
	assert.ErrorContains(t, err, "nothing to mount")
}

// Allow is a list of patterns with methods. Every list that Proxy accepts can be
// mounted.
func TestMountTakesEveryListOfAProxy(t *testing.T) {
	upstream := func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Saw", r.Method+" "+r.URL.Path) }
	s := httptest.NewServer(http.HandlerFunc(upstream))
	t.Cleanup(s.Close)
	for name, tc := range map[string]struct {
		allow   []string
		good    []string
		refused map[string]string // by call: Allow
	}{
		"one path": {[]string{"GET /endpoint", "POST /endpoint"}, []string{"GET /endpoint", "HEAD /endpoint", "POST /endpoint"},
			map[string]string{"PUT /endpoint": "GET, HEAD, POST"}},
		"with and without": {[]string{"/endpoint", "POST /endpoint"}, []string{"GET /endpoint", "PUT /endpoint"}, nil},
		"other names":      {[]string{"GET /a/{id}", "POST /a/{name}", "GET /b/{x...}", "PUT /b/{y...}"}, []string{"GET /a/1", "POST /a/1", "PUT /b/1/2"}, map[string]string{"PUT /a/1": "GET, HEAD, POST"}},
		"they overlap":     {[]string{"GET /a/{x}", "POST /{y}/b"}, []string{"GET /a/b", "POST /a/b", "GET /a/c", "POST /c/b"}, map[string]string{"PUT /a/b": "GET, HEAD, POST"}},
		"blanks":           {[]string{"GET   /a", "POST\t/a"}, []string{"GET /a", "POST /a"}, map[string]string{"PUT /a": "GET, HEAD, POST"}},
	} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			c := config(&fake{})
			patterns, err := handlers.Mount(mux, "/v", &fake{}, c, handlers.ProxyConfig{Target: s.URL, Transport: attach{http.DefaultTransport}, Allow: tc.allow})
			require.NoError(t, err)
			for _, pattern := range tc.allow {
				assert.Contains(t, patterns, pattern)
			}
			for _, call := range tc.good {
				method, path, _ := strings.Cut(call, " ")
				a := serve(t, mux, httptest.NewRequest(method, path, nil))
				assert.Equal(t, 200, a.status, call)
				assert.Equal(t, call, a.header.Get("Saw"))
			}
			for call, allow := range tc.refused {
				method, path, _ := strings.Cut(call, " ")
				a := serve(t, mux, httptest.NewRequest(method, path, nil))
				assert.Equal(t, 405, a.status, call)
				assert.Equal(t, allow, a.header.Get("Allow"), call)
			}
		})
	}
	// Two proxies, or a proxy and an endpoint, with one path are still a fault.
	p := handlers.ProxyConfig{Target: s.URL, Transport: attach{http.DefaultTransport}, Allow: []string{"GET /endpoint"}}
	_, err := handlers.Mount(http.NewServeMux(), "/v", &fake{}, config(&fake{}), p, p)
	assert.ErrorContains(t, err, "/endpoint")
}

// An endpoint that can only fail is none: each of its calls would be an error in
// the log.
func TestMountOfOAuthServesWhatIsConfigured(t *testing.T) {
	for name, tc := range map[string]struct {
		c    oauth.Config
		want []string
	}{
		"client_credentials":    {oauth.Config{}, []string{"POST /v/token", "POST /v/sign-out"}},
		"refresh_token":         {oauth.Config{Grant: "refresh_token"}, []string{"POST /v/token", "POST /v/refresh-token", "POST /v/sign-out"}},
		"token_exchange":        {oauth.Config{Grant: "token_exchange", Issuers: []string{"https://a.example"}}, []string{"POST /v/token", "POST /v/sign-out"}},
		"jwt_bearer":            {oauth.Config{Grant: "jwt_bearer", Issuers: []string{"https://a.example"}}, []string{"POST /v/token", "POST /v/sign-out"}},
		"with an introspection": {oauth.Config{IntrospectionURL: "https://as.example/introspect"}, []string{"POST /v/token", "POST /v/sign-out", "GET /v/verify"}},
	} {
		tc.c.TokenURL, tc.c.ClientID, tc.c.Secret = "https://as.example/token", "client", "secret"
		p, err := oauth.New(tc.c)
		require.NoError(t, err)
		cache, err := tokencache.New(p, tokencache.Options{})
		require.NoError(t, err)
		for _, through := range []providers.Provider{nil, cache} {
			patterns, err := handlers.Mount(http.NewServeMux(), "/v", p, handlers.Config{Provider: through, Authorize: handlers.DangerouslyAllowAnyCaller})
			require.NoError(t, err)
			assert.Equal(t, tc.want, patterns, name)
		}
		_, err = handlers.Refresh(handlers.Config{Provider: p, Wire: p, Authorize: handlers.DangerouslyAllowAnyCaller})
		assert.Equal(t, tc.c.Grant == "refresh_token", err == nil, name)
		_, err = handlers.Verify(handlers.Config{Provider: p, Authorize: handlers.DangerouslyAllowAnyCaller})
		assert.Equal(t, tc.c.IntrospectionURL != "", err == nil, name)
		assert.Equal(t, tc.c.Grant == "refresh_token", cache.CanRefresh(), name)
	}
}

func TestAMountedProxyLogsWhereTheMountDoes(t *testing.T) {
	broken := roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") })
	for _, own := range []bool{false, true} {
		var mounts, proxys strings.Builder
		p := handlers.ProxyConfig{Target: "https://api.example.com", Transport: broken, Allow: []string{"/api/"}}
		want := &mounts
		if own {
			p.Logger, want = logTo(&proxys), &proxys
		}
		c := config(&fake{})
		c.Logger = logTo(&mounts)
		mux := http.NewServeMux()
		_, err := handlers.Mount(mux, "", &fake{}, c, p)
		require.NoError(t, err)
		require.Equal(t, 502, serve(t, mux, httptest.NewRequest("GET", "/api/x", nil)).status)
		assert.Contains(t, want.String(), "proxy")
		assert.Equal(t, own, mounts.Len() == 0)
	}
}
