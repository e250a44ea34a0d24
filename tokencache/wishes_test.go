package tokencache_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// Callers of one grant who want different things share its flights, and each
// gets what it asked for.
func TestEachCallerGetsWhatItAskedFor(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		c := next()
		first := must(t)(c.Generate(t.Context(), alice))
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			_ = pause(ctx, time.Second)
			return good(ctx, req, rt)
		}
		brought := providers.Token{AccessToken: "brought", RefreshToken: "brought too", Expiry: time.Now().Add(time.Hour)}
		together(5, func(i int) {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			switch i {
			case 0, 1:
				tok := must(t)(c.Renew(t.Context(), alice, first))
				assert.Greater(t, tok.Version, first.Version)
			case 2:
				tok, err := c.Refresh(t.Context(), alice, "forged")
				assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
				assert.Zero(t, tok)
			case 3:
				tok := must(t)(c.Refresh(t.Context(), alice, first.RefreshToken))
				assert.NotEmpty(t, tok.RefreshToken)
			case 4:
				assert.NoError(t, c.Adopt(t.Context(), alice, brought))
			}
		})
		assert.Equal(t, "brought", must(t)(c.Generate(t.Context(), alice)).AccessToken, "the last one to come")
		presentedOnce(t, v)
	})
}

// Callers at once of one thing share one call, and its result, good or bad.
func TestCallersOfOneThingShareOneCall(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		c := next()
		together(30, func(int) {
			_, err := c.Refresh(t.Context(), nobody, "forged")
			assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		})
		assert.Equal(t, 1, v.presented())
		issued := atomic.Int64{}
		issue := v.generate
		v.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
			issued.Add(1)
			_ = pause(ctx, time.Second)
			return issue(ctx, req)
		}
		ended := alice
		ended.Assertion = providers.Assertion{Token: "within the upstream's leeway", Expiry: time.Now().Add(-10 * time.Second)}
		together(10, func(int) {
			tok := must(t)(c.Generate(t.Context(), ended))
			assert.NotEmpty(t, tok.AccessToken)
			assert.Empty(t, tok.RefreshToken)
		})
		assert.EqualValues(t, 1, issued.Load(), "a token that is not kept")
	})
}

// A token is served until the moment that its skew begins, by whichever of the
// two clocks is there first, and not a nanosecond longer.
func TestATokenEndsByTheFirstClock(t *testing.T) {
	for name, tt := range map[string]struct{ wall, mono time.Duration }{
		"both":      {1, 1},
		"wall":      {1, 0}, // the machine was suspended
		"monotonic": {0, 1}, // the wall clock was set back
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wall atomic.Int64
				wall.Store(time.Now().UnixNano())
				p := &fake{mode: providers.Exclusive}
				p.refresh = func(context.Context, providers.Request, string) (providers.Token, error) {
					now := time.Unix(0, wall.Load())
					return providers.Token{AccessToken: "at", RefreshToken: "rt", IssuedAt: now, Expiry: now.Add(100 * time.Second)}, nil
				}
				p.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
					return p.refresh(ctx, req, "")
				}
				c := open(t, p, tokencache.Options{Now: func() time.Time { return time.Unix(0, wall.Load()) }})
				s := c.Source(user)
				must(t)(s.Token(t.Context()))
				pass := func(d time.Duration) {
					wall.Add(int64(d * tt.wall))
					time.Sleep(d * tt.mono)
				}
				pass(90*time.Second - 1)
				must(t)(s.Token(t.Context()))
				require.EqualValues(t, 1, p.calls.Load())
				pass(1)
				must(t)(s.Token(t.Context()))
				assert.EqualValues(t, 2, p.calls.Load())
			})
		})
	}
}

// An attempt that waits for its turn while the grant is signed out begins after
// it: its token counts, and no second one is needed.
func TestAnAttemptThatWaitsForASlotBeginsWhenItHasIt(t *testing.T) {
	for _, store := range []func() tokencache.Store{func() tokencache.Store { return nil }, tokencache.NewMemory} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor()
			issue := v.generate
			v.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
				_ = pause(ctx, 5*time.Second)
				return issue(ctx, req)
			}
			c := open(t, v, tokencache.Options{MaxFlights: 1, Store: store(), Namespace: "n"})
			go func() { _, _ = c.Generate(t.Context(), bob) }()
			time.Sleep(time.Second)
			time.AfterFunc(2*time.Second, func() { assert.NoError(t, c.Purge(context.Background(), alice)) })
			must(t)(c.Source(alice).Token(t.Context()))
			assert.Equal(t, 2, v.n, "bob's and alice's")
		})
	}
}
