package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/attached"
	"github.com/bearerkit/bearerkit/middleware"
)

// Each refusal has one line at Debug, in whatever way the token was checked.
func TestEveryRefusalIsLoggedAtDebugOnce(t *testing.T) {
	i := newIssuer(t)
	var log bytes.Buffer
	auth := newAuth(t, middleware.Config{
		Issuers: []middleware.Issuer{static(i)}, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	token := mint(t, i, map[string]any{"aud": "other"})
	proxy, err := middleware.ForwardAuth(auth, middleware.ForwardAuthConfig{Proxy: "envoy", Peers: []string{"192.0.2.1"}})
	require.NoError(t, err)
	for name, check := range map[string]func(){
		"Handler":     func() { ask(auth.Handler(ok), token) },
		"ForwardAuth": func() { ask(proxy, token) },
		"Check":       func() { _, _ = auth.Check(httptestRequest("Bearer " + token)) },
		"Verify":      func() { _, _ = auth.Verify(t.Context(), token) },
		"Check and Deny": func() {
			r := httptestRequest("Bearer " + token)
			_, err := auth.Check(r)
			auth.Deny(httptest.NewRecorder(), r, err)
		},
	} {
		log.Reset()
		check()
		require.Equal(t, 1, strings.Count(log.String(), "request refused"), name)
		require.Contains(t, log.String(), "reason=audience", name)
		require.Contains(t, log.String(), "claim aud is", name)
		require.NotContains(t, log.String(), token, name)
	}
	log.Reset()
	auth.Deny(httptest.NewRecorder(), httptestRequest(""), errors.New("another check"))
	require.Equal(t, 1, strings.Count(log.String(), "request refused"))
	require.Contains(t, log.String(), "another check")
}

// A bridge may hand on the nil of an Optional Authenticator.
func TestNewContextWithoutATokenHidesTheOuterOne(t *testing.T) {
	outer := middleware.NewContext(context.Background(), &middleware.Verified{Subject: "ada"})
	ctx := middleware.NewContext(outer, nil)
	_, found := middleware.VerifiedFrom(ctx)
	require.False(t, found)
	require.Nil(t, ctx.Value(attached.Caller{}))
}

// Anyone can ask for a path that cannot be read. It is no fault of the proxy's
// configuration and does not hide one.
func TestForwardAuthTellsOfItsProxyAndNotOfClients(t *testing.T) {
	i := newIssuer(t)
	var log bytes.Buffer
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{static(i)}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	h, err := middleware.ForwardAuth(auth, middleware.ForwardAuthConfig{Proxy: "nginx", Peers: []string{"192.0.2.1"}})
	require.NoError(t, err)
	send := func(header http.Header) {
		r := httptestRequest("")
		r.Header = header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, 403, w.Code)
	}
	send(http.Header{"X-Original-Method": {"GET"}, "X-Original-Host": {"h"}, "X-Original-Uri": {"/%zz"}})
	send(http.Header{"X-Original-Method": {"G T"}, "X-Original-Host": {"h"}, "X-Original-Uri": {"/"}})
	require.Empty(t, log.String())
	send(http.Header{})
	require.Contains(t, log.String(), "the proxy does not describe the original request")
}

func TestTheCodeOfARulesRefusalFitsItsStatus(t *testing.T) {
	i := newIssuer(t)
	for status, code := range map[int]string{403: "access_denied", 402: "refused", 429: "refused", 503: "verification_unavailable", 401: "not_signed_in"} {
		auth := newAuth(t, quietly(middleware.Config{Issuers: []middleware.Issuer{static(i)}, Require: middleware.Rule{Check: func(context.Context, *middleware.Verified) error {
			return &middleware.Error{Status: status, Reason: "plan", Description: "No plan."}
		}}}))
		w := ask(auth.Handler(ok), mint(t, i, nil))
		require.Equal(t, status, w.Code)
		require.Contains(t, w.Body.String(), `"code":"`+code+`"`)
	}
}

// blocking is a log handler that hangs at the level Warn until release is
// closed.
type blocking struct{ release chan struct{} }

func (blocking) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (b blocking) Handle(context.Context, slog.Record) error  { <-b.release; return nil }
func (b blocking) WithAttrs([]slog.Attr) slog.Handler         { return b }
func (b blocking) WithGroup(string) slog.Handler              { return b }

// A set with a key that cannot be used is logged. The log does not hold up the
// set's good keys, and a failing Resolve does not hold up other tenants.
func TestALogHandlerThatHangsHoldsUpNoOtherRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		hang := blocking{make(chan struct{})}
		i.ServeSet([]byte(strings.Replace(string(i.JWKS()), `{"keys":[`, `{"keys":[{"kty":"oct","k":"AAAA"},`, 1)))
		auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Logger: slog.New(hang)})
		require.Equal(t, 200, ask(auth.Handler(ok), mint(t, i, nil)).Code)

		ts := newTenants(t, "a", "b")
		h := ts.auth(t, func(c *middleware.Config) { c.Logger = slog.New(hang) }).Handler(ok)
		require.Equal(t, 200, ask(h, ts.token(t, "a", nil)).Code)
		time.Sleep(6 * time.Minute)
		ts.mu.Lock()
		ts.err = errors.New("down")
		ts.mu.Unlock()
		go ask(h, ts.token(t, "a", nil))
		synctest.Wait()
		ts.mu.Lock()
		ts.err = nil
		ts.mu.Unlock()
		start := time.Now()
		require.Equal(t, 200, ask(h, ts.token(t, "b", nil)).Code)
		require.Zero(t, time.Since(start))
		close(hang.release)
	})
}
