package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

// A call with every fault from one check on is answered by that check.
func TestChecksHaveOneOrder(t *testing.T) {
	const huge = 17 << 10
	upstreamDown := &providers.Error{Code: providers.CodeUpstreamError}
	allFail := &fake{
		generate: func(_ context.Context, r providers.Request) (providers.Token, error) {
			if r.Subject == "" {
				return providers.Token{}, &providers.Error{Code: providers.CodeIdentityRequired}
			}
			return providers.Token{}, upstreamDown
		},
		refresh: func(context.Context, providers.Request, string) (providers.Token, error) {
			return providers.Token{}, upstreamDown
		},
		purge: func(context.Context, providers.Request) error { return upstreamDown },
	}
	steps := []struct {
		code         string
		site, method string
		contentType  string
		body         string
		authorized   bool
		notBy        string // a handler without this check
	}{
		{"cross_origin", "cross-site", "PUT", "text/plain", strings.Repeat("x", huge), false, ""},
		{"method_not_allowed", "same-origin", "PUT", "text/plain", strings.Repeat("x", huge), false, ""},
		{"unsupported_media_type", "same-origin", "POST", "text/plain", strings.Repeat("x", huge), false, ""},
		{"body_too_large", "same-origin", "POST", "application/json", strings.Repeat("x", huge), false, ""},
		{"invalid_json", "same-origin", "POST", "application/json", `{"tenant":"unknown"`, false, ""},
		{"tenant_not_allowed", "same-origin", "POST", "application/json", `{"tenant":"unknown"}`, false, ""},
		{"not_signed_in", "same-origin", "POST", "application/json", `{}`, false, ""},
		{"identity_required", "same-origin", "POST", "application/json", `{}`, true, "refresh sign out"},
		{"refresh_token_required", "same-origin", "POST", "application/json", `{"user":"a"}`, true, "generate sign out"},
		{"upstream_error", "same-origin", "POST", "application/json", `{"user":"a","refresh_token":"r"}`, true, ""},
	}
	for name, build := range map[string]func(handlers.Config) (http.Handler, error){
		"generate": handlers.Generate, "refresh": handlers.Refresh, "sign out": handlers.SignOut,
	} {
		for _, s := range steps {
			if strings.Contains(s.notBy, name) {
				continue
			}
			t.Run(name+"/"+s.code, func(t *testing.T) {
				c := config(allFail)
				c.CrossOrigin = http.NewCrossOriginProtection()
				c.Authorize = func(*http.Request, *providers.Request) error {
					if s.authorized {
						return nil
					}
					return errors.New("no")
				}
				h, err := build(c)
				r := httptest.NewRequest(s.method, "https://example.com/x", strings.NewReader(s.body))
				r.Header.Set("Sec-Fetch-Site", s.site)
				r.Header.Set("Content-Type", s.contentType)
				a := serve(t, must(t, h, err), r)
				assert.Equal(t, s.code, a.json["code"])
				assert.Equal(t, s.code == "method_not_allowed", a.header.Get("Allow") == "POST")
				assertHardened(t, a.header)
			})
		}
	}
}

func TestBodies(t *testing.T) {
	h, err := handlers.Generate(config(&fake{}))
	must(t, h, err)
	call := func(body string, contentType ...string) answer {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		if contentType != nil {
			r.Header["Content-Type"] = contentType
		}
		return serve(t, h, r)
	}
	const json = "application/json"
	deep := strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000)
	padded := `{"user":"a"}` + strings.Repeat(" ", 16<<10-12)
	for _, c := range []struct {
		name string
		a    answer
		want string
	}{
		{"object", call(`{"user":"a"}`, json), ""},
		{"white space around", call(" \t\r\n{}\n", json), ""},
		{"unknown members", call(`{"user":"a","x":[1,{"y":2}]}`, json), ""},
		{"null and empty are absent", call(`{"user":null,"email":""}`, json), ""},
		{"charset", call(`{}`, `Application/JSON; charset="UTF-8"`), ""},
		{"deep", call(deep, json), ""},
		{"16 KiB", call(padded, json), ""},
		{"one byte more", call(padded+" ", json), "body_too_large"},
		{"no type", call(`{}`), "unsupported_media_type"},
		{"no type, no body", call(``), "unsupported_media_type"},
		{"two types", call(`{}`, json, json), "unsupported_media_type"},
		{"form", call(`user=a`, "application/x-www-form-urlencoded"), "unsupported_media_type"},
		{"text, as a form can send cross-site", call(`{}`, "text/plain"), "unsupported_media_type"},
		{"another json", call(`{}`, "application/problem+json"), "unsupported_media_type"},
		{"broken parameter", call(`{}`, json+"; charset"), "unsupported_media_type"},
		{"empty", call(``, json), "invalid_json"},
		{"null", call(`null`, json), "invalid_json"},
		{"array", call(`[{"user":"a"}]`, json), "invalid_json"},
		{"string", call(`"a"`, json), "invalid_json"},
		{"two objects", call(`{}{}`, json), "invalid_json"},
		{"trailing garbage", call(`{"user":"a"}x`, json), "invalid_json"},
		{"truncated", call(`{"user":"a"`, json), "invalid_json"},
		{"repeated member", call(`{"user":"a","user":"b"}`, json), "invalid_json"},
		{"repeated below", call(`{"x":[{"y":1,"y":2}]}`, json), "invalid_json"},
		{"repeated by escape", call(`{"user":"a","us\u0065r":"b"}`, json), "invalid_json"},
		{"byte order mark", call("\ufeff{}", json), "invalid_json"},
		{"not UTF-8", call("{\"user\":\"\xff\"}", json), "invalid_json"},
		{"wrong type", call(`{"user":7}`, json), "invalid_field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "" {
				assert.Equal(t, 200, c.a.status, c.a.body)
				return
			}
			assert.Equal(t, c.want, c.a.json["code"])
		})
	}
	t.Run("a length that lies", func(t *testing.T) {
		r := post(padded + "more")
		r.ContentLength = -1
		assert.Equal(t, "body_too_large", serve(t, h, r).json["code"])
	})
	t.Run("a malformed query", func(t *testing.T) {
		r := post(`{}`)
		r.URL.RawQuery = "a=%zz"
		assert.Equal(t, "invalid_field", serve(t, h, r).json["code"])
	})
	t.Run("a body that breaks off", func(t *testing.T) {
		r := post(`{}`)
		r.Body = http.MaxBytesReader(nil, r.Body, 1) // a wrapper's own bound
		assert.Equal(t, "body_too_large", serve(t, h, r).json["code"])
	})
}

func TestMethods(t *testing.T) {
	h, err := handlers.Generate(config(&fake{}))
	must(t, h, err)
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post", "PROPFIND"} {
		r := post(`{"user":"a"}`)
		r.Method = method
		a := serve(t, h, r)
		assert.Equal(t, 405, a.status, method)
		assert.Equal(t, "POST", a.header.Get("Allow"), method)
	}
}
