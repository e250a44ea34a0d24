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
