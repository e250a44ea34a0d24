package redacto_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// Whatever the vendor answers, the result is a token or an *Error that does not
// quote it.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"detail":{"token":"a","refresh_token":"r","expires_at":"2024-01-16T10:30:00Z"}}`)
	f.Add(200, `{"token":"e30.eyJleHAiOjE3MDUzMTgyMDB9.s","expires_at":1e308}`)
	f.Add(422, `{"detail":[{"field":"f"}]}`)
	f.Add(502, "<html>")
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		cfg := one()
		cfg.HTTPClient = &http.Client{Transport: recorder.RoundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
		})}
		p := build(t, "", cfg)
		for _, op := range []string{"generate", "refresh"} {
			token, err := call(t.Context(), p, op)
			var e *providers.Error
			switch {
			case err == nil && token.AccessToken == "":
				t.Error("neither token nor error")
			case err != nil && !errors.As(err, &e):
				t.Errorf("a %T is not an *Error", err)
			case err != nil && len(body) > 30 && strings.Contains(err.Error(), body):
				t.Error("the error quotes the answer")
			case err == nil:
				if _, err := json.Marshal(p.Encode(providers.Request{}, token)); err != nil {
					t.Errorf("cannot be encoded: %v", err)
				}
			}
		}
	})
}

// Whatever a caller sends, the tenant is a configured one.
func FuzzDecode(f *testing.F) {
	f.Add("organisation_uuid="+org+"&workspace_uuid="+ws1, `{"email":"e"}`)
	f.Add("organisation_uuid=../..", `{"workspace_uuid":"`+ws2+`"}`)
	f.Add("", `{"organisation_uuid":"`+org+`","workspace_uuid":"`+ws1+`","org_user_id":null}`)
	p := build(f, "", two())
	f.Fuzz(func(t *testing.T, query, body string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		o, err := wire.Parse([]byte(body))
		if err != nil {
			return
		}
		req, err := p.Decode(q, o)
		var e *providers.Error
		if err != nil {
			assert.False(t, !errors.As(err, &e) || e.Class != providers.Permanent || e.Code == providers.CodeInternal, "a caller's mistake is %v", err)
			return
		}
		assert.False(t, req.Tenant != org+":"+ws1 && req.Tenant != org+":"+ws2, "tenant %q is not configured", req.Tenant)
		if _, err := p.Key(req); err != nil && providers.AsError(err).Code != providers.CodeIdentityRequired {
			t.Errorf("what Decode passes Key refuses: %v", err)
		}
	})
}
