package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

func verifier(claims string) *fake {
	return &fake{verify: func(_ context.Context, token string) (providers.Verified, error) {
		switch token {
		case "good":
			return providers.Verified{Subject: "u", Scopes: []string{"a", "b"}, Expiry: clock, Claims: json.RawMessage(claims)}, nil
		case "down":
			return providers.Verified{}, &providers.Error{Code: providers.CodeUnreachable}
		}
		return providers.Verified{}, &providers.Error{Code: providers.CodeInvalidToken, Err: errors.New("{ Wrong token }")}
	}}
}

func TestVerifyNative(t *testing.T) {
	c := config(verifier(`{"userId":"u","n":12345678901234567}`))
	c.Wire = nil
	h, err := handlers.Verify(c)
	must(t, h, err)
	call := func(tokens ...string) answer {
		r := httptest.NewRequest(http.MethodGet, "/verify", nil)
		r.Header["X-Api-Token"] = tokens
		return serve(t, h, r)
	}
	a := call("good")
	assert.Equal(t, 200, a.status)
	assert.Equal(t, `{"userId":"u","n":12345678901234567}`, a.body)
	assertHardened(t, a.header)

	for name, a := range map[string]answer{
		"bad": call("bad"), "none": call(), "empty": call(""), "two": call("good", "good"),
		"blank inside": call("go od"), "control": call("good\x00"), "not ASCII": call("goöd"), "huge": call(strings.Repeat("x", 17<<10)),
	} {
		assert.Equal(t, 403, a.status, name)
		assert.Equal(t, "invalid_token", a.json["code"], name)
		assert.NotContains(t, a.body, "Wrong", name)
		assertHardened(t, a.header)
	}
	assert.Equal(t, 502, call("down").status, "an outage is no verdict")

	a = serve(t, h, post(`{}`))
	assert.Equal(t, 405, a.status)
	assert.Equal(t, "GET", a.header.Get("Allow"))
}

func TestVerifyAsksWhoAsks(t *testing.T) {
	for _, introspection := range []bool{false, true} {
		c := config(&fake{verify: func(context.Context, string) (providers.Verified, error) {
			t.Error("asked the vendor")
			return providers.Verified{}, nil
		}})
		c.Authorize, c.Introspection = handlers.SubjectFrom(subject), introspection
		h, err := handlers.Verify(c)
		r := httptest.NewRequest(http.MethodGet, "/verify", nil)
		r.Header.Set("X-Api-Token", "good")
		if introspection {
			r = introspect("token=good")
		}
		assert.Equal(t, 401, serve(t, must(t, h, err), r).status)
	}
}

func introspect(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/introspect", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func TestVerifyIntrospection(t *testing.T) {
	c := config(verifier(`{"client_id":"c","active":"no","sub":"claimed","exp":1,"n":12345678901234567}`))
	c.Introspection = true
	h, err := handlers.Verify(c)
	must(t, h, err)

	a := serve(t, h, introspect("token=good&token_type_hint=access_token"))
	assert.Equal(t, 200, a.status)
	assert.Equal(t, map[string]any{
		"active": true, "sub": "u", "scope": "a b", "exp": float64(clock.Unix()), "client_id": "c", "n": 12345678901234567.0,
	}, a.json)
	assert.Contains(t, a.body, "12345678901234567")
	assertHardened(t, a.header)

	for _, body := range []string{"token=bad", "token=a%20b"} {
		a = serve(t, h, introspect(body))
		assert.Equal(t, 200, a.status)
		assert.Equal(t, map[string]any{"active": false}, a.json, "nothing else may be said (RFC 7662 section 2.2)")
	}
	for body, code := range map[string]string{
		"":                                     "invalid_field",
		"token=":                               "invalid_field",
		"token=good&token=good":                "invalid_field",
		"token=%zz":                            "invalid_field",
		"token=down":                           "upstream_unreachable",
		"token=" + strings.Repeat("x", 16<<10): "body_too_large",
	} {
		assert.Equal(t, code, serve(t, h, introspect(body)).json["code"], body[:min(len(body), 20)])
	}
	for _, types := range [][]string{nil, {"application/json"}, {"application/x-www-form-urlencoded", "text/plain"}} {
		r := introspect("token=good")
		r.Header["Content-Type"] = types
		a := serve(t, h, r)
		assert.Equal(t, 415, a.status)
		assert.Equal(t, "The body must be application/x-www-form-urlencoded.", a.json["detail"], types)
	}
	r := introspect(url.Values{"token": {"good"}}.Encode())
	r.Header.Set("Content-Type", "application/json")
	assert.Equal(t, 415, serve(t, h, r).status)
	r = httptest.NewRequest(http.MethodGet, "/introspect?token=good", nil)
	a = serve(t, h, r)
	assert.Equal(t, 405, a.status)
	assert.Equal(t, "POST", a.header.Get("Allow"))
}

func TestVerifyWithOddClaims(t *testing.T) {
	for claims, status := range map[string]int{``: 200, `{}`: 200, `null`: 502, `[1]`: 502, `secret-text`: 502} {
		var log bytes.Buffer
		c := config(verifier(claims))
		c.Introspection, c.Logger = true, logTo(&log)
		h, err := handlers.Verify(c)
		a := serve(t, must(t, h, err), introspect("token=good"))
		assert.Equal(t, status, a.status, claims)
		assert.NotContains(t, a.body+log.String(), "secret-text")
	}
	c := config(verifier(``))
	h, err := handlers.Verify(c)
	r := httptest.NewRequest(http.MethodGet, "/verify", nil)
	r.Header.Set("X-Api-Token", "good")
	assert.Equal(t, "{}", serve(t, must(t, h, err), r).body)
}

func TestVerifyBoundsTheTokenAt16KiB(t *testing.T) {
	asked := 0
	h, err := handlers.Verify(config(&fake{verify: func(context.Context, string) (providers.Verified, error) {
		asked++
		return providers.Verified{}, nil
	}}))
	must(t, h, err)
	for size, status := range map[int]int{16 << 10: 200, 16<<10 + 1: 403} {
		asked = 0
		r := httptest.NewRequest(http.MethodGet, "/verify", nil)
		r.Header.Set("X-Api-Token", strings.Repeat("x", size))
		assert.Equal(t, status, serve(t, h, r).status, size)
		assert.Equal(t, status == 200, asked == 1, "the vendor is asked %d times about %d bytes", asked, size)
	}
}

func TestVerifyAsksNoVendorAboutWhatIsNoToken(t *testing.T) {
	h, err := handlers.Verify(config(&fake{verify: func(context.Context, string) (providers.Verified, error) {
		t.Error("the vendor was asked")
		return providers.Verified{}, nil
	}}))
	must(t, h, err)
	for name, tok := range map[string]string{"none": "", "a space": "a b", "a tab": "a\tb", "DEL": "a\x7fb", "not ASCII": "aéb"} {
		r := httptest.NewRequest(http.MethodGet, "/verify", nil)
		r.Header.Set("X-Api-Token", tok)
		assert.Equal(t, 403, serve(t, h, r).status, name)
	}
}
