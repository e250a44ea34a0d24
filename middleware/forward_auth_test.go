package middleware_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

// subrequest is how nginx asks about GET /orders.
func subrequest(token string) *http.Request {
	r := httptest.NewRequest("GET", "http://auth.internal/forward-auth", nil)
	r.RemoteAddr = "10.0.0.1:4711"
	for name, value := range map[string]string{
		"X-Original-Method": "GET", "X-Original-Host": "api.example.com", "X-Original-Uri": "/orders?page=2",
		"X-Forwarded-Method": "GET", "X-Forwarded-Host": "api.example.com", "X-Forwarded-Uri": "/orders?page=2",
	} {
		r.Header.Set(name, value)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func forwardAuth(t *testing.T, a *middleware.Authenticator, change func(*middleware.ForwardAuthConfig)) http.Handler {
	t.Helper()
	c := middleware.ForwardAuthConfig{Proxy: "nginx", Peers: []string{"10.0.0.0/8"}}
	if change != nil {
		change(&c)
	}
	h, err := middleware.ForwardAuth(a, c)
	require.NoError(t, err)
	return h
}

func answer(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestForwardAuthTellsWhoTheCallerIs(t *testing.T) {
	i := newIssuer(t)
	h := forwardAuth(t, authFor(t, trusting(i)), nil)
	w := answer(h, subrequest(mint(t, i, map[string]any{"sub": "ada, née byron\u00e9", "scope": "read write"})))
	require.Equal(t, 200, w.Code)
	require.Equal(t, "ada%2C%20n%C3%A9e%20byron%C3%A9", w.Header().Get("X-Auth-Subject"))
	require.Equal(t, i.URL, w.Header().Get("X-Auth-Issuer"))
	require.Equal(t, "read,write", w.Header().Get("X-Auth-Scopes"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Empty(t, w.Body.String())
}

// A subject of another source is told with its issuer, as middleware.Subject
// tells it, and a client's own token names no user.
func TestForwardAuthTellsWhoseSubjectItIs(t *testing.T) {
	ours, theirs := newIssuer(t), newIssuer(t)
	theirs.URL = "https://partner.example"
	own, partner := trusting(ours), trusting(theirs)
	own.Subjects, partner.Subjects = middleware.Own, middleware.Qualified
	auth := authFor(t, own, partner)
	h := forwardAuth(t, auth, nil)
	subject := func(token string) string {
		w := answer(h, subrequest(token))
		require.Equal(t, 200, w.Code)
		got, err := url.PathUnescape(w.Header().Get("X-Auth-Subject"))
		require.NoError(t, err)
		return got
	}
	require.Equal(t, "u1", subject(mint(t, ours, map[string]any{"sub": "u1"})))
	foreign := mint(t, theirs, map[string]any{"sub": "u1"})
	v, err := auth.Verify(t.Context(), foreign)
	require.NoError(t, err)
	want, ok := middleware.Subject(middleware.NewContext(t.Context(), v))
	require.True(t, ok)
	require.NotEqual(t, "u1", want)
	require.Equal(t, want, subject(foreign))
	require.Empty(t, subject(mint(t, ours, map[string]any{"sub": "service", "client_id": "service"})))
}

// Every answer has every identity header, so that a proxy which copies them
// replaces what the client sent.
func TestForwardAuthAnswersHaveEveryIdentityHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		auth := authFor(t, trusting(i))
		scoped, err := auth.Require(middleware.Rule{AllScopes: []string{"admin"}})
		require.NoError(t, err)
		h := forwardAuth(t, auth, func(c *middleware.ForwardAuthConfig) {
			c.Headers = map[string]func(*middleware.Verified) []string{
				"remote-user":   func(v *middleware.Verified) []string { return []string{v.Subject} },
				"Remote-Groups": func(*middleware.Verified) []string { return nil },
			}
			c.Choose = func(r *http.Request) *middleware.Authenticator {
				if strings.HasPrefix(r.URL.Path, "/admin") {
					return scoped
				}
				return auth
			}
		})
		good := mint(t, i, map[string]any{"sub": "ada"})
		for name, c := range map[string]struct {
			request func() *http.Request
			status  int
			user    string
		}{
			"accepted":    {func() *http.Request { return subrequest(good) }, 200, "ada"},
			"no token":    {func() *http.Request { return subrequest("") }, 401, ""},
			"bad token":   {func() *http.Request { return subrequest("x.y.z") }, 401, ""},
			"two tokens":  {func() *http.Request { r := subrequest(good); r.Header.Add("Authorization", "Bearer x"); return r }, 401, ""},
			"wrong peer":  {func() *http.Request { r := subrequest(good); r.RemoteAddr = "192.0.2.1:1"; return r }, 403, ""},
			"no original": {func() *http.Request { r := subrequest(good); r.Header.Del("X-Original-Uri"); return r }, 403, ""},
			"rule":        {func() *http.Request { r := subrequest(good); r.Header.Set("X-Original-Uri", "/admin/x"); return r }, 403, ""},
			"disguised":   {func() *http.Request { r := subrequest(good); r.Header["Remote_User"] = []string{"root"}; return r }, 401, ""},
			"spoofed":     {func() *http.Request { r := subrequest(good); r.Header.Set("Remote-User", "root"); return r }, 200, "ada"},
		} {
			w := answer(h, c.request())
			require.Equal(t, c.status, w.Code, name)
			require.Equal(t, []string{c.user}, w.Header()["Remote-User"], name)
			require.Equal(t, []string{""}, w.Header()["Remote-Groups"], name)
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"), name)
			if c.status == 401 {
				require.Contains(t, w.Header().Get("WWW-Authenticate"), "Bearer ", name)
			}
			if c.status != 200 {
				var problem struct {
					Status int
					Code   string
				}
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &problem), name)
				require.Equal(t, c.status, problem.Status, name)
				if name == "wrong peer" {
					require.Equal(t, "access_denied", problem.Code)
					require.Empty(t, w.Header().Get("WWW-Authenticate"), "no token changes it")
				}
			}
		}
		i.Down(true)
		time.Sleep(25 * time.Hour)
		w := answer(h, subrequest(mint(t, i, nil)))
		require.Equal(t, 503, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		require.Equal(t, []string{""}, w.Header()["Remote-User"])
	})
}

// 400 is an answer that nginx turns into 500, and others pass on.
func TestForwardAuthAnswers400WhereTheProxyPassesItOn(t *testing.T) {
	i := newIssuer(t)
	for proxy, want := range map[string]int{"nginx": 401, "caddy": 400, "traefik": 400, "envoy": 400} {
		h := forwardAuth(t, authFor(t, trusting(i)), func(c *middleware.ForwardAuthConfig) { c.Proxy = proxy })
		r := subrequest("a")
		r.Header.Add("Authorization", "Bearer b")
		require.Equal(t, want, answer(h, r).Code, proxy)
	}
}

// The original request is what Choose sees, and where Query and Cookie look.
func TestForwardAuthChecksTheOriginalRequest(t *testing.T) {
	i := newIssuer(t)
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Query: "access_token", Cookie: "token"})
	var seen []string
	for _, proxy := range []string{"nginx", "caddy", "traefik"} {
		h := forwardAuth(t, auth, func(c *middleware.ForwardAuthConfig) {
			c.Proxy = proxy
			c.Choose = func(r *http.Request) *middleware.Authenticator {
				seen = append(seen, r.Method+" "+r.Host+" "+r.URL.Path)
				if r.Method == "DELETE" {
					return nil
				}
				return auth
			}
		})
		good := mint(t, i, nil)
		r := subrequest("")
		for _, prefix := range []string{"X-Original-", "X-Forwarded-"} {
			r.Header.Set(prefix+"Uri", "/orders?access_token="+good)
		}
		require.Equal(t, 200, answer(h, r).Code, "a token in the original query")
		r.AddCookie(&http.Cookie{Name: "token", Value: good})
		require.NotEqual(t, 200, answer(h, r).Code, "two tokens")
		r = subrequest("")
		r.AddCookie(&http.Cookie{Name: "token", Value: good})
		require.Equal(t, 200, answer(h, r).Code)
		r = subrequest(good)
		r.Header.Set("X-Original-Method", "DELETE")
		r.Header.Set("X-Forwarded-Method", "DELETE")
		require.Equal(t, 403, answer(h, r).Code, "Choose has no Authenticator for it")
		require.Equal(t, []string{"GET api.example.com /orders", "GET api.example.com /orders", "GET api.example.com /orders", "DELETE api.example.com /orders"}, seen)
		seen = nil
	}
}

// Choose decides by the path, and so it is not asked about one that the
// application behind the proxy could read as another.
func TestForwardAuthChoosesByPathsOfOneReadingOnly(t *testing.T) {
	i := newIssuer(t)
	auth := authFor(t, trusting(i))
	asked := 0
	choosing := forwardAuth(t, auth, func(c *middleware.ForwardAuthConfig) {
		c.Choose = func(r *http.Request) *middleware.Authenticator {
			asked++
			if strings.HasPrefix(r.URL.Path, "/admin") {
				return nil
			}
			return auth
		}
	})
	good := mint(t, i, nil)
	ask := func(h http.Handler, path string) int {
		r := subrequest(good)
		r.Header.Set("X-Original-Uri", path)
		return answer(h, r).Code
	}
	for _, path := range []string{"/x/../admin", "/x/%2e%2e/admin", "//admin", "/x%2F..%2Fadmin", `/x\..\admin`, "/%252e%252e/admin", "/;/../admin", "/./admin"} {
		require.Equal(t, 403, ask(choosing, path), path)
		require.Equal(t, 200, ask(forwardAuth(t, auth, nil), path), "%s: one rule holds for all paths", path)
	}
	require.Zero(t, asked)
	for path, want := range map[string]int{"/orders": 200, "/orders/a%2Fb?next=/../admin": 200, "/caf%C3%A9": 200, "/admin": 403} {
		require.Equal(t, want, ask(choosing, path), path)
	}
	require.Equal(t, 4, asked)
}

// An Authenticator that Choose returns may not be Optional either.
func TestForwardAuthNeverLetsAnonymousRequestsPass(t *testing.T) {
	i := newIssuer(t)
	optional := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Optional: true})
	var log strings.Builder
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	h := forwardAuth(t, auth, func(c *middleware.ForwardAuthConfig) {
		c.Choose = func(*http.Request) *middleware.Authenticator { return optional }
	})
	for range 3 {
		require.Equal(t, 403, answer(h, subrequest("")).Code)
	}
	require.Equal(t, 1, strings.Count(log.String(), "level=ERROR"), "told once and not for each request")
}

func TestForwardAuthNamesEveryFault(t *testing.T) {
	i := newIssuer(t)
	optional := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Optional: true, Form: "access_token"})
	_, err := middleware.ForwardAuth(optional, middleware.ForwardAuthConfig{
		Proxy: "apache", Peers: []string{"proxy.internal"},
		Headers: map[string]func(*middleware.Verified) []string{"X_User": nil, "Set-Cookie": func(*middleware.Verified) []string { return nil }},
	})
	for _, want := range []string{"Optional", "Form", "Proxy: \"apache\"", `Peers: "proxy.internal"`, `"X_User" has more`, `Headers["X_User"] is nil`, `"Set-Cookie" has a meaning`} {
		require.ErrorContains(t, err, want)
	}
	_, err = middleware.ForwardAuth(nil, middleware.ForwardAuthConfig{Headers: map[string]func(*middleware.Verified) []string{}})
	for _, want := range []string{"no Authenticator", "Proxy: ", "Peers: required", "Headers: none"} {
		require.ErrorContains(t, err, want)
	}
}

func TestForwardAuthIsCounted(t *testing.T) {
	i := newIssuer(t)
	log := &inboundLog{}
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Observer: log.observe})
	_, err := auth.Verify(context.Background(), mint(t, i, nil))
	require.NoError(t, err)
	log.take()
	h := forwardAuth(t, auth, nil)
	answer(h, subrequest(mint(t, i, nil)))
	answer(h, subrequest(""))
	require.Equal(t, []string{"accepted/verified/ok/0", "refused//missing/401"}, log.take())
}
