package peers_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/tokencache"
)

var soak = flag.Duration("soak", 10*time.Second, "how long TestShortTokens runs")

// apis are the server's APIs and the algorithms of their tokens.
var apis = map[string]string{"urn:api:rs256": "RS256", "urn:api:es256": "ES256", "urn:api:eddsa": "EdDSA"}

// api is a server whose every route wants a token for audience; it answers with
// the method, the subject and the body. Clocks are the same, so there is no
// leeway.
func (p *peer) api(audience string) *httptest.Server {
	p.t.Helper()
	auth, err := middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{
			Issuer: p.issuer, Discover: true, Audiences: []string{audience}, Algorithms: []string{apis[audience]}, AccessTokenProfile: true,
		}},
		Leeway: -1,
	})
	require.NoError(p.t, err)
	s := httptest.NewServer(auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject, _ := middleware.Subject(r.Context())
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, subject, body)
	})))
	p.t.Cleanup(s.Close)
	return s
}

func newCache(t *testing.T, c oauth.Config) *tokencache.Cache {
	t.Helper()
	provider, err := oauth.New(c)
	require.NoError(t, err)
	cache, err := tokencache.New(provider, tokencache.Options{Now: c.Now})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		require.NoError(t, cache.Close(ctx))
	})
	return cache
}

// caller calls with the tokens of source.
func caller(source middleware.TokenSource) *http.Client {
	return &http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(source)}}
}

func post(t *testing.T, c *http.Client, url, body string) string {
	t.Helper()
	res, err := c.Post(url, "text/plain", strings.NewReader(body))
	require.NoError(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s", answer)
	return string(answer)
}

func TestProtectedRoute(t *testing.T) {
	p := start(t, time.Minute, signed("RS384", rsaKey), web())
	c := p.signedConfig("RS384", rsaKey)
	own := newCache(t, c)
	c = p.config("web")
	c.Secret, c.Grant = specialSecret, "refresh_token"
	users := newCache(t, c)
	for audience, alg := range apis {
		t.Run(alg, func(t *testing.T) {
			api := p.api(audience)
			service := providers.Request{Audience: audience}
			require.Equal(t, "POST  hello", post(t, caller(own.Source(service)), api.URL, "hello"))

			alice := providers.Request{Subject: "alice", Audience: audience}
			require.NoError(t, users.Adopt(t.Context(), alice, p.signIn("alice", audience)))
			source := users.Source(alice)
			require.Equal(t, "POST alice hello", post(t, caller(source), api.URL, "hello"))

			// A token that dies early is renewed on the 401, and the body sent again.
			dying, err := source.Token(t.Context())
			require.NoError(t, err)
			renewed, err := source.Renew(t.Context(), dying)
			require.NoError(t, err)
			require.NotEqual(t, dying.AccessToken, renewed.AccessToken)
			require.Equal(t, "POST alice again", post(t, caller(source), api.URL, "again"))

			// The token of another API is none here.
			for other := range apis {
				if other != audience {
					res, err := caller(own.Source(providers.Request{Audience: other})).Get(api.URL)
					require.NoError(t, err)
					require.Equal(t, http.StatusUnauthorized, res.StatusCode)
					_ = res.Body.Close()
				}
			}
		})
	}
}

// TestKeyRotation: the server replaces its keys; what it signs with them is
// accepted at once, and what it signed before is renewed on the way.
func TestKeyRotation(t *testing.T) {
	p := start(t, time.Minute, signed("ES384", p384))
	source := newCache(t, p.signedConfig("ES384", p384)).Source(providers.Request{Audience: "urn:api:es256"})
	api := p.api("urn:api:es256")
	client := caller(source)
	post(t, client, api.URL, "before")
	p.control("rotate")
	first, err := source.Token(t.Context())
	require.NoError(t, err)
	_, err = source.Renew(t.Context(), first)
	require.NoError(t, err)
	post(t, client, api.URL, "after")
}

// TestRotatingRefreshToken: 50 goroutines spend one refresh token.
func TestRotatingRefreshToken(t *testing.T) {
	p := start(t, time.Minute, web())
	c := p.config("web")
	var ahead atomic.Int64
	c.Secret, c.Grant = specialSecret, "refresh_token"
	c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	cache := newCache(t, c)
	const callers = 50

	for name, spend := range map[string]func(providers.Request, string) (providers.Token, error){
		"refresh": func(req providers.Request, rt string) (providers.Token, error) {
			return cache.Refresh(t.Context(), req, rt)
		},
		"source": func(req providers.Request, _ string) (providers.Token, error) {
			return cache.Source(req).Token(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			user := providers.Request{Subject: name}
			pair := p.signIn(name, "urn:api:es256")
			pair.IssuedAt, pair.Expiry = c.Now(), c.Now().Add(time.Minute)
			require.NoError(t, cache.Adopt(t.Context(), user, pair))
			ahead.Add(int64(2 * time.Minute)) // the access token's life is over
			before := p.control("counts")
			tokens := make([]providers.Token, callers)
			var wg sync.WaitGroup
			for i := range tokens {
				wg.Go(func() {
					var err error
					if tokens[i], err = spend(user, pair.RefreshToken); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			after := p.control("counts")
			require.Equal(t, counts{before.Granted + 1, before.Refused}, after, "one call")
			for _, got := range tokens {
				require.Equal(t, tokens[0].AccessToken, got.AccessToken, "all served")
			}
			require.NotEqual(t, pair.RefreshToken, tokens[0].RefreshToken, "it rotates")
			_, err := cache.Refresh(t.Context(), user, tokens[0].RefreshToken)
			require.NoError(t, err, "the grant is alive")
		})
	}
}

// TestRotatingRefreshTokenWithoutTheCache shows that the test above can fail.
func TestRotatingRefreshTokenWithoutTheCache(t *testing.T) {
	p := start(t, time.Minute, web())
	c := p.config("web")
	c.Secret, c.Grant = specialSecret, "refresh_token"
	provider := must(oauth.New(c))
	pair := p.signIn("carol", "urn:api:es256")
	var wg sync.WaitGroup
	var next atomic.Value
	var dead atomic.Int32
	for range 4 {
		wg.Go(func() {
			got, err := provider.Refresh(t.Context(), providers.Request{Subject: "carol"}, pair.RefreshToken)
			if err == nil {
				next.Store(got.RefreshToken)
			} else if providers.AsError(err).Class == providers.GrantDead {
				dead.Add(1)
			}
		})
	}
	wg.Wait()
	require.NotZero(t, dead.Load())
	_, err := provider.Refresh(t.Context(), providers.Request{Subject: "carol"}, next.Load().(string))
	require.Equal(t, providers.GrantDead, providers.AsError(err).Class, "the winner's pair is dead too")
}

// inTime is a source. No token of it has expired when a caller asks for one.
type inTime struct {
	middleware.TokenSource
	expired *atomic.Int32
}

func (s inTime) Token(ctx context.Context) (providers.Token, error) {
	asked := time.Now()
	tok, err := s.TokenSource.Token(ctx)
	if err == nil && !asked.Before(tok.Expiry) {
		s.expired.Add(1)
	}
	return tok, err
}

// outlived reports whether the token in an Authorization header has expired.
func outlived(t *testing.T, authorization string) bool {
	t.Helper()
	var claims struct {
		Exp int64 `json:"exp"`
	}
	parts := strings.Split(authorization, ".")
	require.Len(t, parts, 3)
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &claims))
	return time.Now().Unix() >= claims.Exp
}

// TestShortTokens: 100 callers, tokens of three seconds. No caller gets a token
// that has expired or sees a 401, and no token is asked for that is not used.
// On a machine that stands still for a moment, a token may expire on its way to
// the API: then the Transport renews it.
func TestShortTokens(t *testing.T) {
	const life, callers = 3 * time.Second, 100
	p := start(t, life, signed("ES384", p384))
	source := newCache(t, p.signedConfig("ES384", p384)).Source(providers.Request{Audience: "urn:api:es256"})
	var unauthorized, expired, late, calls atomic.Int32
	api := p.api("urn:api:es256")
	base := &http.Transport{MaxIdleConnsPerHost: callers}
	defer base.CloseIdleConnections()
	var seen sync.Map // access token -> nothing
	watched := roundTrip(func(r *http.Request) (*http.Response, error) {
		seen.Store(r.Header.Get("Authorization"), nil)
		res, err := base.RoundTrip(r)
		if err == nil && res.StatusCode == http.StatusUnauthorized {
			// Those that the Transport would cure count too.
			if outlived(t, r.Header.Get("Authorization")) {
				late.Add(1)
			} else {
				unauthorized.Add(1)
			}
		}
		return res, err
	})
	client := &http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(inTime{source, &expired}), Base: watched}}

	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), *soak)
	defer cancel()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-pace.C:
				}
				res, err := client.Get(api.URL)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				calls.Add(1)
				if res.StatusCode != http.StatusOK {
					t.Errorf("a caller saw %d", res.StatusCode)
					return
				}
			}
		})
	}
	wg.Wait()
	requests := p.control("counts")
	tokens := 0
	seen.Range(func(any, any) bool { tokens++; return true })
	took := time.Since(began)
	t.Logf("%d calls in %v with %d tokens, %d token requests; %d tokens expired on the way", calls.Load(), took, tokens, requests.Granted, late.Load())
	require.Zero(t, unauthorized.Load())
	require.Zero(t, expired.Load())
	require.Zero(t, requests.Refused)
	require.LessOrEqual(t, requests.Granted, tokens+3, "every token is used, but for those of moments at which the machine stands still")
	// The server cuts a life to whole seconds, and a token is renewed after 60 %
	// of it at the earliest.
	shortest := (life - time.Second) * 6 / 10
	require.LessOrEqual(t, requests.Granted, int(took/shortest)+2)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
