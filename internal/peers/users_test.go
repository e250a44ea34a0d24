package peers_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

// pkceVerifier is the code_verifier of every sign-in here.
const pkceVerifier = "a-verifier-of-at-least-forty-three-characters"

// server is an authorization server that runs in this process, and a client of
// it for users' grants.
type server struct {
	t         *testing.T
	url       string
	users     oauth.Config
	authorize string     // the authorization endpoint
	scope     string     // with which it gives refresh tokens
	login     url.Values // posted to the page at which the browser stops, if any
	requests  atomic.Int32
}

// listen serves what handler makes of its own address, until the test ends.
func listen(t *testing.T, handler func(issuer string) http.Handler) (s *server) {
	t.Helper()
	var h atomic.Value
	srv := newHTTPServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.Load().(http.Handler).ServeHTTP(w, r) }))
	h.Store(handler(srv))
	return &server{t: t, url: srv}
}

// counted counts the requests to the token endpoint.
func (s *server) counted() *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.String() == s.users.TokenURL {
			s.requests.Add(1)
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
}

// signIn plays the browser of the authorization code flow with PKCE, and the
// client that spends the code.
func (s *server) signIn(ctx context.Context) providers.Token {
	t := s.t
	t.Helper()
	challenge := sha256.Sum256([]byte(pkceVerifier))
	code := browse(t, s.authorize+"?"+url.Values{
		"client_id": {s.users.ClientID}, "response_type": {"code"}, "redirect_uri": {callback}, "scope": {s.scope}, "state": {"a-state-of-some-length"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode(), s.login)
	pair, err := must(oauth.New(s.users)).Exchange(ctx, code, pkceVerifier, callback)
	require.NoError(t, err)
	require.NotEmpty(t, pair.RefreshToken)
	return pair
}

// browse follows redirects from start until the one back to the client, and
// returns the code in it. Where the browser stops at a page before, it posts
// login there.
func browse(t *testing.T, start string, login url.Values) (code string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	arrived := errors.New("back at the client")
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		require.Less(t, len(via), 10, "the server sends the browser round in circles")
		if !strings.HasPrefix(r.URL.String(), callback) {
			return nil
		}
		code = r.URL.Query().Get("code")
		require.NotEmpty(t, code, r.URL.RawQuery)
		return arrived
	}}
	res, err := browser.Get(start)
	if err == nil && login != nil {
		page := res.Request.URL
		_ = res.Body.Close()
		for name, values := range page.Query() {
			login.Set(map[string]string{"authRequestID": "id"}[name], values[0])
		}
		res, err = browser.PostForm(page.Scheme+"://"+page.Host+page.Path, login)
	}
	if err == nil {
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		t.Fatalf("the browser stays at %s: %s", res.Request.URL, body)
	}
	require.ErrorIs(t, err, arrived)
	return code
}

// peersInProcess are the servers that run in this process.
var peersInProcess = map[string]func(*testing.T) *server{"dex": newDex, "fosite": newFosite, "zitadel": newZitadel}

// TestRotationWithFiftyCallers: of callers that all renew one token, one call
// goes upstream, and the grant lives on.
func TestRotationWithFiftyCallers(t *testing.T) {
	const callers, rounds = 50, 10
	for name, start := range peersInProcess {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			var ahead atomic.Int64
			s.users.HTTPClient = s.counted()
			s.users.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			cache := newCache(t, s.users)
			alice := providers.Request{Subject: "alice"}
			require.NoError(t, cache.Adopt(t.Context(), alice, s.signIn(t.Context())))
			source := cache.Source(alice)
			old, err := source.Token(t.Context())
			require.NoError(t, err)
			before, failures := s.requests.Load(), 0
			for range rounds {
				ahead.Add(int64(10 * time.Minute)) // the access token's life is over
				tokens := make([]providers.Token, callers)
				errs := make([]error, callers)
				var wg sync.WaitGroup
				for i := range callers {
					wg.Go(func() { tokens[i], errs[i] = source.Token(t.Context()) })
				}
				wg.Wait()
				for i := range callers {
					if errs[i] != nil {
						failures++
						t.Error(errs[i])
						continue
					}
					require.Equal(t, tokens[0].RefreshToken, tokens[i].RefreshToken)
					require.NotEqual(t, old.RefreshToken, tokens[i].RefreshToken)
				}
				old = tokens[0]
			}
			t.Logf("%s: %d renewals for %d callers, %d token requests, %d failures", name, rounds, callers, s.requests.Load()-before, failures)
			require.EqualValues(t, rounds, s.requests.Load()-before)
		})
	}
}

// TestASpentRefreshToken: what each server does when a refresh token comes
// twice, and what the kit makes of it.
func TestASpentRefreshToken(t *testing.T) {
	for name, start := range peersInProcess {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			p := must(oauth.New(s.users))
			alice := providers.Request{Subject: "alice"}
			first := s.signIn(t.Context())
			second, err := p.Refresh(t.Context(), alice, first.RefreshToken)
			require.NoError(t, err)
			require.NotEqual(t, first.RefreshToken, second.RefreshToken, "it rotates")
			_, err = p.Refresh(t.Context(), alice, first.RefreshToken)
			e := providers.AsError(err)
			require.Equal(t, providers.GrantDead, e.Class, "%v", e.LogValue())
			require.Equal(t, providers.CodeRefreshRejected, e.Code)
			_, err = p.Refresh(t.Context(), alice, "not-a-token")
			require.Equal(t, providers.GrantDead, providers.AsError(err).Class, "%v", providers.AsError(err).LogValue())

			_, err = p.Refresh(t.Context(), alice, second.RefreshToken)
			familyDies := map[string]bool{"fosite": true}[name] // RFC 9700 section 4.14.2
			require.Equal(t, familyDies, err != nil, "%v", err)
		})
	}
}

func TestACodeWorksOnce(t *testing.T) {
	for name, start := range peersInProcess {
		t.Run(name, func(t *testing.T) {
			_, err := must(oauth.New(start(t).users)).Exchange(t.Context(), "not-a-code", pkceVerifier, callback)
			e := providers.AsError(err)
			require.Equal(t, providers.CodeGrantRequired, e.Code, "%v", e.LogValue())
			require.Equal(t, providers.Permanent, e.Class)
		})
	}
}

// TestIntrospectionAndRevocation: where the server has them.
func TestIntrospectionAndRevocation(t *testing.T) {
	for name, start := range peersInProcess {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			if s.users.IntrospectionURL == "" {
				t.Skip("the server has neither")
			}
			p := must(oauth.New(s.users))
			began := time.Now()
			pair := s.signIn(t.Context())
			got, err := p.Verify(t.Context(), pair.AccessToken)
			require.NoError(t, err)
			require.NotEmpty(t, got.Subject)
			require.WithinDuration(t, pair.Expiry, got.Expiry, 2*time.Second+time.Since(began))
			_, err = p.Verify(t.Context(), "not-a-token")
			require.Equal(t, providers.CodeInvalidToken, providers.AsError(err).Code)
			require.NoError(t, p.Revoke(t.Context(), pair))
			_, err = p.Verify(t.Context(), pair.AccessToken)
			require.Equal(t, providers.CodeInvalidToken, providers.AsError(err).Code)
			_, err = p.Refresh(t.Context(), providers.Request{Subject: "alice"}, pair.RefreshToken)
			require.Equal(t, providers.GrantDead, providers.AsError(err).Class)
		})
	}
}
