package peers_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

// newZitadel starts the example server of zitadel/oidc.
func newZitadel(t *testing.T) *server {
	t.Helper()
	s := listen(t, func(issuer string) http.Handler {
		store := storage.NewStorageWithClients(storage.NewUserStore(issuer), map[string]*storage.Client{
			"web": storage.WebClient("web", specialSecret, callback),
		})
		return exampleop.SetupServer(issuer, store, nil, false)
	})
	s.authorize, s.scope = s.url+"/auth", "openid profile offline_access"
	s.login = url.Values{"username": {"test-user@127.0.0.1"}, "password": {"verysecure"}}
	s.users = oauth.Config{TokenURL: s.url + "/oauth/token", IntrospectionURL: s.url + "/oauth/introspect", RevocationURL: s.url + "/revoke",
		ClientID: "web", Secret: specialSecret, Grant: "refresh_token", DangerouslyUntypedTokens: true}
	return s
}

// TestTokenExchange calls on behalf of a caller (RFC 8693).
func TestTokenExchange(t *testing.T) {
	s := newZitadel(t)
	pair := s.signIn(t.Context())
	c := s.users
	c.Grant, c.Issuers, c.Scopes = "token_exchange", []string{s.url}, []string{"openid"}
	c.Params = url.Values{"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"}}
	p := must(oauth.New(c))
	caller := providers.Request{Assertion: providers.Assertion{Token: pair.AccessToken, Issuer: s.url, Expiry: pair.Expiry}}
	token, err := p.Generate(t.Context(), caller)
	require.NoError(t, err)
	require.NotEqual(t, pair.AccessToken, token.AccessToken)
	require.Equal(t, "Bearer", token.TokenType)
	require.Empty(t, token.RefreshToken)
	require.False(t, token.Expiry.After(pair.Expiry), "it ends with the caller's token")
	require.Equal(t, "id1", userinfo(t, s.url, token.AccessToken))

	caller.Assertion.Token = "not-a-token"
	_, err = p.Generate(t.Context(), caller)
	t.Log(providers.AsError(err).LogValue())
	require.Error(t, err)
	require.NotContains(t, providers.AsError(err).LogValue().String(), "not-a-token")
	caller.Assertion = providers.Assertion{Token: pair.AccessToken, Issuer: "https://another.example"}
	_, err = p.Generate(t.Context(), caller)
	require.Equal(t, providers.CodeInvalidToken, providers.AsError(err).Code)
}

// userinfo is the subject whose token the server takes it for.
func userinfo(t *testing.T, url, token string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/userinfo", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
	var info struct{ Sub string }
	require.NoError(t, json.NewDecoder(res.Body).Decode(&info))
	return info.Sub
}

// TestCallersShareAnExchange: 400 callers with two tokens of one user make two
// exchanges, and each gets the token that was got for its own.
func TestCallersShareAnExchange(t *testing.T) {
	s := newZitadel(t)
	pairs := []providers.Token{s.signIn(t.Context()), s.signIn(t.Context())}
	c := s.users
	c.Grant, c.Issuers, c.Scopes = "token_exchange", []string{s.url}, []string{"openid"}
	c.HTTPClient = s.counted()
	c.Params = url.Values{"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"}}
	cache := newCache(t, c)
	before := s.requests.Load()
	var mu sync.Mutex
	got := [2]map[string]int{{}, {}}
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			pair := pairs[i%2]
			token, err := cache.Generate(t.Context(), providers.Request{
				Subject: "id1", Assertion: providers.Assertion{Token: pair.AccessToken, Issuer: s.url, Expiry: pair.Expiry},
			})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			got[i%2][token.AccessToken]++
		})
	}
	wg.Wait()
	require.EqualValues(t, 2, s.requests.Load()-before)
	for i, tokens := range got {
		require.Len(t, tokens, 1)
		for token := range tokens {
			require.NotContains(t, got[1-i], token)
		}
	}
}
