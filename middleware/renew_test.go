package middleware_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
)

// grants is an OIDC issuer's token endpoint: refresh tokens work once.
type grants struct {
	issuer *authtest.Issuer
	mu     sync.Mutex
	spent  map[string]int
	over   map[string]any // laid over the new token's claims
	err    error
}

func (g *grants) Refresh(_ context.Context, req providers.Request, refresh string) (providers.Token, error) {
	time.Sleep(50 * time.Millisecond)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spent[refresh]++
	if g.err != nil {
		return providers.Token{}, g.err
	}
	if g.spent[refresh] > 1 || len(refresh) > 2 {
		return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}
	}
	token, err := g.issuer.Token(g.over)
	return providers.Token{AccessToken: token, RefreshToken: refresh + "+"}, err
}

// renewing returns a handler that renews, and a request with the given token
// and refresh cookie.
func renewing(t *testing.T, g *grants) (h http.Handler, send func(token, cookie string) *httptest.ResponseRecorder) {
	auth := newAuth(t, middleware.Config{
		Issuers: []middleware.Issuer{trusting(g.issuer)},
		Renew: &middleware.Renew{
			Window: time.Hour,
			Credential: func(r *http.Request) string {
				c, err := r.Cookie("refresh")
				if err != nil {
					return ""
				}
				return c.Value
			},
			Token: middleware.RenewByRefresh(g),
			Deliver: func(w http.ResponseWriter, _ *http.Request, t providers.Token) {
				http.SetCookie(w, &http.Cookie{Name: "refresh", Value: t.RefreshToken, HttpOnly: true})
				w.Header().Set("X-Access-Token", t.AccessToken)
			},
		},
	})
	h = auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, _ := middleware.VerifiedFrom(r.Context())
		w.Header().Add("X-Handled", v.Subject+" until "+v.Expiry.Format(time.RFC3339))
	}))
	return h, func(token, cookie string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if cookie != "" {
			r.AddCookie(&http.Cookie{Name: "refresh", Value: cookie})
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
}

func TestRenewOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{issuer: newIssuer(t), spent: map[string]int{}}
		_, send := renewing(t, g)
		fresh := mint(t, g.issuer, nil)
		w := send(fresh, "r0")
		require.Equal(t, 200, w.Code)
		require.Empty(t, w.Header().Get("X-Access-Token"), "nothing to renew")
		old := mint(t, g.issuer, map[string]any{"exp": time.Now().Add(-30 * time.Minute).Unix()})

		var wg sync.WaitGroup
		answers := make([]*httptest.ResponseRecorder, 50)
		for n := range answers {
			wg.Go(func() { answers[n] = send(old, "r1") })
		}
		wg.Wait()
		time.Sleep(10 * time.Second) // a straggler
		answers = append(answers, send(old, "r1"))
		for _, w := range answers {
			require.Equal(t, 200, w.Code)
			require.NotEmpty(t, w.Header().Get("X-Access-Token"))
			require.Contains(t, w.Header().Get("Set-Cookie"), "refresh=r1+;")
			require.Len(t, w.Header().Values("X-Handled"), 1, "the handler runs once")
		}
		require.Equal(t, 1, g.spent["r1"])

		// Who has the expired token alone, or another refresh token, gets
		// nothing of the renewal above.
		require.Equal(t, 401, send(old, "").Code)
		require.Equal(t, 401, send(old, "guessed").Code)
		g.err = errors.New("refused")
		require.Equal(t, 401, send(old, "r2").Code)
		g.err = nil
	})
}

func TestOnlyAgeIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{issuer: newIssuer(t), spent: map[string]int{}}
		_, send := renewing(t, g)
		require.Equal(t, 200, send(mint(t, g.issuer, nil), "").Code)
		at := func(ago time.Duration, over map[string]any) string {
			claims := map[string]any{"exp": time.Now().Add(-ago).Unix()}
			for k, v := range over {
				claims[k] = v
			}
			return mint(t, g.issuer, claims)
		}
		forged := at(time.Minute*2, nil)
		forged = forged[:len(forged)-10] + "AAAAAAAAAA"
		for name, token := range map[string]string{
			"outside the window": at(61*time.Minute, nil), "forged": forged, "another audience": at(2*time.Minute, map[string]any{"aud": "x"}),
			"another issuer": at(2*time.Minute, map[string]any{"iss": "x"}), "bound": at(2*time.Minute, map[string]any{"cnf": map[string]any{"jkt": "x"}}),
			"not yet valid": at(2*time.Minute, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), "unknown kid": mintAs(t, g.issuer, "x"), "garbage": "x",
		} {
			require.Equal(t, 401, send(token, "r").Code, name)
		}
		require.Empty(t, g.spent, "nothing of this reached the upstream")
	})
}

func TestRenewedTokenIsVerified(t *testing.T) {
	for name, over := range map[string]map[string]any{
		"another subject": {"sub": "eve"}, "another audience": {"aud": "x"}, "another issuer": {"iss": "x"}, "expired too": {"exp": 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := &grants{issuer: newIssuer(t), spent: map[string]int{}, over: over}
			_, send := renewing(t, g)
			require.Equal(t, 200, send(mint(t, g.issuer, nil), "").Code)
			w := send(mint(t, g.issuer, map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()}), "r")
			require.Equal(t, 401, w.Code, name)
			require.Contains(t, w.Header().Get("WWW-Authenticate"), "expired", name)
			require.Empty(t, w.Header().Get("Set-Cookie"), name)
		})
	}
}

func TestRenewalThatPanicsOrHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		mode := "panic"
		auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Renew: &middleware.Renew{
			Window: time.Hour,
			Token: func(ctx context.Context, _ *middleware.Verified, _ string) (providers.Token, error) {
				if mode == "panic" {
					panic("x")
				}
				<-ctx.Done()
				return providers.Token{}, ctx.Err()
			},
			Deliver: func(http.ResponseWriter, *http.Request, providers.Token) {},
		}})
		h := auth.Handler(ok)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		old := mint(t, i, map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()})
		require.Equal(t, 401, ask(h, old).Code)
		time.Sleep(2 * time.Second)
		mode = "hang"
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		askWith(ctx, h, old)
		require.Equal(t, time.Second, time.Since(start))
		require.Equal(t, 401, ask(h, old).Code)
		require.Equal(t, 30*time.Second, time.Since(start))
	})
}

func TestRenewContactsManager(t *testing.T) {
	p, err := contactsmanager.New(contactsmanager.Config{APIKey: "key", APISecret: string(secret), OrgID: "org-1"})
	require.NoError(t, err)
	now := time.Now()
	auth := newAuth(t, middleware.Config{
		Issuers: []middleware.Issuer{{Issuer: "org-1", AnyAudience: true, Algorithms: []string{"HS256"}, Secrets: [][]byte{secret}, SubjectClaim: "user_id"}},
		Now:     func() time.Time { return now },
		Renew: &middleware.Renew{
			Window: time.Hour, Token: middleware.RenewByGenerate(p, nil),
			Deliver: func(w http.ResponseWriter, _ *http.Request, t providers.Token) {
				w.Header().Set("X-Token", t.AccessToken)
			},
		},
	})
	h := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sub, _ := middleware.Subject(r.Context())
		_, _ = w.Write([]byte(sub))
	}))
	first, err := p.Generate(t.Context(), providers.Request{Subject: "user-7"})
	require.NoError(t, err)
	w := ask(h, first.AccessToken)
	require.Equal(t, "user-7", w.Body.String())
	require.Empty(t, w.Header().Get("X-Token"))
	expired := hs256(t, map[string]any{"iss": "org-1", "user_id": "user-7", "exp": now.Add(-2 * time.Minute).Unix()})
	w = ask(h, expired)
	require.Equal(t, "user-7", w.Body.String())
	require.Equal(t, "user-7", ask(h, w.Header().Get("X-Token")).Body.String())
}

// source is a TokenSource as tokencache's.
type source struct {
	tokens  []providers.Token
	renewed int
}

func (s *source) Token(context.Context) (providers.Token, error) { return s.tokens[0], nil }
func (s *source) Renew(_ context.Context, rejected providers.Token) (providers.Token, error) {
	if rejected.AccessToken != s.tokens[0].AccessToken {
		return providers.Token{}, errors.New("another token")
	}
	s.renewed++
	return s.tokens[1], nil
}

func TestRenewBySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		old := mint(t, i, map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()})
		next := mint(t, i, nil)
		for _, s := range []*source{
			{tokens: []providers.Token{{AccessToken: next}}},                     // the cache has renewed already
			{tokens: []providers.Token{{AccessToken: old}, {AccessToken: next}}}, // it still holds the expired one
		} {
			auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Renew: &middleware.Renew{
				Window: time.Hour,
				Token: middleware.RenewBySource(func(v *middleware.Verified, _ string) middleware.TokenSource {
					require.Equal(t, "ada", v.Subject)
					return s
				}),
				Deliver: func(w http.ResponseWriter, _ *http.Request, t providers.Token) {
					w.Header().Set("X-Token", t.AccessToken)
				},
			}})
			h := auth.Handler(ok)
			require.Equal(t, 200, ask(h, next).Code)
			require.Equal(t, next, ask(h, old).Header().Get("X-Token"))
			require.Equal(t, len(s.tokens)-1, s.renewed)
		}
	})
}
