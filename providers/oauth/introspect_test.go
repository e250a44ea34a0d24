package oauth_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

var reqZero providers.Request

func TestVerify(t *testing.T) {
	const body = `{"active":true,"sub":"alice","scope":"read write","exp":1767225660,"token_type":"bearer","cnf":null}`
	c, s := client(t, answer{body: body, header: http.Header{"Date": {start.Add(time.Minute).Format(http.TimeFormat)}}})
	got, err := provider(t, c).Verify(t.Context(), "canary-token")
	require.NoError(t, err)
	require.Equal(t, providers.Verified{Subject: "alice", Scopes: []string{"read", "write"}, Expiry: start, Claims: []byte(body)}, got)
	require.Equal(t, "https://as.example/introspect", s.last().url)
	require.NotEmpty(t, s.last().header.Get("Authorization"))
	require.Equal(t, url.Values{"token": {"canary-token"}, "token_type_hint": {"access_token"}}, s.last().form)

	for name, tc := range map[string]struct {
		answer answer
		code   providers.Code
		class  providers.Class
	}{
		"not active":       {answer{body: `{"active":false}`}, providers.CodeInvalidToken, providers.Permanent},
		"refresh token":    {answer{body: `{"active":true,"token_type":"refresh_token"}`}, providers.CodeInvalidToken, providers.Permanent},
		"no type":          {answer{body: `{"active":true}`}, providers.CodeInvalidToken, providers.Permanent},
		"bound to a key":   {answer{body: `{"active":true,"token_type":"DPoP"}`}, providers.CodeInvalidToken, providers.Permanent},
		"no verdict":       {answer{body: `{}`}, providers.CodeBadResponse, providers.Transient},
		"null":             {answer{body: `{"active":null}`}, providers.CodeBadResponse, providers.Transient},
		"verdict as text":  {answer{body: `{"active":"true"}`}, providers.CodeBadResponse, providers.Transient},
		"other case":       {answer{body: `{"Active":true}`}, providers.CodeBadResponse, providers.Transient},
		"no object":        {answer{body: `true`}, providers.CodeBadResponse, providers.Transient},
		"exp unreadable":   {answer{body: `{"active":true,"token_type":"Bearer","exp":"canary"}`}, providers.CodeBadResponse, providers.Transient},
		"our credentials":  {answer{status: 401, body: `{"error":"invalid_client"}`}, providers.CodeCredentialsRejected, providers.Permanent},
		"endpoint is down": {answer{status: 503}, providers.CodeBusy, providers.Transient},
		"a proxy's answer": {answer{status: 403, body: "<html>"}, providers.CodeUpstreamError, providers.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := client(t, tc.answer)
			_, err := provider(t, c).Verify(t.Context(), "canary-token")
			e := failure(t, err)
			require.Equal(t, tc.code, e.Code)
			require.Equal(t, tc.class, e.Class)
		})
	}

	untyped, _ := client(t, answer{body: `{"active":true}`}, answer{body: `{"active":true,"token_type":"DPoP"}`})
	untyped.DangerouslyUntypedTokens = true
	p := provider(t, untyped)
	_, err = p.Verify(t.Context(), "canary-token")
	require.NoError(t, err)
	_, err = p.Verify(t.Context(), "canary-token")
	require.Equal(t, providers.CodeInvalidToken, failure(t, err).Code)

	// In no mode does a token pass that calls itself a refresh token.
	for _, body := range []string{
		`{"active":true,"token_type":"Bearer","token_use":"refresh_token","sub":"a"}`, `{"active":true,"token_use":"refresh_token"}`, `{"active":true,"token_type":"refresh_token"}`,
		`{"active":true,"token_type":"Refresh"}`, `{"active":true,"token_type":"Bearer","typ":"Refresh"}`,
	} {
		for _, untyped := range []bool{false, true} {
			c, _ := client(t, answer{body: body})
			c.DangerouslyUntypedTokens = untyped
			_, err = provider(t, c).Verify(t.Context(), "canary-token")
			require.Equal(t, providers.CodeInvalidToken, failure(t, err).Code, body)
		}
	}
	access, _ := client(t, answer{body: `{"active":true,"token_type":"Bearer","token_use":"access_token","sub":"a"}`})
	_, err = provider(t, access).Verify(t.Context(), "canary-token")
	require.NoError(t, err)

	_, err = provider(t, c).Verify(t.Context(), "")
	require.Equal(t, providers.CodeInvalidToken, failure(t, err).Code)
	c.IntrospectionURL = ""
	_, err = provider(t, c).Verify(t.Context(), "canary-token")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.Equal(t, "oauth: verify: internal: no introspection endpoint is configured", failure(t, err).Error())
}

func TestRevoke(t *testing.T) {
	both := providers.Token{AccessToken: "canary-at", RefreshToken: "canary-rt"}
	hints := func(s *server) (all []string) {
		for _, got := range s.got {
			require.Equal(t, "https://as.example/revoke", got.url)
			require.Contains(t, got.form.Get("token"), "canary-")
			all = append(all, got.form.Get("token_type_hint"))
		}
		return all
	}
	c, s := user(t, answer{body: ""})
	require.NoError(t, provider(t, c).Revoke(t.Context(), both))
	require.Equal(t, []string{"refresh_token", "access_token"}, hints(s))

	c, s = user(t, answer{body: ""})
	require.NoError(t, provider(t, c).Revoke(t.Context(), providers.Token{AccessToken: "canary-at"}))
	require.Equal(t, []string{"access_token"}, hints(s))

	// A JWT access token ends by itself.
	c, _ = user(t, answer{}, answer{status: 400, body: `{"error":"unsupported_token_type"}`})
	require.NoError(t, provider(t, c).Revoke(t.Context(), both))

	// A refresh token that is left alive is no success.
	c, s = user(t, answer{status: 400, body: `{"error":"unsupported_token_type"}`})
	require.Equal(t, providers.Permanent, failure(t, provider(t, c).Revoke(t.Context(), both)).Class)
	require.Equal(t, []string{"refresh_token", "access_token"}, hints(s))

	c, _ = user(t, answer{status: 503, header: http.Header{"Retry-After": {"3"}}})
	e := failure(t, provider(t, c).Revoke(t.Context(), both))
	require.Equal(t, providers.CodeBusy, e.Code)
	require.Equal(t, 3*time.Second, e.RetryAfter)

	c.RevocationURL = ""
	require.ErrorIs(t, provider(t, c).Revoke(t.Context(), both), errors.ErrUnsupported)
}

// The purpose of the call is reached if the token has ended already (RFC 7009
// section 2.2). Google ends the access token with the refresh token.
func TestRevokeOfATokenThatHasEnded(t *testing.T) {
	both := providers.Token{AccessToken: "canary-at", RefreshToken: "canary-rt"}
	for _, status := range []int{200, 400, 401, 403, 404} {
		for _, code := range []string{"invalid_token", "invalid_grant", "token_expired"} {
			ended := answer{status: status, body: `{"error":"` + code + `","error_description":"canary: expired or revoked"}`}
			for _, answers := range [][]answer{{{}, ended}, {ended, {}}, {ended}} {
				c, s := user(t, answers...)
				require.NoError(t, provider(t, c).Revoke(t.Context(), both), "%d %s", status, code)
				require.Len(t, s.got, 2, "each token is tried")
			}
		}
	}
	ended := answer{status: 400, body: `{"error":"invalid_token"}`}
	for name, tc := range map[string]struct {
		answers []answer
		want    providers.Code
	}{
		"our key, then ended":          {[]answer{{status: 401, body: `{"error":"invalid_client"}`}, ended}, providers.CodeCredentialsRejected},
		"ended, then our key":          {[]answer{ended, {status: 401, body: `{"error":"invalid_client"}`}}, providers.CodeCredentialsRejected},
		"a 401 without a code":         {[]answer{{status: 401}, ended}, providers.CodeCredentialsRejected},
		"a 403 without a code":         {[]answer{ended, {status: 403}}, providers.CodeCredentialsRejected},
		"the server fails":             {[]answer{{status: 500, body: `{"error":"invalid_token"}`}, {}}, providers.CodeUpstreamError},
		"it is busy":                   {[]answer{{status: 429, body: `{"error":"invalid_token"}`}, {}}, providers.CodeBusy},
		"somewhere else":               {[]answer{{status: 302, body: `{"error":"invalid_token"}`}, {}}, providers.CodeBadResponse},
		"another code":                 {[]answer{{status: 400, body: `{"error":"invalid_request"}`}, {}}, providers.CodeRejectedInput},
		"the first error is the error": {[]answer{{status: 503}, {status: 401, body: `{"error":"invalid_client"}`}}, providers.CodeBusy},
	} {
		c, s := user(t, tc.answers...)
		err := provider(t, c).Revoke(t.Context(), both)
		require.Equal(t, tc.want, failure(t, err).Code, name)
		require.Len(t, s.got, 2, "an error for the refresh token does not keep the access token alive: %s", name)
	}
	c, _ := user(t, answer{status: 503}, answer{status: 401, body: `{"error":"invalid_client"}`})
	require.ErrorContains(t, errors.Unwrap(failure(t, provider(t, c).Revoke(t.Context(), both))), "upstream_credentials_rejected", "the other error is not lost")

	// The assertion of a client whose clock is wrong is refused with the same
	// code.
	c, _ = user(t, answer{status: 400, body: `{"error":"invalid_grant"}`, header: http.Header{"Date": {start.Add(time.Hour).Format(http.TimeFormat)}}})
	c.Secret, c.Key = "", oauth.Key{Signer: ed}
	require.Equal(t, providers.CodeCredentialsRejected, failure(t, provider(t, c).Revoke(t.Context(), both)).Code)
}

// Fosite, zitadel and django-oauth-toolkit leave token_type out.
func TestMissingTokenTypeIsLoggedOnceAMinute(t *testing.T) {
	var logs strings.Builder
	now := start
	var answers []answer
	for range 10 {
		answers = append(answers, answer{body: `{"active":true,"sub":"a"}`})
	}
	c, _ := client(t, answers...)
	c.Logger, c.Now = slog.New(slog.NewTextHandler(&logs, nil)), func() time.Time { return now }
	p := provider(t, c)
	ask := func(want int) {
		t.Helper()
		_, err := p.Verify(t.Context(), "canary-token")
		require.Equal(t, providers.CodeInvalidToken, failure(t, err).Code)
		require.Equal(t, want, strings.Count(logs.String(), "DangerouslyUntypedTokens"))
	}
	ask(1)
	ask(1)
	now = now.Add(59 * time.Second)
	ask(1)
	now = now.Add(time.Second)
	ask(2)
	now = now.Add(-time.Hour) // a clock that is set back does not silence it
	ask(3)
	require.NotContains(t, logs.String(), "canary")
}
