package handlers_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

// clock is the time in all tests that compare times.
var clock = time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)

func now() time.Time { return clock }

// fake is a provider of which each test sets what it needs. It can do
// everything that a handler looks for.
type fake struct {
	generate func(context.Context, providers.Request) (providers.Token, error)
	refresh  func(context.Context, providers.Request, string) (providers.Token, error)
	renew    func(context.Context, providers.Request, providers.Token) (providers.Token, error)
	verify   func(context.Context, string) (providers.Verified, error)
	purge    func(context.Context, providers.Request) error
	revoke   func(context.Context, providers.Token) error
}

var issued = providers.Token{
	AccessToken: "access-1", TokenType: "Bearer", RefreshToken: "refresh-1",
	Expiry: clock.Add(time.Hour), IssuedAt: clock.Add(-time.Minute),
}

func (f *fake) Generate(ctx context.Context, r providers.Request) (providers.Token, error) {
	if f.generate == nil {
		return issued, nil
	}
	return f.generate(ctx, r)
}

func (f *fake) Refresh(ctx context.Context, r providers.Request, t string) (providers.Token, error) {
	if f.refresh == nil {
		return issued, nil
	}
	return f.refresh(ctx, r, t)
}

func (f *fake) Renew(ctx context.Context, r providers.Request, t providers.Token) (providers.Token, error) {
	return f.renew(ctx, r, t)
}

func (f *fake) Verify(ctx context.Context, t string) (providers.Verified, error) {
	return f.verify(ctx, t)
}

func (f *fake) Purge(ctx context.Context, r providers.Request) error {
	if f.purge == nil {
		return nil
	}
	return f.purge(ctx, r)
}

func (f *fake) Revoke(ctx context.Context, t providers.Token) error {
	if f.revoke == nil {
		return nil
	}
	return f.revoke(ctx, t)
}

// bare can do nothing but generate.
type bare struct{ providers.Provider }

// wire is a small vendor's JSON: {"user", "email", "tenant"}.
type wire struct{}

func (wire) Decode(_ url.Values, members map[string]json.RawMessage) (providers.Request, error) {
	var in struct{ User, Email, Tenant string }
	body, err := json.Marshal(members)
	if err != nil || json.Unmarshal(body, &in) != nil {
		return providers.Request{}, &providers.Error{Code: providers.CodeInvalidField, Description: "user must be a string"}
	}
	if in.Tenant == "unknown" {
		return providers.Request{}, &providers.Error{Code: providers.CodeTenantNotAllowed}
	}
	req := providers.Request{Tenant: in.Tenant, Subject: in.User, Params: map[string]any{}}
	if in.Email != "" {
		req.Identifiers = map[string]string{"email": in.Email}
	}
	return req, nil
}

func (wire) Encode(_ providers.Request, t providers.Token) any {
	return map[string]any{"token": t.AccessToken, "refresh_token": t.RefreshToken, "expires_at": t.Expiry}
}

func config(p providers.Provider) handlers.Config {
	return handlers.Config{Provider: p, Wire: wire{}, Authorize: handlers.DangerouslyAllowAnyCaller, Now: now}
}

func must(t testing.TB, h http.Handler, err error) http.Handler {
	t.Helper()
	require.NoError(t, err)
	return h
}

func post(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	return r
}

// answer is what a handler wrote.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func serve(t testing.TB, h http.Handler, r *http.Request) answer {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return read(t, w.Result())
}

func read(t testing.TB, res *http.Response) answer {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	a := answer{status: res.StatusCode, header: res.Header, body: string(b)}
	if len(b) > 0 && strings.HasSuffix(res.Header.Get("Content-Type"), "json") {
		require.NoError(t, json.Unmarshal(b, &a.json), a.body)
	}
	return a
}

// logTo is a logger whose text a test can read.
func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type subjectKey struct{}

// signedIn is what a middleware leaves in the context.
func signedIn(r *http.Request, subject string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), subjectKey{}, subject))
}

func subject(ctx context.Context) (string, bool) {
	s, ok := ctx.Value(subjectKey{}).(string)
	return s, ok
}
