package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

func cookieConfig(p providers.Provider) handlers.Config {
	c := config(p)
	c.Cookie = &http.Cookie{Name: "__Host-token"}
	return c
}

func setCookies(a answer) []*http.Cookie { return (&http.Response{Header: a.header}).Cookies() }

func TestTheTokenGoesIntoTheCookie(t *testing.T) {
	h, err := handlers.Generate(cookieConfig(&fake{}))
	must(t, h, err)
	w := httptest.NewRecorder()
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("CDN-Cache-Control", "max-age=60")
	h.ServeHTTP(w, post(`{"user":"a"}`))
	a := read(t, w.Result())
	require.Equal(t, 200, a.status, a.body)
	assert.Equal(t, map[string]any{"expires_at": "2024-01-15T11:30:00Z"}, a.json, "no token in the body")
	assert.Equal(t, "private, no-store", a.header.Get("Cache-Control"))
	assert.Empty(t, a.header.Get("Cdn-Cache-Control"))
	assert.Equal(t, "__Host-token=access-1; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Strict", a.header.Get("Set-Cookie"))
}

func TestAHandleGoesIntoTheCookie(t *testing.T) {
	c := cookieConfig(&fake{generate: func(context.Context, providers.Request) (providers.Token, error) {
		tok := issued
		tok.Expiry = clock.AddDate(0, 0, -1) // a clock that is off
		return tok, nil
	}})
	c.Cookie.SameSite = http.SameSiteLaxMode
	var fail error
	handle := "session-9"
	c.Handle = func(_ *http.Request, req providers.Request, tok providers.Token) (string, error) {
		assert.Equal(t, "a", req.Subject)
		assert.Equal(t, "access-1", tok.AccessToken)
		return handle, fail
	}
	h, err := handlers.Generate(c)
	must(t, h, err)
	a := serve(t, h, post(`{"user":"a"}`))
	assert.Equal(t, "__Host-token=session-9; Path=/; Max-Age=1; HttpOnly; Secure; SameSite=Lax", a.header.Get("Set-Cookie"))
	assert.NotContains(t, a.body, "access-1")

	for name, bad := range map[string]string{"empty": "", "not for a cookie": "a;b", "too long": strings.Repeat("x", 5000)} {
		handle = bad
		a := serve(t, h, post(`{"user":"a"}`))
		assert.Equal(t, 500, a.status, name)
		assert.Empty(t, setCookies(a), name)
	}
	fail = errors.New("session store down")
	a = serve(t, h, post(`{"user":"a"}`))
	assert.Equal(t, 500, a.status)
	assert.Empty(t, setCookies(a))
}

// nested hides tokens in places of its own.
type nested struct{ wire }

func (nested) Encode(_ providers.Request, t providers.Token) any {
	return map[string]any{
		"detail": map[string]any{"token": t.AccessToken, "n": int64(12345678901234567)},
		"links":  []any{"https://editor.example/?apitoken=" + t.AccessToken, t.RefreshToken, "kept"},
		"header": "Bearer " + t.AccessToken,
	}
}

func TestNoTokenStaysInTheBody(t *testing.T) {
	c := cookieConfig(&fake{})
	c.Wire = nested{}
	h, err := handlers.Generate(c)
	a := serve(t, must(t, h, err), post(`{"user":"a"}`))
	assert.NotContains(t, a.body, "access-1")
	assert.NotContains(t, a.body, "refresh-1")
	assert.Contains(t, a.body, "12345678901234567")
	assert.Contains(t, a.body, "kept")
}

func TestCookiesRefuseOtherSites(t *testing.T) {
	trusting := http.NewCrossOriginProtection()
	require.NoError(t, trusting.AddTrustedOrigin("https://app.example.com"))
	for _, c := range []struct {
		name    string
		header  map[string]string
		protect *http.CrossOriginProtection
		status  int
	}{
		{"same origin", map[string]string{"Sec-Fetch-Site": "same-origin"}, nil, 200},
		{"no browser", nil, nil, 200},
		{"cross-site", map[string]string{"Sec-Fetch-Site": "cross-site"}, nil, 403},
		{"a sibling", map[string]string{"Sec-Fetch-Site": "same-site"}, nil, 403},
		{"an old browser", map[string]string{"Origin": "https://evil.example"}, nil, 403},
		{"a trusted origin", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://app.example.com"}, trusting, 200},
		{"another one", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://app.example.org"}, trusting, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := cookieConfig(&fake{})
			conf.CrossOrigin = c.protect
			for name, build := range map[string]func(handlers.Config) (http.Handler, error){"generate": handlers.Generate, "sign out": handlers.SignOut} {
				h, err := build(conf)
				r := post(`{"user":"a"}`)
				for k, v := range c.header {
					r.Header.Set(k, v)
				}
				a := serve(t, must(t, h, err), r)
				if c.status == 403 {
					assert.Equal(t, "cross_origin", a.json["code"], name)
					assert.Empty(t, setCookies(a), name)
					continue
				}
				assert.Less(t, a.status, 300, name)
				assert.Len(t, setCookies(a), 1, name)
			}
		})
	}
}

func TestSignOutClearsTheCookie(t *testing.T) {
	c := cookieConfig(&fake{})
	c.Authorize = handlers.SubjectFrom(subject)
	h, err := handlers.SignOut(c)
	must(t, h, err)
	const cleared = "__Host-token=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict"
	a := serve(t, h, signedIn(post(`{}`), "alice"))
	assert.Equal(t, 204, a.status)
	assert.Equal(t, cleared, a.header.Get("Set-Cookie"))
	assert.Equal(t, "private, no-store", a.header.Get("Cache-Control"))

	a = serve(t, h, post(`{}`))
	assert.Equal(t, 401, a.status)
	assert.Equal(t, cleared, a.header.Get("Set-Cookie"), "already signed out")

	c.Provider = &fake{purge: func(context.Context, providers.Request) error {
		return &providers.Error{Code: providers.CodeInternal}
	}}
	h, err = handlers.SignOut(c)
	a = serve(t, must(t, h, err), signedIn(post(`{}`), "alice"))
	assert.Equal(t, 500, a.status)
	assert.Equal(t, cleared, a.header.Get("Set-Cookie"), "whatever became of the purge, this browser is signed out")
	assert.Equal(t, `"cache"`, a.header.Get("Clear-Site-Data"))

	a = serve(t, h, signedIn(post(`{"user":"bob"}`), "alice"))
	assert.Equal(t, 403, a.status)
	assert.Empty(t, setCookies(a), "a refused call changes nothing")
	assert.Empty(t, a.header.Get("Clear-Site-Data"))

	// An <img> on another site must not sign anybody out.
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	assert.Empty(t, setCookies(serve(t, h, r)))
}

// A browser stays signed in if its cookie stays. The upstream's answer to a
// revocation does not matter for that.
func TestSignOutClearsTheCookieWhateverTheRevocationAnswers(t *testing.T) {
	for _, code := range []providers.Code{
		providers.CodeRejectedInput, providers.CodeInvalidToken, providers.CodeCredentialsRejected, providers.CodeBusy, providers.CodeRefreshRejected,
	} {
		refused := &providers.Error{Code: code, Class: providers.Permanent}
		for name, f := range map[string]*fake{
			"purge":  {purge: func(context.Context, providers.Request) error { return refused }},
			"revoke": {revoke: func(context.Context, providers.Token) error { return refused }},
		} {
			h, err := handlers.SignOut(cookieConfig(f))
			a := serve(t, must(t, h, err), post(`{"user":"a","token":"t"}`))
			assert.GreaterOrEqual(t, a.status, 400, "%s: %s", name, code)
			require.Len(t, setCookies(a), 1, "%s: %s", name, code)
			assert.Negative(t, setCookies(a)[0].MaxAge)
			assert.Equal(t, `"cache"`, a.header.Get("Clear-Site-Data"), "%s: %s", name, code)
		}
	}
	unnamed := &fake{purge: func(context.Context, providers.Request) error {
		return &providers.Error{Code: providers.CodeIdentityRequired}
	}}
	for body, status := range map[string]int{`{}`: 400, `{"user":"a","token":7}`: 400, `{"tenant":"unknown"}`: 403, `[`: 400} {
		h, err := handlers.SignOut(cookieConfig(unnamed))
		a := serve(t, must(t, h, err), post(body))
		assert.Equal(t, status, a.status, body)
		assert.Empty(t, setCookies(a), "a refused call changes nothing: %s", body)
		assert.Empty(t, a.header.Get("Clear-Site-Data"), body)
	}
}

// Each attribute that would let the cookie out, or not be set at all, is refused
// alone as well.
func TestEachAttributeOfACookieIsChecked(t *testing.T) {
	const name = "__Host-token"
	for fault, k := range map[string]http.Cookie{
		"no cookie name": {Name: "__Host-a b"},
		"no prefix":      {Name: "token"},
		"Domain":         {Name: name, Domain: "example.com"},
		"Path":           {Name: name, Path: "/app"},
		"Value":          {Name: name, Value: "x"},
		"MaxAge":         {Name: name, MaxAge: 60},
		"Expires":        {Name: name, Expires: clock},
		"SameSite":       {Name: name, SameSite: http.SameSiteNoneMode},
	} {
		c := config(&fake{})
		c.Cookie = &k
		_, err := handlers.Generate(c)
		assert.ErrorContains(t, err, "Cookie: ", fault)
	}
	for mode, want := range map[http.SameSite]http.SameSite{
		0:                        http.SameSiteStrictMode,
		http.SameSiteDefaultMode: http.SameSiteStrictMode,
		http.SameSiteLaxMode:     http.SameSiteLaxMode,
		http.SameSiteStrictMode:  http.SameSiteStrictMode,
	} {
		c := config(&fake{})
		c.Cookie = &http.Cookie{Name: name, Path: "/", SameSite: mode}
		h, err := handlers.Generate(c)
		cookies := setCookies(serve(t, must(t, h, err), post(`{"user":"a"}`)))
		require.Len(t, cookies, 1)
		assert.Equal(t, want, cookies[0].SameSite, mode)
	}
}

func TestAnAnswerWithoutJSONIsInternalBesideACookieToo(t *testing.T) {
	c := cookieConfig(&fake{})
	c.Wire = unmarshalable{}
	h, err := handlers.Generate(c)
	a := serve(t, must(t, h, err), post(`{"user":"a"}`))
	assert.Equal(t, 500, a.status)
	assert.Equal(t, "internal", a.json["code"])
	assert.Empty(t, setCookies(a))
}

// unmarshalable is a Wire whose answer is not JSON.
type unmarshalable struct{ wire }

func (unmarshalable) Encode(providers.Request, providers.Token) any { return make(chan int) }
