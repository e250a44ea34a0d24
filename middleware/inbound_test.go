package middleware_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// What the tests of the inbound half share.

func newIssuer(t testing.TB, algs ...string) *authtest.Issuer {
	t.Helper()
	i, err := authtest.New(algs...)
	require.NoError(t, err)
	return i
}

func mint(t testing.TB, i *authtest.Issuer, claims map[string]any) string {
	t.Helper()
	token, err := i.Token(claims)
	require.NoError(t, err)
	return token
}

// mintAs signs a good token under another kid.
func mintAs(t testing.TB, i *authtest.Issuer, kid string) string {
	t.Helper()
	good := mint(t, i, nil)
	payload, err := segmentOf(good, 1)
	require.NoError(t, err)
	token, err := i.Sign(map[string]any{"kid": kid}, payload)
	require.NoError(t, err)
	return token
}

// renamed puts another kid into a token's header, which leaves its signature
// wrong.
func renamed(token, kid string) string {
	_, rest, _ := strings.Cut(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"`+kid+`"}`)) + "." + rest
}

// trusting is i's configuration with its key set at an address.
func trusting(i *authtest.Issuer, algs ...string) middleware.Issuer {
	if len(algs) == 0 {
		algs = []string{"ES256"}
	}
	return middleware.Issuer{
		Issuer: i.URL, Audiences: []string{i.Audience}, Algorithms: algs, JWKSURL: i.URL + "/jwks", HTTPClient: i.Client(),
	}
}

// own says that the first issuer's subjects are our users, and that those of
// the others are not.
func own(issuers ...middleware.Issuer) []middleware.Issuer {
	for n := range issuers {
		issuers[n].Subjects = middleware.Qualified
	}
	issuers[0].Subjects = middleware.Own
	return issuers
}

func newAuth(t testing.TB, c middleware.Config) *middleware.Authenticator {
	t.Helper()
	a, err := middleware.New(c)
	require.NoError(t, err)
	return a
}

// auth accepts i's tokens and nothing else.
func authFor(t testing.TB, issuers ...middleware.Issuer) *middleware.Authenticator {
	return newAuth(t, middleware.Config{Issuers: issuers})
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })

// ask presents token to h.
func ask(h http.Handler, token string) *httptest.ResponseRecorder {
	return askWith(context.Background(), h, token)
}

func askWith(ctx context.Context, h http.Handler, token string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	h.ServeHTTP(w, r)
	return w
}

// reasonOf is the Reason of a refusal by a.Verify, "" if the token passes.
func reasonOf(t testing.TB, a *middleware.Authenticator, token string) string {
	t.Helper()
	_, err := a.Verify(t.Context(), token)
	if err == nil {
		return ""
	}
	var e *middleware.Error
	require.ErrorAs(t, err, &e)
	return e.Reason
}

func segmentOf(token string, n int) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// crashingLogger exits the goroutine that logs.
func crashingLogger() *slog.Logger { return slog.New(crashing{}) }

type crashing struct{}

func (crashing) Enabled(context.Context, slog.Level) bool { return true }
func (crashing) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		runtime.Goexit()
	}
	return nil
}
func (c crashing) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c crashing) WithGroup(string) slog.Handler      { return c }

func b64url(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// httptestRequest is a request with an Authorization header, none for "".
func httptestRequest(authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if authorization != "" {
		r.Header["Authorization"] = []string{authorization}
	}
	return r
}
