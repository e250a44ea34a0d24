package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

func TestTokenFromIsTheVerifiedToken(t *testing.T) {
	idp, issuer := exampleIssuer()
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{issuer}})
	require.NoError(t, err)
	expiry := time.Now().Add(time.Hour).Truncate(time.Second)
	token, err := idp.Token(map[string]any{"sub": "ada", "exp": expiry.Unix()})
	require.NoError(t, err)
	called := false
	h := auth.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		called = true
		got, ok := middleware.TokenFrom(r.Context())
		assert.True(t, ok)
		assert.Equal(t, token, got.Token)
		assert.Equal(t, issuer.Issuer, got.Issuer)
		assert.True(t, expiry.Equal(got.Expiry), "%v %v", expiry, got.Expiry)
		assert.Empty(t, got.Type, "an access token")
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", got, got, got), token)
	}))
	get(h, "/", token)
	assert.True(t, called)

	for _, ctx := range []context.Context{t.Context(), middleware.NewContext(t.Context(), &middleware.Verified{Subject: "made by hand"})} {
		got, ok := middleware.TokenFrom(ctx)
		assert.False(t, ok)
		assert.Zero(t, got)
	}
}

func TestTokenFromIsTheSuccessorAfterARenewal(t *testing.T) {
	idp, issuer := exampleIssuer()
	next, err := idp.Token(map[string]any{"sub": "ada", "jti": "next"})
	require.NoError(t, err)
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{issuer}, Renew: &middleware.Renew{
		Window: time.Hour,
		Token: func(context.Context, *middleware.Verified, string) (providers.Token, error) {
			return providers.Token{AccessToken: next}, nil
		},
		Deliver: func(http.ResponseWriter, *http.Request, providers.Token) {},
	}})
	require.NoError(t, err)
	var got providers.Assertion
	h := auth.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, _ = middleware.TokenFrom(r.Context()) }))
	fresh, err := idp.Token(map[string]any{"sub": "ada"})
	require.NoError(t, err)
	require.Equal(t, 200, get(h, "/", fresh).Code) // the keys are there
	expired, err := idp.Token(map[string]any{"sub": "ada", "iat": time.Now().Add(-2 * time.Hour).Unix(), "exp": time.Now().Add(-10 * time.Minute).Unix()})
	require.NoError(t, err)
	require.Equal(t, 200, get(h, "/", expired).Code)
	assert.Equal(t, next, got.Token)
}

// assertion is a TokenSource whose token is not one to present.
type assertionSource struct{}

func (assertionSource) Token(context.Context) (providers.Token, error) {
	return providers.Token{AccessToken: "planted", TokenType: "N_A"}, nil
}

func (assertionSource) Renew(context.Context, providers.Token) (providers.Token, error) {
	return providers.Token{}, errors.New("unused")
}

// What an exchange returns as N_A is an assertion for another server (RFC 8693
// section 2.2.1).
func TestATokenThatIsNoneToPresentIsNotAttached(t *testing.T) {
	hits := 0
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits++ }))
	defer api.Close()
	client := &http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(assertionSource{})}}
	_, err := client.Get(api.URL)
	require.ErrorContains(t, err, "is not an access token")
	assert.NotContains(t, err.Error(), "planted")
	assert.Zero(t, hits)
}
