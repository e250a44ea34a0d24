package handlers_test

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

func TestGenerateAnswers(t *testing.T) {
	h, err := handlers.Generate(config(&fake{}))
	must(t, h, err)
	w := httptest.NewRecorder()
	for k, v := range map[string]string{"Cache-Control": "public, max-age=60", "ETag": `"x"`, "Expires": "0", "Vary": "Origin"} {
		w.Header().Set(k, v) // a wrapper meant well
	}
	h.ServeHTTP(w, post(`{"user":"a"}`))
	a := read(t, w.Result())
	assert.Equal(t, 200, a.status)
	assert.Equal(t, map[string]any{"token": "access-1", "refresh_token": "refresh-1", "expires_at": "2024-01-15T11:30:00Z"}, a.json)
	assert.Equal(t, "application/json", a.header.Get("Content-Type"))
	assert.Equal(t, "no-store", a.header.Get("Cache-Control"))
	assert.Equal(t, "Origin", a.header.Get("Vary"))
	assert.Empty(t, a.header.Get("Expires"))
	assertHardened(t, a.header)
}

func TestNoCacheRenews(t *testing.T) {
	newer := issued
	newer.AccessToken, newer.Version = "access-2", 2
	for _, c := range []struct {
		name    string
		control []string
		fresh   bool
		want    string
	}{
		{"plain", nil, false, "access-1"},
		{"no-cache", []string{"no-cache"}, false, "access-2"},
		{"among others", []string{"max-age=0", "no-transform, No-Cache"}, false, "access-2"},
		{"something like it", []string{"no-cache-please", "x=no-cache"}, false, "access-1"},
		{"a token issued for this very call", []string{"no-cache"}, true, "access-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &fake{
				generate: func(context.Context, providers.Request) (providers.Token, error) {
					tok := issued
					if c.fresh {
						tok.IssuedAt = clock
					}
					return tok, nil
				},
				renew: func(_ context.Context, _ providers.Request, rejected providers.Token) (providers.Token, error) {
					assert.Equal(t, "access-1", rejected.AccessToken)
					return newer, nil
				},
			}
			h, err := handlers.Generate(config(p))
			r := post(`{"user":"a"}`)
			r.Header["Cache-Control"] = c.control
			assert.Equal(t, c.want, serve(t, must(t, h, err), r).json["token"])
		})
	}
	t.Run("a provider that keeps nothing", func(t *testing.T) {
		h, err := handlers.Generate(config(bare{&fake{}}))
		r := post(`{"user":"a"}`)
		r.Header.Set("Cache-Control", "no-cache")
		assert.Equal(t, 200, serve(t, must(t, h, err), r).status)
	})
	t.Run("a renewal that fails", func(t *testing.T) {
		h, err := handlers.Generate(config(&fake{renew: func(context.Context, providers.Request, providers.Token) (providers.Token, error) {
			return providers.Token{}, &providers.Error{Code: providers.CodeBusy}
		}}))
		r := post(`{"user":"a"}`)
		r.Header.Set("Cache-Control", "no-cache")
		assert.Equal(t, 503, serve(t, must(t, h, err), r).status)
	})
}

func TestRefresh(t *testing.T) {
	var presented string
	p := &fake{refresh: func(_ context.Context, r providers.Request, token string) (providers.Token, error) {
		presented = token
		if token == "dead" {
			return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}
		}
		return issued, nil
	}}
	h, err := handlers.Refresh(config(p))
	must(t, h, err)
	for _, c := range []struct {
		body   string
		status int
		code   string
	}{
		{`{"refresh_token":"r-1"}`, 200, ""},
		{`{}`, 400, "refresh_token_required"},
		{`{"refresh_token":null}`, 400, "refresh_token_required"},
		{`{"refresh_token":""}`, 400, "refresh_token_required"},
		{`{"Refresh_Token":"r-1"}`, 400, "refresh_token_required"},
		{`{"refresh_token":7}`, 400, "invalid_field"},
		{`{"refresh_token":["r-1"]}`, 400, "invalid_field"},
		{`{"refresh_token":"dead"}`, 401, "refresh_rejected"},
	} {
		presented = ""
		a := serve(t, h, post(c.body))
		assert.Equal(t, c.status, a.status, c.body)
		assert.Equal(t, c.status == 401, a.header.Get("WWW-Authenticate") != "", c.body)
		if c.code != "" {
			assert.Equal(t, c.code, a.json["code"], c.body)
			continue
		}
		assert.Equal(t, "r-1", presented)
		assert.Equal(t, "access-1", a.json["token"])
	}
	a := serve(t, h, post(`{"refresh_token":7}`))
	assert.Contains(t, a.json["detail"], "refresh_token", "names the field")
}

// leaky is a Wire whose answers have no JSON form.
type leaky struct{ wire }

func (leaky) Encode(_ providers.Request, t providers.Token) any { return map[string]any{"t": t} }

func (leaky) EncodeError(providers.Code, string) map[string]any {
	return map[string]any{"x": math.Inf(1)}
}

func TestAnAnswerWithoutJSONIsInternal(t *testing.T) {
	c := config(&fake{})
	c.Wire = leaky{}
	h, err := handlers.Generate(c)
	a := serve(t, must(t, h, err), post(`{"user":"a"}`))
	assert.Equal(t, 500, a.status)
	assert.Equal(t, "internal", a.json["code"])
	assert.NotContains(t, a.body, "access-1")
}

// vocal is a Wire with members of its own in errors, as ContactsManager has.
type vocal struct{ wire }

func (vocal) EncodeError(code providers.Code, detail string) map[string]any {
	return map[string]any{"message": "Error: " + detail, "success": false, "code": "not the kit's", "status": 200}
}

func TestAWireAddsMembersToErrors(t *testing.T) {
	c := config(&fake{})
	c.Wire = vocal{}
	h, err := handlers.Generate(c)
	a := serve(t, must(t, h, err), post(`[]`))
	assert.Equal(t, "Error: The body must be one JSON object.", a.json["message"])
	assert.Equal(t, false, a.json["success"])
	assert.Equal(t, "invalid_json", a.json["code"], "the kit's members win")
	assert.Equal(t, 400.0, a.json["status"])
}

func TestSignOut(t *testing.T) {
	var purged providers.Request
	var revoked providers.Token
	p := &fake{
		purge:  func(_ context.Context, r providers.Request) error { purged = r; return nil },
		revoke: func(_ context.Context, t providers.Token) error { revoked = t; return nil },
	}
	c := config(p)
	c.Authorize = handlers.SubjectFrom(subject)
	h, err := handlers.SignOut(c)
	must(t, h, err)

	a := serve(t, h, signedIn(post(`{"refresh_token":"r"}`), "alice"))
	assert.Equal(t, 204, a.status)
	assert.Empty(t, a.body)
	assert.Empty(t, a.header.Get("Content-Type"))
	assertHardened(t, a.header)
	assert.Equal(t, "alice", purged.Subject)
	assert.Equal(t, "r", revoked.RefreshToken)

	for _, body := range []string{`{"token":"t"}`, `{"access_token":"t"}`} {
		revoked = providers.Token{}
		require.Equal(t, 204, serve(t, h, signedIn(post(body), "alice")).status)
		assert.Equal(t, "t", revoked.AccessToken, body)
	}
	revoked = providers.Token{AccessToken: "untouched"}
	require.Equal(t, 204, serve(t, h, signedIn(post(`{}`), "alice")).status)
	assert.Equal(t, "untouched", revoked.AccessToken, "nothing to revoke")
	assert.Equal(t, "invalid_field", serve(t, h, signedIn(post(`{"token":1}`), "alice")).json["code"])
	assert.Equal(t, 401, serve(t, h, post(`{}`)).status)
}

func TestSignOutFailsAloud(t *testing.T) {
	down := &providers.Error{Code: providers.CodeUnreachable}
	for name, c := range map[string]struct {
		purge, revoke error
		status        int
	}{
		"purge":                          {down, nil, 502},
		"revoke":                         {nil, down, 502},
		"a cache's upstream that cannot": {&providers.Error{Code: providers.CodeInternal, Err: http.ErrNotSupported}, nil, 204},
		"an upstream that cannot":        {nil, &providers.Error{Code: providers.CodeInternal, Err: http.ErrNotSupported}, 204},
		"a fault of ours at the other":   {nil, &providers.Error{Code: providers.CodeInternal, Err: http.ErrBodyNotAllowed}, 500},
	} {
		p := &fake{
			purge:  func(context.Context, providers.Request) error { return c.purge },
			revoke: func(context.Context, providers.Token) error { return c.revoke },
		}
		h, err := handlers.SignOut(config(p))
		assert.Equal(t, c.status, serve(t, must(t, h, err), post(`{"user":"a","token":"t"}`)).status, name)
	}
}

func TestHandlersAreSafeTogether(t *testing.T) {
	h, err := handlers.Generate(config(&fake{}))
	must(t, h, err)
	done := make(chan int)
	for i := range 32 {
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, post(`{"user":"`+strings.Repeat("a", i+1)+`"}`))
			done <- w.Code
		}()
	}
	for range 32 {
		assert.Equal(t, 200, <-done)
	}
}

// cacheOf is a cache in front of a provider that cannot refresh.
type cacheOf struct{ providers.Refresher }

func (cacheOf) Generate(context.Context, providers.Request) (providers.Token, error) {
	return providers.Token{}, nil
}
func (cacheOf) CanRefresh() bool { return false }

func TestRefreshAsksTheCache(t *testing.T) {
	_, err := handlers.Refresh(handlers.Config{Provider: cacheOf{}, Wire: wire{}, Authorize: handlers.DangerouslyAllowAnyCaller})
	require.ErrorContains(t, err, "cannot refresh")
}
