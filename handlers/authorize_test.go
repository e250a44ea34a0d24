package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

func TestWhoMayAsk(t *testing.T) {
	var asked *providers.Request
	p := &fake{generate: func(_ context.Context, r providers.Request) (providers.Token, error) {
		asked = &r
		return issued, nil
	}}
	for _, c := range []struct {
		name, signedIn, body string
		status               int
		code                 string
	}{
		{"own token, nobody named", "alice", `{}`, 200, ""},
		{"own token, named", "alice", `{"user":"alice"}`, 200, ""},
		{"somebody else", "alice", `{"user":"bob"}`, 403, "identity_mismatch"},
		{"another spelling is somebody else", "alice", `{"user":"Alice"}`, 403, "identity_mismatch"},
		{"an identifier nobody has proven", "alice", `{"email":"bob@example.com"}`, 200, ""},
		{"not signed in", "", `{"user":"alice"}`, 401, "not_signed_in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked = nil
			conf := config(p)
			conf.Authorize = handlers.SubjectFrom(subject)
			h, err := handlers.Generate(conf)
			a := serve(t, must(t, h, err), signedIn(post(c.body), c.signedIn))
			assert.Equal(t, c.status, a.status)
			if c.code != "" {
				assert.Equal(t, c.code, a.json["code"])
				assert.Nil(t, asked, "asked the provider all the same")
				return
			}
			assert.Equal(t, "alice", asked.Subject)
			assert.Empty(t, asked.Identifiers)
		})
	}
	t.Run("no claims in the context", func(t *testing.T) {
		conf := config(p)
		conf.Authorize = handlers.SubjectFrom(subject)
		h, err := handlers.Generate(conf)
		assert.Equal(t, 401, serve(t, must(t, h, err), post(`{}`)).status)
	})
}

// identified is a Wire with identifiers of its own.
type identified struct{ wire }

func (identified) Decode(url.Values, map[string]json.RawMessage) (providers.Request, error) {
	return providers.Request{Identifiers: map[string]string{"alias": "bob", "email": "bob@example.com"}, Params: map[string]any{"theme": "dark"}}, nil
}

func TestSubjectFromDropsEveryIdentifier(t *testing.T) {
	var got providers.Request
	c := config(&fake{generate: func(_ context.Context, r providers.Request) (providers.Token, error) {
		got = r
		return issued, nil
	}})
	c.Wire, c.Authorize = identified{}, handlers.SubjectFrom(subject)
	h, err := handlers.Generate(c)
	require.Equal(t, 200, serve(t, must(t, h, err), signedIn(post(`{}`), "alice")).status)
	assert.Empty(t, got.Identifiers)
	assert.Equal(t, map[string]any{"theme": "dark"}, got.Params)

	c.MaxSubject, c.Authorize = 2, handlers.DangerouslyAllowAnyCaller
	h, err = handlers.Generate(c)
	assert.Equal(t, "invalid_field", serve(t, must(t, h, err), post(`{}`)).json["code"])
}

func TestHowAuthorizeRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"any error", errors.New("no such session"), 401, "not_signed_in"},
		{"an error of its own choice", &providers.Error{Code: providers.CodeTenantNotAllowed}, 403, "tenant_not_allowed"},
		{"an outage", &providers.Error{Code: providers.CodeBusy}, 503, "upstream_busy"},
		{"a deadline", context.DeadlineExceeded, 504, "upstream_timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := config(&fake{})
			conf.Authorize = func(*http.Request, *providers.Request) error { return c.err }
			h, err := handlers.Generate(conf)
			a := serve(t, must(t, h, err), post(`{"user":"a"}`))
			assert.Equal(t, c.status, a.status)
			assert.Equal(t, c.code, a.json["code"])
			assert.NotContains(t, a.body, "session")
			assert.Equal(t, c.status == 401, a.header.Get("WWW-Authenticate") == "Bearer")
		})
	}
}

func TestIdentifiersAreBounded(t *testing.T) {
	h, err := handlers.Generate(config(&fake{}))
	must(t, h, err)
	call := func(body string) any { return serve(t, h, post(body)).json["code"] }
	assert.Nil(t, call(`{"user":"`+strings.Repeat("a", 256)+`"}`))
	assert.Equal(t, "invalid_field", call(`{"user":"`+strings.Repeat("a", 257)+`"}`))
	assert.Equal(t, "invalid_field", call(`{"email":"`+strings.Repeat("a", 257)+`"}`))
	assert.Equal(t, "invalid_field", call(`{"user":"a\u0000b"}`))
	assert.Equal(t, "invalid_field", call(`{"user":"a\nb"}`))

	c := config(&fake{})
	c.MaxSubject = 3
	c.Authorize = func(_ *http.Request, r *providers.Request) error { r.Subject = "long"; return nil }
	h, err = handlers.Generate(c)
	assert.Equal(t, "invalid_field", serve(t, must(t, h, err), post(`{}`)).json["code"], "what Authorize filled in counts too")
}

func TestConstructorsReportEveryMistake(t *testing.T) {
	for name, build := range map[string]func(handlers.Config) (http.Handler, error){
		"generate": handlers.Generate, "refresh": handlers.Refresh, "sign out": handlers.SignOut,
	} {
		_, err := build(handlers.Config{MaxSubject: -1, Authorize: handlers.SubjectFrom(nil), Cookie: &http.Cookie{Name: "session", Domain: "example.com"}})
		require.Error(t, err, name)
		for _, want := range []string{"handlers: " + name, "Provider: required", "Wire: required", "Authorize: required", "MaxSubject: negative", "__Host-", "only Name"} {
			assert.ErrorContains(t, err, want, name)
		}
	}
	unable := config(bare{&fake{}})
	_, err := handlers.Refresh(unable)
	assert.ErrorContains(t, err, "cannot refresh")
	_, err = handlers.SignOut(unable)
	assert.ErrorContains(t, err, "neither purge nor revoke")
	_, err = handlers.Verify(unable)
	assert.ErrorContains(t, err, "cannot verify")

	c := config(&fake{})
	c.Cookie = &http.Cookie{Name: "__Host-t"}
	_, err = handlers.Refresh(c)
	assert.ErrorContains(t, err, "Cookie: Refresh")
	c.Cookie.SameSite = http.SameSiteNoneMode
	_, err = handlers.Generate(c)
	assert.ErrorContains(t, err, "SameSite=None")
	c.Cookie, c.Handle = nil, func(*http.Request, providers.Request, providers.Token) (string, error) { return "", nil }
	_, err = handlers.Generate(c)
	assert.ErrorContains(t, err, "Handle: needs a Cookie")
}
