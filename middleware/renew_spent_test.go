package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
)

// session is a browser's session in cookies, at an Authenticator that renews.
type session struct {
	t         *testing.T
	issuer    *authtest.Issuer
	next      func(refresh string) (providers.Token, error)
	presented []string
	delivered []providers.Token
	handler   http.Handler
	auth      *middleware.Authenticator
}

func newSession(t *testing.T, change func(*middleware.Config), next func(refresh string) (providers.Token, error)) *session {
	s := &session{t: t, issuer: newIssuer(t), next: next}
	cfg := middleware.Config{
		Issuers: []middleware.Issuer{trusting(s.issuer)}, Logger: slog.New(slog.DiscardHandler),
		Renew: &middleware.Renew{
			Window:     7 * 24 * time.Hour,
			Credential: func(r *http.Request) string { return r.Header.Get("Refresh") },
			Token: func(_ context.Context, _ *middleware.Verified, refresh string) (providers.Token, error) {
				s.presented = append(s.presented, refresh)
				return s.next(refresh)
			},
			Deliver: func(w http.ResponseWriter, _ *http.Request, t providers.Token) {
				s.delivered = append(s.delivered, t)
				w.Header().Set("X-Refresh", t.RefreshToken)
			},
		},
	}
	if change != nil {
		change(&cfg)
	}
	s.auth = newAuth(t, cfg)
	s.handler = s.auth.Handler(ok)
	return s
}

func (s *session) send(token, refresh string) *httptest.ResponseRecorder {
	r := httptestRequest("Bearer " + token)
	r.Header.Set("Refresh", refresh)
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// ended is a token that ended ago.
func (s *session) ended(ago time.Duration, over map[string]any) string {
	claims := map[string]any{"exp": time.Now().Add(-ago).Unix()}
	for name, value := range over {
		claims[name] = value
	}
	return mint(s.t, s.issuer, claims)
}

func (s *session) pair(over map[string]any) func(string) (providers.Token, error) {
	return func(refresh string) (providers.Token, error) {
		return providers.Token{AccessToken: mint(s.t, s.issuer, over), RefreshToken: refresh + "+"}, nil
	}
}

// The user lost a role: the route refuses the new token, and the client still
// gets the new refresh token.
func TestANewPairIsDeliveredAlsoIfTheRouteRefusesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, func(c *middleware.Config) { c.Require = middleware.Rule{AllScopes: []string{"admin"}} }, nil)
		s.next = s.pair(map[string]any{"scope": "user"})
		require.Equal(t, 200, s.send(mint(t, s.issuer, map[string]any{"scope": "admin"}), "").Code)
		old := s.ended(2*time.Minute, map[string]any{"scope": "admin"})
		for range 3 {
			w := s.send(old, "r1")
			require.Equal(t, 403, w.Code)
			require.Contains(t, w.Header().Get("WWW-Authenticate"), "insufficient_scope")
			require.Equal(t, "r1+", w.Header().Get("X-Refresh"))
		}
		require.Equal(t, []string{"r1"}, s.presented, "a refresh token is presented once")
	})
}

func TestANewPairIsDeliveredAlsoIfTheRevocationStoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := ""
		s := newSession(t, func(c *middleware.Config) {
			c.Revoked = func(_ context.Context, v *middleware.Verified) (bool, error) {
				if v.Expiry.After(time.Now()) && old != "" {
					return false, errors.New("the store is down")
				}
				return false, nil
			}
		}, nil)
		s.next = s.pair(nil)
		require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
		old = s.ended(2*time.Minute, nil)
		w := s.send(old, "r1")
		require.Equal(t, 503, w.Code)
		require.Equal(t, "r1+", w.Header().Get("X-Refresh"))
		time.Sleep(5 * time.Second)
		require.Equal(t, 503, s.send(old, "r1").Code)
		require.Equal(t, []string{"r1"}, s.presented)
	})
}

// A token that is withdrawn while it is renewed has no successor.
func TestARevokedSuccessorIsNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, func(c *middleware.Config) {
			c.Revoked = func(_ context.Context, v *middleware.Verified) (bool, error) { return v.ID == "new", nil }
		}, nil)
		s.next = s.pair(map[string]any{"jti": "new"})
		require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
		require.Equal(t, 401, s.send(s.ended(2*time.Minute, nil), "r1").Code)
		require.Empty(t, s.delivered)
	})
}

// The issuer rotated its keys and the key set cannot be fetched: the new token
// cannot be verified just now.
func TestANewPairIsKeptIfItsKeyCannotBeFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, nil, nil)
		s.next = s.pair(nil)
		require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
		old := s.ended(2*time.Minute, nil)
		require.NoError(t, s.issuer.Rotate(true))
		s.issuer.Down(true)
		w := s.send(old, "r1")
		require.Equal(t, 503, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		require.Equal(t, "r1+", w.Header().Get("X-Refresh"))
		s.issuer.Down(false)
		time.Sleep(3 * time.Second)
		w = s.send(old, "r1")
		require.Equal(t, 200, w.Code)
		require.Equal(t, "r1+", w.Header().Get("X-Refresh"))
		require.Equal(t, []string{"r1"}, s.presented)
	})
}

// Another subject's token that could not be verified at once is not used later.
func TestANewPairThatIsKeptIsStillCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, nil, nil)
		s.next = s.pair(map[string]any{"sub": "eve"})
		require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
		old := s.ended(2*time.Minute, nil)
		require.NoError(t, s.issuer.Rotate(true))
		s.issuer.Down(true)
		require.Equal(t, 503, s.send(old, "r1").Code)
		s.issuer.Down(false)
		time.Sleep(3 * time.Second)
		s.delivered = nil
		require.Equal(t, 401, s.send(old, "r1").Code)
		require.Empty(t, s.delivered)
	})
}

// The issuer's clock is ahead by more than the leeway.
func TestANewPairIsDeliveredIfItIsNotYetValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, nil, nil)
		require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
		old := s.ended(2*time.Minute, nil)
		s.next = s.pair(map[string]any{"nbf": time.Now().Add(70 * time.Second).Unix()})
		w := s.send(old, "r1")
		require.Equal(t, 401, w.Code)
		require.Equal(t, "r1+", w.Header().Get("X-Refresh"))
		time.Sleep(15 * time.Second)
		require.Equal(t, 200, s.send(old, "r1").Code)
		require.Equal(t, []string{"r1"}, s.presented)
	})
}

// A provider may get a new refresh token and no access token.
func TestANewRefreshTokenWithoutAccessTokenIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, nil, func(string) (providers.Token, error) {
			return providers.Token{RefreshToken: "r2"}, &providers.Error{Code: providers.CodeBadResponse, Class: providers.InDoubt}
		})
		require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
		old := s.ended(2*time.Minute, nil)
		for range 2 {
			require.Equal(t, 503, s.send(old, "r1").Code)
			time.Sleep(10 * time.Second)
		}
		require.Equal(t, []string{"r1"}, s.presented)
		require.Equal(t, providers.Token{AccessToken: old, RefreshToken: "r2", Expiry: s.delivered[0].Expiry}, s.delivered[0])
		s.next = s.pair(nil)
		require.Equal(t, 200, s.send(old, "r2").Code)
	})
}

// A token beside any other error is not used.
func TestAPairBesideAnErrorIsNotDelivered(t *testing.T) {
	for _, fault := range []error{errors.New("blocked"), &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}} {
		synctest.Test(t, func(t *testing.T) {
			s := newSession(t, nil, nil)
			s.next = func(refresh string) (providers.Token, error) {
				pair, _ := s.pair(nil)(refresh)
				return pair, fault
			}
			require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
			require.Equal(t, 401, s.send(s.ended(2*time.Minute, nil), "r1").Code)
			require.Empty(t, s.delivered)
		})
	}
}

func TestAnOutageOfTheRenewalIs503(t *testing.T) {
	for _, c := range []struct {
		class providers.Class
		want  int
	}{{providers.Transient, 503}, {providers.InDoubt, 503}, {providers.Permanent, 401}, {providers.GrantDead, 401}} {
		synctest.Test(t, func(t *testing.T) {
			s := newSession(t, nil, func(string) (providers.Token, error) {
				return providers.Token{}, &providers.Error{Code: providers.CodeBusy, Class: c.class, RetryAfter: 7 * time.Second}
			})
			require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
			w := s.send(s.ended(2*time.Minute, nil), "r1")
			require.Equal(t, c.want, w.Code, c.class.String())
			if c.want == 503 {
				require.Equal(t, "7", w.Header().Get("Retry-After"))
				require.Empty(t, w.Header().Get("WWW-Authenticate"))
			}
			require.Empty(t, s.delivered)
		})
	}
}

// A successor is used only while it lasts.
func TestASuccessorThatEndedIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, func(c *middleware.Config) { c.Leeway = -1 }, nil)
		s.next = func(refresh string) (providers.Token, error) {
			return providers.Token{AccessToken: mint(t, s.issuer, map[string]any{"exp": time.Now().Add(5 * time.Second).Unix()}), RefreshToken: refresh}, nil
		}
		require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
		old := s.ended(time.Second, nil)
		require.Equal(t, 200, s.send(old, "r1").Code)
		time.Sleep(4 * time.Second)
		require.Equal(t, 200, s.send(old, "r1").Code)
		require.Len(t, s.presented, 1)
		time.Sleep(21 * time.Second)
		require.Equal(t, 200, s.send(old, "r1").Code)
		require.Len(t, s.presented, 2)
		require.Equal(t, 200, s.send(s.delivered[2].AccessToken, "").Code)
	})
}

func TestARenewalThatPanicsIsCountedAndLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		events := &inboundLog{}
		s := newSession(t, func(c *middleware.Config) {
			c.Logger, c.Observer = slog.New(slog.NewTextHandler(&log, nil)), events.observe
		}, func(string) (providers.Token, error) { panic("hunter2") })
		require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
		events.take()
		require.Equal(t, 401, s.send(s.ended(2*time.Minute, nil), "r1").Code)
		require.EqualValues(t, 1, s.auth.Stats().RenewalsFailed)
		require.Equal(t, "renewal_failed//error/0", events.take()[0])
		require.Contains(t, log.String(), "an expired token could not be renewed")
		require.NotContains(t, log.String(), "hunter2")
	})
}
