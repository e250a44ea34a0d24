package middleware_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

// pages answers requests from a map of addresses to bodies.
type pages map[string]string

func (w pages) RoundTrip(r *http.Request) (*http.Response, error) {
	body, found := w[r.URL.String()]
	status := http.StatusOK
	if !found {
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func TestDiscovery(t *testing.T) {
	doc := func(issuer, jwks string) string { return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, jwks) }
	const iss, keys = "https://id.example/tenant", "https://keys.example/jwks?v=1"
	for _, c := range []struct {
		name, issuer string
		web          func(jwks string) pages
		want         string
	}{
		{"OpenID Connect", iss, func(k string) pages { return pages{iss + "/.well-known/openid-configuration": doc(iss, keys), keys: k} }, ""},
		{"RFC 8414", iss, func(k string) pages {
			return pages{"https://id.example/.well-known/oauth-authorization-server/tenant": doc(iss, keys), keys: k}
		}, ""},
		{"slash at the end", iss + "/", func(k string) pages {
			return pages{iss + "/.well-known/openid-configuration": doc(iss+"/", keys), keys: k}
		}, ""},
		{"no path", "https://id.example", func(k string) pages {
			return pages{"https://id.example/.well-known/openid-configuration": doc("https://id.example", keys), keys: k}
		}, ""},
		{"another issuer", iss, func(k string) pages {
			return pages{iss + "/.well-known/openid-configuration": doc(iss+"/", keys), keys: k}
		}, "unavailable"},
		{"keys over http", iss, func(k string) pages {
			return pages{iss + "/.well-known/openid-configuration": doc(iss, "http://keys.example/"), "http://keys.example/": k}
		}, "unavailable"},
		{"keys in a file", iss, func(k string) pages {
			return pages{iss + "/.well-known/openid-configuration": doc(iss, "file:///etc/keys")}
		}, "unavailable"},
		{"no keys", iss, func(string) pages {
			return pages{iss + "/.well-known/openid-configuration": `{"issuer":"` + iss + `"}`}
		}, "unavailable"},
		{"not JSON", iss, func(string) pages { return pages{iss + "/.well-known/openid-configuration": `<html>`} }, "unavailable"},
		{"nothing", iss, func(string) pages { return pages{} }, "unavailable"},
	} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			i.URL = c.issuer
			auth := authFor(t, middleware.Issuer{
				Issuer: c.issuer, Audiences: []string{i.Audience}, Algorithms: []string{"ES256"}, Discover: true,
				HTTPClient: &http.Client{Transport: c.web(string(i.JWKS()))},
			})
			require.Equal(t, c.want, reasonOf(t, auth, mint(t, i, nil)), c.name)
		})
	}
}

func TestDiscoveredAddressMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		base := i.URL
		documents := 0
		keys := base + "/old"
		auth := authFor(t, middleware.Issuer{
			Issuer: base, Audiences: []string{i.Audience}, Algorithms: []string{"ES256"}, Discover: true,
			HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				switch r.URL.String() {
				case base + "/.well-known/openid-configuration":
					documents++
					_ = json.NewEncoder(w).Encode(map[string]string{"issuer": base, "jwks_uri": keys})
				case keys:
					_, _ = w.Write(i.JWKS())
				default:
					w.WriteHeader(404)
				}
				return w.Result(), nil
			})},
		})
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
		require.NoError(t, i.Rotate(true))
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
		require.Equal(t, 1, documents, "the document is not read every time")
		keys = base + "/new"
		require.NoError(t, i.Rotate(true))
		require.Equal(t, "unavailable", reasonOf(t, auth, mint(t, i, nil)))
		time.Sleep(time.Second)
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)), "a failure has it read again")
	})
}

func TestMetadata(t *testing.T) {
	i := newIssuer(t)
	auth := newAuth(t, middleware.Config{
		Issuers:  own(trusting(i), middleware.Issuer{Issuer: "org-1", AnyAudience: true, Algorithms: []string{"HS256"}, Secrets: [][]byte{secret}}),
		Resource: "https://api.example/v1/", Require: middleware.Rule{AllScopes: []string{"b", "a"}}, Query: "access_token",
	})
	more, err := auth.Require(middleware.Rule{AnyScope: []string{"c", "a"}})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle(more.Metadata())
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/.well-known/oauth-protected-resource/v1", nil))
	require.Equal(t, 200, w.Code)
	require.JSONEq(t, `{"resource":"https://api.example/v1/","authorization_servers":["https://issuer.example"],"scopes_supported":["a","b","c"],"bearer_methods_supported":["header","query"]}`, w.Body.String())
	require.Contains(t, ask(more.Handler(ok), "").Header().Get("WWW-Authenticate"), `resource_metadata="https://api.example/.well-known/oauth-protected-resource/v1", scope="b a c a"`)
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("POST", "/.well-known/oauth-protected-resource/v1", nil))
	require.Equal(t, 405, w.Code)

	pattern, h := authFor(t, trusting(i)).Metadata()
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", pattern, nil))
	require.Equal(t, 404, w.Code)
	root := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Resource: "https://api.example"})
	pattern, _ = root.Metadata()
	require.Equal(t, "GET /.well-known/oauth-protected-resource", pattern)
}
