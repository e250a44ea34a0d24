package kudo_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// Whatever the vendor answers, the result is a token or an *Error that does not
// quote it, and no verified claim is one of ours.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"token":"t","expiration_time":4102444800}`)
	f.Add(200, `{"auth":"x","AUTH":"y","userId":"u"}`)
	f.Add(403, `{ Wrong token }`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		cfg := config()
		cfg.HTTPClient = &http.Client{Transport: recorder.RoundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
		})}
		p := build(t, "", cfg)
		token, err := p.Generate(t.Context(), file("a"))
		checkError(t, err, body)
		assert.False(t, err == nil && token.AccessToken == "", "neither token nor error")
		v, err := p.Verify(t.Context(), uuid)
		checkError(t, err, body)
		if claims := strings.ToLower(string(v.Claims)); err == nil && (strings.HasPrefix(claims, `{"auth":`) || strings.HasPrefix(claims, `{"server":`)) {
			t.Errorf("claims hold what is ours: %s", claims)
		}
	})
}

func checkError(t *testing.T, err error, body string) {
	t.Helper()
	var e *providers.Error
	assert.False(t, err != nil && !errors.As(err, &e), "a %T is not an *Error", err)
	assert.False(t, err != nil && len(body) > 30 && strings.Contains(err.Error(), body), "the error quotes the answer")
}

// What Decode passes, Key and Generate take, and none of it is ours.
func FuzzDecode(f *testing.F) {
	f.Add(`{"file":"a","userId":"u","locale":"de"}`)
	f.Add(`{"file":"a","AUTH":1}`)
	f.Add(`{"fileUrl":"x","n":1e999}`)
	p := build(f, "", config())
	f.Fuzz(func(t *testing.T, body string) {
		o, err := wire.Parse([]byte(body))
		if err != nil {
			return
		}
		req, err := p.Decode(nil, o)
		if err != nil {
			assert.Equal(t, providers.CodeInvalidField, providers.AsError(err).Code, "a caller's mistake is %v", err)
			return
		}
		for name := range req.Params {
			assert.False(t, strings.EqualFold(name, "auth") || strings.EqualFold(name, "server") || strings.EqualFold(name, "apiServerURL"), "%s passed", name)
		}
		if _, err := p.Key(req); err != nil {
			t.Errorf("what Decode passes Key refuses: %v", err)
		}
	})
}

// A link that is built is https or loopback, holds the token once, and keeps
// the host it was given.
func FuzzEditorURL(f *testing.F) {
	f.Add("https://editor.example.com/editor?locale=de", uuid)
	f.Add("https://editor.example.com/?apitoken", "x")
	f.Add("http://localhost", "a&b=c#d")
	p := build(f, "", config())
	f.Fuzz(func(t *testing.T, base, token string) {
		got, err := p.EditorURL(base, token)
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		require.NoError(t, err, "not a URL: %v", err)
		given, err := url.Parse(base)
		assert.False(t, err != nil || u.Host != given.Host || u.Scheme != given.Scheme, "%q leads elsewhere than %q", got, base)
		if v := u.Query()["apitoken"]; len(v) != 1 || v[0] != token {
			t.Errorf("the token of %q is %q", got, v)
		}
		assert.False(t, u.User != nil || u.Fragment != "", "%q has user or fragment", got)
	})
}
