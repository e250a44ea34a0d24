package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// Bounds and margins, each at its edge.

// Two issuers whose users are one by name are two issuers still: a renewal does
// not move a session from one to the other.
func TestRenewedTokenIsOfTheSameIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newIssuer(t), newIssuer(t)
		b.URL = "https://other.example"
		next := mint(t, b, nil)
		issuers := own(static(a), static(b))
		issuers[1].Subjects = middleware.Own
		auth := newAuth(t, middleware.Config{Issuers: issuers, DangerouslySharedSubjects: true, Renew: &middleware.Renew{
			Window: time.Hour, Deliver: func(http.ResponseWriter, *http.Request, providers.Token) {},
			Token: func(context.Context, *middleware.Verified, string) (providers.Token, error) {
				return providers.Token{AccessToken: next}, nil
			},
		}})
		h := auth.Handler(ok)
		require.Equal(t, 200, ask(h, next).Code, "by itself it is a good token")
		old := mint(t, a, map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()})
		require.Equal(t, 401, ask(h, old).Code)
		time.Sleep(2 * time.Second)
		next = mint(t, a, nil)
		require.Equal(t, 200, ask(h, old).Code)
		time.Sleep(time.Minute)
		next = mint(t, a, map[string]any{"sub": "eve"})
		require.Equal(t, 401, ask(h, old).Code)
	})
}

// A DenyList forgets what has ended, and nothing else.
func TestDenyListSweepsWhatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var deny middleware.DenyList
		revoked := func(id string) bool {
			gone, err := deny.Revoked(t.Context(), &middleware.Verified{Issuer: "a", ID: id})
			require.NoError(t, err)
			return gone
		}
		heap := func() int64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		deny.AddID("a", "long", time.Now().Add(1000*time.Hour))
		before := heap()
		for n := range 200_000 {
			deny.AddID("a", fmt.Sprint("short-", n), time.Now().Add(time.Minute))
			if n%1000 == 0 {
				time.Sleep(10 * time.Minute) // beyond the end and every leeway
				require.True(t, revoked("long"))
			}
		}
		require.Less(t, heap()-before, int64(2<<20), "200,000 that have ended take no memory")
		require.False(t, revoked("short-0"), "swept")
		require.True(t, revoked("short-199999"), "kept until its end")
		for n := range 3000 { // a sweep drops nothing that has not ended
			deny.AddID("a", fmt.Sprint("kept-", n), time.Now().Add(time.Hour))
		}
		for n := range 3000 {
			require.True(t, revoked(fmt.Sprint("kept-", n)))
		}
		// A token within the leeway is still refused after its end.
		deny.AddID("a", "edge", time.Now())
		time.Sleep(5*time.Minute - time.Second)
		for n := range 5000 {
			deny.AddID("b", fmt.Sprint(n), time.Now().Add(time.Hour))
		}
		require.True(t, revoked("edge"))
		huge := strings.Repeat("x", 90<<10)
		before = heap()
		for n := range 200 {
			deny.AddID("c", huge+fmt.Sprint(n), time.Now().Add(time.Hour))
		}
		require.Less(t, heap()-before, int64(1<<20), "a jti may be as long as a token")
		gone, err := deny.Revoked(t.Context(), &middleware.Verified{Issuer: "c", ID: huge + "7"})
		require.NoError(t, err)
		require.True(t, gone)
		gone, err = deny.Revoked(t.Context(), &middleware.Verified{Issuer: "c", ID: huge + "777"})
		require.NoError(t, err)
		require.False(t, gone)
	})
}

func TestLeewayOfTheSignInsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		for leeway, most := range map[time.Duration]time.Duration{0: time.Minute, -1: 0, 30 * time.Second: 30 * time.Second} {
			auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{static(i)}, Leeway: leeway, Require: middleware.Rule{MaxAge: time.Hour}})
			at := func(age time.Duration) string {
				return reasonOf(t, auth, mint(t, i, map[string]any{"auth_time": time.Now().Add(-age).Unix()}))
			}
			require.Empty(t, at(time.Hour+most), leeway)
			require.Equal(t, "step_up", at(time.Hour+most+time.Second), leeway)
		}
	})
}

func TestRetryAfterIsCapped(t *testing.T) {
	for said, want := range map[time.Duration]string{0: "1", 7 * time.Second: "7", 5 * time.Minute: "300", time.Hour: "300", 1 << 60: "300"} {
		v := verifier(func(context.Context, string) (providers.Verified, error) {
			return providers.Verified{}, &providers.Error{Code: providers.CodeBusy, RetryAfter: said}
		})
		h := newAuth(t, middleware.Config{Opaque: []middleware.Opaque{{Verifier: v, Owns: func(string) bool { return true }, AnyAudience: true}}}).Handler(ok)
		require.Equal(t, want, ask(h, "x").Header().Get("Retry-After"), said)
	}
}

// Replicas that started together do not refresh together.
func TestRefreshesAreSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 12 {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			cfg := trusting(i)
			cfg.RefreshEvery = 100 * time.Second
			h := authFor(t, cfg).Handler(ok)
			token := long(t, i)
			require.Equal(t, 200, ask(h, token).Code)
			start := time.Now()
			for i.Fetches() == 1 {
				time.Sleep(time.Second)
				ask(h, token)
				synctest.Wait()
			}
			took := time.Since(start)
			require.GreaterOrEqual(t, took, 90*time.Second)
			require.LessOrEqual(t, took, 111*time.Second)
			seen[took] = true
		})
	}
	require.Greater(t, len(seen), 3, "twelve replicas in a row at one second would be one in a million")
}

// What renewals hand out again is bounded in bytes.
func TestRenewalsAreBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		filler := strings.Repeat("x", 60<<10)
		calls := 0
		auth := newAuth(t, middleware.Config{
			Issuers: []middleware.Issuer{static(i)}, MaxTokenBytes: 128 << 10, CacheSize: -1,
			Renew: &middleware.Renew{
				Window: time.Hour, Deliver: func(http.ResponseWriter, *http.Request, providers.Token) {},
				Credential: func(r *http.Request) string { return r.Header.Get("X-Refresh") },
				Token: func(_ context.Context, _ *middleware.Verified, credential string) (providers.Token, error) {
					calls++
					token, err := i.Token(map[string]any{"filler": filler, "jti": credential})
					return providers.Token{AccessToken: token}, err
				},
			},
		})
		h := auth.Handler(ok)
		old := mint(t, i, map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()})
		send := func(credential string) {
			r := httptestRequest("Bearer " + old)
			r.Header.Set("X-Refresh", credential)
			w := &discard{header: http.Header{}}
			h.ServeHTTP(w, r)
			require.Equal(t, 200, w.status)
		}
		heap := func() int64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		for n := range 500 { // 500 × 140 KiB of tokens and claims
			send(fmt.Sprint(n))
		}
		require.Less(t, heap()-before, int64(40<<20))
		require.Equal(t, 500, calls)
		send("499")
		require.Equal(t, 500, calls, "the last one is still there")
	})
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) Write(b []byte) (int, error) {
	d.WriteHeader(200)
	return len(b), nil
}
func (d *discard) WriteHeader(s int) {
	if d.status == 0 {
		d.status = s
	}
}

// A token that is longer than all of a small cache is not remembered, and
// passes.
func TestCacheOfFewBytes(t *testing.T) {
	i := newIssuer(t)
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{static(i)}, CacheSize: 1, MaxTokenBytes: 128 << 10})
	large := mint(t, i, map[string]any{"filler": strings.Repeat("x", 80<<10)})
	require.Empty(t, reasonOf(t, auth, large))
	require.Zero(t, auth.Stats().Entries)
	require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
	require.Equal(t, 1, auth.Stats().Entries)
}

// A flood of renewals that fail leaves no memory behind, and keeps others out
// for a second at most.
func TestRenewalsAreBoundedInNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		calls := 0
		auth := newAuth(t, middleware.Config{
			Issuers: []middleware.Issuer{static(i)},
			Renew: &middleware.Renew{
				Window: time.Hour, Deliver: func(http.ResponseWriter, *http.Request, providers.Token) {},
				Credential: func(r *http.Request) string { return r.Header.Get("X-Refresh") },
				Token: func(context.Context, *middleware.Verified, string) (providers.Token, error) {
					calls++
					return providers.Token{}, errors.New("refused")
				},
			},
		})
		h := auth.Handler(ok)
		r := httptestRequest("Bearer " + mint(t, i, map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()}))
		send := func(n int) {
			r.Header.Set("X-Refresh", strconv.Itoa(n))
			w := &discard{header: http.Header{}}
			h.ServeHTTP(w, r)
			require.Equal(t, 401, w.status)
		}
		const most = 10_000
		for n := range most + 10 {
			send(n)
		}
		require.Equal(t, most, calls)
		time.Sleep(time.Second)
		send(most)
		require.Equal(t, most+1, calls, "what is over makes room")
	})
}

func TestAChallengeSaysWhatASignInLacked(t *testing.T) {
	i := newIssuer(t)
	for want, rule := range map[string]middleware.Rule{
		`acr_values="gold"`: {ACR: []string{"gold"}},
		`max_age="1"`:       {MaxAge: time.Second},
	} {
		auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{static(i)}, Leeway: 5 * time.Minute, Require: rule})
		w := httptest.NewRecorder()
		auth.Handler(ok).ServeHTTP(w, httptestRequest("Bearer "+mint(t, i, map[string]any{"acr": "bronze", "auth_time": time.Now().Add(-time.Hour).Unix()})))
		require.Equal(t, 401, w.Code)
		challenge := w.Header().Get("WWW-Authenticate")
		require.Contains(t, challenge, want)
		require.Equal(t, len(rule.ACR) > 0, strings.Contains(challenge, "acr_values"))
		require.Equal(t, rule.MaxAge > 0, strings.Contains(challenge, "max_age"))
	}
}
