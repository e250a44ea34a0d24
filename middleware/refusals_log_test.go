package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

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
