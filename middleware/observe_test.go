package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
)

// inboundLog keeps the Authenticator's events as "kind/op/outcome/n", and is
// safe for concurrent use.
type inboundLog struct {
	mu     sync.Mutex
	events []providers.Event
}

func (l *inboundLog) observe(_ context.Context, e providers.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// take returns what happened since it was last called.
func (l *inboundLog) take() (seen []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		seen = append(seen, fmt.Sprintf("%s/%s/%s/%d", e.Kind, e.Op, e.Outcome, e.N))
	}
	l.events = nil
	return seen
}

func TestAuthenticatorTellsWhatItDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		log := &inboundLog{}
		auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Observer: log.observe})
		h := auth.Handler(ok)
		good := mint(t, i, nil)
		require.Equal(t, 200, ask(h, good).Code)
		require.Equal(t, []string{"keys_fetched/first/ok/0", "accepted/verified/ok/0"}, log.take())
		require.Equal(t, 200, ask(h, good).Code)
		require.Equal(t, []string{"accepted/remembered/ok/0"}, log.take())
		_, err := auth.Verify(t.Context(), good)
		require.NoError(t, err)
		require.Equal(t, []string{"accepted/remembered/ok/0"}, log.take())

		scoped, err := auth.Require(middleware.Rule{AllScopes: []string{"admin"}})
		require.NoError(t, err)
		own, err := auth.Require(middleware.Rule{Check: func(context.Context, *middleware.Verified) error {
			return &middleware.Error{Status: 403, Reason: "ada@example.com is blocked"}
		}})
		require.NoError(t, err)
		for want, c := range map[string]func(){
			"refused//missing/401":   func() { ask(h, "") },
			"refused//malformed/401": func() { ask(h, "x.y.z") },
			"refused//issuer/401":    func() { ask(h, mint(t, i, map[string]any{"iss": "https://other.example"})) },
			"refused//audience/401":  func() { ask(h, mint(t, i, map[string]any{"aud": "other"})) },
			"refused//expired/401":   func() { ask(h, mint(t, i, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})) },
			"refused//scope/403":     func() { ask(scoped.Handler(ok), good) },
			"refused//rule/403":      func() { ask(own.Handler(ok), good) },
		} {
			c()
			require.Equal(t, []string{want}, log.take())
		}
		_, err = auth.Check(httptest.NewRequest("GET", "/", nil))
		require.Error(t, err)
		require.Equal(t, []string{"refused//missing/401"}, log.take())
		for _, e := range log.events {
			require.Equal(t, "authenticator", e.Source)
		}
	})
}

// Config.Optional lets a request without credentials pass; nothing was decided.
func TestAuthenticatorTellsNothingOfAnAnonymousRequest(t *testing.T) {
	log := &inboundLog{}
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(newIssuer(t))}, Observer: log.observe, Optional: true})
	require.Equal(t, 200, ask(auth.Handler(ok), "").Code)
	require.Empty(t, log.take())
	require.Zero(t, auth.Stats().Refused+auth.Stats().Verified)
}

// A rotation: the key that an unknown kid asks for is in a set that changed.
func TestAuthenticatorTellsOfARotation(t *testing.T) {
	i := newIssuer(t)
	log := &inboundLog{}
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Observer: log.observe})
	h := auth.Handler(ok)
	require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
	log.take()
	for _, overlap := range []bool{true, false} {
		require.NoError(t, i.Rotate(overlap))
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		require.Equal(t, []string{"keys_fetched/changed/ok/0", "accepted/verified/ok/0"}, log.take())
	}
	require.Equal(t, 401, ask(h, mintAs(t, i, "unheard")).Code)
	require.Equal(t, []string{"keys_fetched/same/ok/0", "refused//key/401"}, log.take())
}

// An outage: the set grows stale once, and is back once. The gauges say so
// while it lasts, and the log says it once.
func TestAuthenticatorTellsOfAnIssuersOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		events := &inboundLog{}
		var log bytes.Buffer
		cfg := trusting(i)
		cfg.RefreshEvery = time.Minute
		auth := newAuth(t, middleware.Config{
			Issuers: []middleware.Issuer{cfg}, Observer: events.observe, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		require.Equal(t, 1, auth.Stats().KeySetsMissing)
		require.Zero(t, auth.Stats().KeySetsStale, "what is missing is not in use")
		h := auth.Handler(ok)
		good := mint(t, i, map[string]any{"exp": time.Now().Add(100 * time.Hour).Unix()})
		require.Equal(t, 200, ask(h, good).Code)
		events.take()
		require.Zero(t, auth.Stats().KeySetsMissing)
		require.Zero(t, auth.Stats().KeySetsStale)

		i.Down(true)
		for range 300 {
			time.Sleep(time.Second)
			require.Equal(t, 200, ask(h, good).Code)
		}
		synctest.Wait()
		seen := events.take()
		failed := 0
		for _, s := range seen {
			if strings.HasPrefix(s, "keys_failed//error/") {
				failed++
			}
		}
		require.Greater(t, failed, 3)
		require.Equal(t, 1, strings.Count(strings.Join(seen, " "), "keys_stale///0"))
		s := auth.Stats()
		require.Equal(t, 1, s.KeySetsStale)
		require.Zero(t, s.KeySetsMissing)
		require.Equal(t, 300*time.Second, s.OldestKeySet)
		require.EqualValues(t, failed, s.KeyFetchesFailed)
		require.EqualValues(t, failed+1, s.KeyFetches)
		require.Equal(t, 1, strings.Count(log.String(), "level="), log.String())
		require.Contains(t, log.String(), "level=WARN")

		time.Sleep(25 * time.Hour)
		require.Equal(t, 503, ask(h, good).Code)
		synctest.Wait()
		time.Sleep(time.Minute)
		require.Equal(t, 503, ask(h, good).Code)
		synctest.Wait()
		require.Equal(t, 1, auth.Stats().KeySetsMissing)
		require.EqualValues(t, 2, auth.Stats().Unavailable)
		require.Equal(t, 1, strings.Count(log.String(), "level=ERROR"), log.String())
		events.take()

		i.Down(false)
		time.Sleep(time.Minute)
		require.Equal(t, 200, ask(h, good).Code)
		seen = events.take()
		synctest.Wait() // the log is told after the waiting request
		require.Equal(t, "keys_fetched/same/ok/0", seen[0])
		require.True(t, strings.HasPrefix(seen[1], "keys_back///"), seen[1])
		require.Zero(t, auth.Stats().KeySetsStale)
		require.Equal(t, 1, strings.Count(log.String(), "level=INFO"))
	})
}

func TestAuthenticatorTellsOfRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{issuer: newIssuer(t), spent: map[string]int{}}
		events := &inboundLog{}
		var log bytes.Buffer
		auth := newAuth(t, middleware.Config{
			Issuers: []middleware.Issuer{trusting(g.issuer)}, Observer: events.observe, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Renew: &middleware.Renew{
				Window: time.Hour, Token: middleware.RenewByRefresh(g), Deliver: func(http.ResponseWriter, *http.Request, providers.Token) {},
				Credential: func(r *http.Request) string { return r.Header.Get("Refresh") },
			},
		})
		h := auth.Handler(ok)
		require.Equal(t, 200, ask(h, mint(t, g.issuer, nil)).Code) // the keys are here
		events.take()
		send := func(refresh string) int {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+mint(t, g.issuer, map[string]any{"exp": time.Now().Add(-10 * time.Minute).Unix()}))
			r.Header.Set("Refresh", refresh)
			h.ServeHTTP(w, r)
			return w.Code
		}
		require.Equal(t, 200, send("a"))
		require.Equal(t, 50*time.Millisecond, events.events[0].Duration)
		require.Equal(t, []string{"renewed//ok/0", "accepted/renewed/ok/0"}, events.take())
		for range 3 {
			require.Equal(t, 401, send("a"))
			require.Equal(t, []string{"renewal_failed//grant_dead/0", "refused//expired/401"}, events.take())
		}
		require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
		require.Equal(t, 200, send("b"))
		require.Equal(t, 401, send("b"))
		require.Equal(t, 2, strings.Count(log.String(), "level=WARN"))
		s := auth.Stats()
		require.EqualValues(t, 2, s.Renewed)
		require.EqualValues(t, 4, s.RenewalsFailed)
		require.EqualValues(t, 3, s.Verified, "the renewed token is counted once")
	})
}

// verifierFunc is a providers.Verifier.
type verifierFunc func(token string) (providers.Verified, error)

func (f verifierFunc) Verify(_ context.Context, token string) (providers.Verified, error) {
	return f(token)
}

func TestAuthenticatorTellsOfVerdicts(t *testing.T) {
	log := &inboundLog{}
	auth := newAuth(t, middleware.Config{Observer: log.observe, Logger: slog.New(slog.DiscardHandler), Opaque: []middleware.Opaque{{
		AnyAudience: true, Owns: func(string) bool { return true },
		Verifier: verifierFunc(func(token string) (providers.Verified, error) {
			switch token {
			case "good":
				return providers.Verified{Subject: "ada"}, nil
			case "bad":
				return providers.Verified{}, &providers.Error{Code: providers.CodeInvalidToken, Class: providers.Permanent}
			}
			return providers.Verified{}, &providers.Error{Code: providers.CodeBusy}
		}),
	}}})
	h := auth.Handler(ok)
	for token, want := range map[string][]string{
		"good": {"verdict//ok/0", "accepted/verified/ok/0"},
		"bad":  {"verdict//not_valid/0", "refused//opaque/401"},
		"odd":  {"verdict//transient/0", "refused//unavailable/503"},
	} {
		ask(h, token)
		require.Equal(t, want, log.take(), token)
	}
	require.Equal(t, 200, ask(h, "good").Code)
	require.Equal(t, []string{"accepted/verified/ok/0"}, log.take(), "a verdict that is remembered is no call")
	s := auth.Stats()
	require.EqualValues(t, 3, s.Verdicts)
	require.EqualValues(t, 1, s.VerdictsFailed)
}

// Hits are exact: what 8 goroutines ask for is what is counted.
func TestStatsCountExactly(t *testing.T) {
	i := newIssuer(t)
	auth := authFor(t, trusting(i))
	good := mint(t, i, nil)
	_, err := auth.Verify(t.Context(), good)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if _, err := auth.Verify(t.Context(), good); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s := auth.Stats()
	require.EqualValues(t, 4000, s.Remembered)
	require.EqualValues(t, 1, s.Verified)
	require.Equal(t, 1, s.Entries)
	derived, err := auth.Require()
	require.NoError(t, err)
	require.EqualValues(t, 4000, derived.Stats().Remembered)
}

// An Observer that panics or exits on a fetch leaves nobody waiting.
func TestObserverCannotBreakAFetch(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("hunter2") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Observer: func(_ context.Context, e providers.Event) {
				if strings.HasPrefix(e.Kind, "keys_") {
					end()
				}
			}})
			require.Equal(t, 200, ask(auth.Handler(ok), mint(t, i, nil)).Code)
		})
	}
}

// No label is made of what a request brought.
func TestEventLabelsAreBounded(t *testing.T) {
	i := newIssuer(t)
	log := &inboundLog{}
	secrets := []string{"canary", i.URL, i.Audience}
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Observer: log.observe, Logger: slog.New(slog.DiscardHandler),
		Revoked: func(_ context.Context, v *middleware.Verified) (bool, error) {
			if v.Subject == "canary-down" {
				return false, errors.New("canary")
			}
			return v.Subject == "canary", nil
		}})
	h := auth.Handler(ok)
	for _, token := range []string{
		"canary", "canary.canary.canary", mintAs(t, i, "canary"), mint(t, i, map[string]any{"sub": "canary"}),
		mint(t, i, map[string]any{"sub": "canary-down"}), mint(t, i, map[string]any{"iss": "canary"}), mint(t, i, nil),
	} {
		ask(h, token)
		secrets = append(secrets, token)
	}
	kinds := map[string]bool{}
	for _, e := range log.events {
		kinds[e.Kind] = true
		for _, label := range []string{e.Source, e.Kind, e.Op, e.Outcome} {
			for _, s := range secrets {
				require.NotContains(t, label, s)
			}
			require.False(t, slices.ContainsFunc([]byte(label), func(c byte) bool { return c != '_' && (c < 'a' || c > 'z') }), label)
		}
	}
	require.Len(t, kinds, 3)
}

// What keeps every caller out is told without Debug, once a minute, whatever
// the reason is that tokens cannot be checked.
func TestWhatKeepsEveryCallerOutIsToldOnceAMinute(t *testing.T) {
	down := errors.New("dial tcp: refused")
	for name, build := range map[string]func(t *testing.T, i *authtest.Issuer, c *middleware.Config) (token string){
		"verifier": func(_ *testing.T, _ *authtest.Issuer, c *middleware.Config) string {
			c.Opaque = []middleware.Opaque{{
				Verifier: verifier(func(context.Context, string) (providers.Verified, error) { return providers.Verified{}, down }),
				Owns:     func(string) bool { return true }, AnyAudience: true, Subjects: middleware.Own,
			}}
			return "opaque"
		},
		"revocation": func(t *testing.T, i *authtest.Issuer, c *middleware.Config) string {
			c.Issuers = []middleware.Issuer{static(i)}
			c.Revoked = func(context.Context, *middleware.Verified) (bool, error) { return false, down }
			return mint(t, i, nil)
		},
		"resolve": func(t *testing.T, i *authtest.Issuer, c *middleware.Config) string {
			c.Resolve = func(context.Context, string) (*middleware.Issuer, error) { return nil, down }
			return mint(t, i, nil)
		},
		"keys": func(t *testing.T, i *authtest.Issuer, c *middleware.Config) string {
			i.Down(true)
			c.Issuers = []middleware.Issuer{trusting(i)}
			return mint(t, i, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				c := middleware.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
				token := build(t, newIssuer(t), &c)
				auth, err := middleware.New(c)
				require.NoError(t, err)
				h := auth.Handler(ok)
				for range 25 {
					require.Equal(t, 503, ask(h, token).Code)
					synctest.Wait()
					time.Sleep(2 * time.Second)
				}
				require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
				require.Contains(t, log.String(), "503")
				gone, cancel := context.WithCancel(t.Context())
				cancel()
				time.Sleep(time.Minute)
				_, err = auth.Verify(gone, token)
				require.Error(t, err)
				synctest.Wait()
				require.Equal(t, 1, strings.Count(log.String(), "\n"), "a caller that has left is no outage")
			})
		})
	}
}
