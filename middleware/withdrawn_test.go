package middleware_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// What was withdrawn, a key or a token, does not come back by a renewal.

// No valid token came since the issuer withdrew the key, so the set in memory
// is old.
func TestAWithdrawnKeyRenewsNothing(t *testing.T) {
	for _, pause := range []time.Duration{40 * time.Minute, 72 * time.Hour} {
		for name, seen := range map[string]bool{"unknown": false, "remembered": true} {
			for _, down := range []bool{false, true} {
				t.Run(fmt.Sprint(pause, name, down), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := newSession(t, nil, nil)
						s.next = s.pair(nil)
						require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
						old := mint(t, s.issuer, map[string]any{"exp": time.Now().Add(pause - 2*time.Minute).Unix()})
						if seen {
							require.Equal(t, 200, s.send(old, "").Code)
						}
						require.NoError(t, s.issuer.Rotate(false))
						time.Sleep(pause)
						if down && pause < 24*time.Hour {
							return // the last set stays in use for a day, for every token
						}
						s.issuer.Down(down)
						require.Equal(t, 401, s.send(old, "r1").Code)
						require.Empty(t, s.presented)
						require.Empty(t, s.delivered)
					})
				})
			}
		}
	}
}

// An expired token does not cause more fetches than the schedule of the set.
func TestExpiredTokensFetchOnlyASetThatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, nil, nil)
		s.next = s.pair(nil)
		require.Equal(t, 401, s.send(s.ended(2*time.Minute, nil), "r1").Code)
		require.Zero(t, s.issuer.Fetches(), "no first set for an expired token")
		require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
		for n := range 20 {
			require.Equal(t, 200, s.send(s.ended(2*time.Minute, nil), fmt.Sprint(n)).Code)
			require.Equal(t, 401, s.send(mintAs(t, s.issuer, fmt.Sprint(n)), "").Code)
		}
		unknown := renamed(s.ended(2*time.Minute, nil), "unknown")
		before := s.issuer.Fetches()
		require.Equal(t, 401, s.send(unknown, "r1").Code)
		require.Equal(t, before, s.issuer.Fetches(), "an unknown kid of an expired token")
	})
}

// Whoever kept a token after the sign-out gets no session from it, as long as
// it could be renewed.
func TestADeniedTokenIsNotRenewedAfterASweep(t *testing.T) {
	for name, deny := range map[string]func(*middleware.DenyList, *middleware.Verified){
		"Add":                  (*middleware.DenyList).Add,
		"AddID":                func(d *middleware.DenyList, v *middleware.Verified) { d.AddID(v.Issuer, v.ID, v.Expiry) },
		"AddID without expiry": func(d *middleware.DenyList, v *middleware.Verified) { d.AddID(v.Issuer, v.ID, time.Time{}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			var list middleware.DenyList
			s := newSession(t, func(c *middleware.Config) { c.Revoked = list.Revoked }, nil)
			s.next = s.pair(nil)
			token := mint(t, s.issuer, nil)
			v, err := s.auth.Verify(t.Context(), token)
			require.NoError(t, err)
			deny(&list, v)
			require.Equal(t, 401, s.send(token, "r1").Code)
			for day := range 6 {
				time.Sleep(24 * time.Hour)
				for n := range 1100 {
					list.AddID("other", fmt.Sprint(day, n), time.Now().Add(time.Hour))
				}
				require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
				require.Equal(t, 401, s.send(token, "r1").Code, "%s, day %d", name, day)
			}
			require.Empty(t, s.presented)
		})
	}
}

// A process that starts loads what was withdrawn before it sees any token.
func TestADenyListThatIsLoadedAtTheStartForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list middleware.DenyList
		s := newSession(t, func(c *middleware.Config) { c.Revoked = list.Revoked }, nil)
		s.next = s.pair(nil)
		old := s.ended(time.Hour, map[string]any{"jti": "signed out"})
		list.AddID(s.issuer.URL, "signed out", time.Now().Add(-time.Hour))
		for n := range 3000 {
			list.AddID(s.issuer.URL, fmt.Sprint(n), time.Now().Add(-time.Hour))
		}
		require.Equal(t, 200, s.send(mint(t, s.issuer, nil), "").Code)
		require.Equal(t, 401, s.send(old, "r1").Code)
		require.Empty(t, s.presented)
	})
}

func TestADenyListKeepsAnIDWithoutExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list middleware.DenyList
		v := &middleware.Verified{Issuer: "i", ID: "x"}
		list.AddID("i", "x", time.Time{})
		for n := range 3000 {
			gone, err := list.Revoked(context.Background(), v)
			require.NoError(t, err)
			require.True(t, gone)
			list.AddID("i", fmt.Sprint(n), time.Now().Add(time.Hour))
		}
	})
}

// A tenant's only user was away for longer than an answer of Resolve is used.
func TestATenantThatIsKnownIsAskedForAnExpiredToken(t *testing.T) {
	for name, seen := range map[string]bool{"unknown": false, "remembered": true} {
		for removed, want := range map[bool]int{false: 200, true: 401} {
			synctest.Test(t, func(t *testing.T) {
				ts := newTenants(t, "a")
				s := newSession(t, func(c *middleware.Config) {
					c.Issuers, c.Resolve, c.DangerouslyPrivateHosts = nil, ts.resolve, []string{"issuer.example"}
				}, func(string) (providers.Token, error) {
					return providers.Token{AccessToken: ts.token(t, "a", nil), RefreshToken: "r2"}, nil
				})
				token := ts.token(t, "a", map[string]any{"exp": time.Now().Add(4 * time.Minute).Unix(), "jti": "first"})
				first := ts.token(t, "a", nil)
				if seen {
					first = token
				}
				require.Equal(t, 200, s.send(first, "").Code)
				time.Sleep(6 * time.Minute)
				ts.mu.Lock()
				ts.known[ts.URL+"/a"] = !removed
				ts.mu.Unlock()
				require.Equal(t, want, s.send(token, "r1").Code, "%s, removed: %v", name, removed)
				require.Equal(t, 2, ts.times("a"))
				unknown := ts.token(t, "never seen", map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()})
				require.Equal(t, 401, s.send(unknown, "r1").Code)
				require.Zero(t, ts.times("never seen"))
			})
		}
	}
}
