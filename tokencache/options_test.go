package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// Each option that may not be negative is named in the error.
func TestNegativeOptionsAreNamed(t *testing.T) {
	_, err := tokencache.New(&fake{}, tokencache.Options{
		StoreTimeout: -1, FetchTimeout: -1, ForcedFloor: -1, Grace: -1, DefaultLifetime: -1, RefreshLifetime: -1, MaxEntries: -1, MaxFlights: -1,
	})
	for _, name := range []string{"StoreTimeout", "FetchTimeout", "ForcedFloor", "Grace", "DefaultLifetime", "RefreshLifetime", "MaxEntries", "MaxFlights"} {
		assert.ErrorContains(t, err, "tokencache: "+name+": negative")
	}
	assert.NotContains(t, err.Error(), "Namespace")
	_, err = tokencache.New(&fake{}, tokencache.Options{Store: tokencache.NewMemory()})
	assert.EqualError(t, err, "tokencache: Namespace: required with a Store")
}

// The defaults are those of the documentation.
func TestDefaults(t *testing.T) {
	took := func(fn func()) time.Duration {
		began := time.Now()
		fn()
		return time.Since(began)
	}
	synctest.Test(t, func(t *testing.T) {
		p := &fake{mode: providers.Exclusive, ttl: time.Hour}
		generate := func(ctx context.Context, _ providers.Request) (providers.Token, error) {
			<-ctx.Done()
			return providers.Token{}, ctx.Err()
		}
		p.generate = generate
		c := open(t, p, tokencache.Options{})
		assert.Equal(t, 10*time.Second, took(func() { _, _ = c.Generate(t.Context(), user) }), "a third of FetchTimeout for a call")
		p.generate = nil
		time.Sleep(time.Minute)
		tok := must(t)(c.Generate(t.Context(), user))
		tok = must(t)(c.Renew(t.Context(), user, tok))
		time.Sleep(5*time.Second - 1)
		assert.Equal(t, tok.Version, must(t)(c.Renew(t.Context(), user, tok)).Version, "ForcedFloor")
		time.Sleep(time.Nanosecond)
		next := must(t)(c.Renew(t.Context(), user, tok))
		assert.Greater(t, next.Version, tok.Version, "ForcedFloor")
		time.Sleep(time.Minute - 1)
		assert.Equal(t, next.Version, must(t)(c.Refresh(t.Context(), user, tok.RefreshToken)).Version, "Grace")
		time.Sleep(time.Nanosecond)
		_, err := c.Refresh(t.Context(), user, tok.RefreshToken)
		assert.Error(t, err, "Grace")
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			return providers.Token{AccessToken: "at", RefreshToken: "rt"}, nil
		}
		tok = must(t)(c.Generate(t.Context(), alice))
		assert.Equal(t, 5*time.Minute, time.Until(tok.Expiry), "DefaultLifetime of a pair")
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			return providers.Token{AccessToken: "at"}, nil
		}
		assert.Zero(t, must(t)(c.Generate(t.Context(), bob)).Expiry, "no end without a refresh token")
	})
	synctest.Test(t, func(t *testing.T) {
		p := &fake{latency: time.Second, ttl: time.Hour}
		c := open(t, p, tokencache.Options{})
		together(100, func(i int) { must(t)(c.Generate(t.Context(), userNo(i))) })
		assert.EqualValues(t, 64, p.max.Load(), "MaxFlights")
	})
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, 1, &fake{ttl: time.Hour, mode: providers.Rotating}, tokencache.Options{Store: holding{tokencache.NewMemory(), true}})[0]
		// Of three tries each writes, which hangs, and reads, which does not.
		assert.Equal(t, 3*250*time.Millisecond, took(func() { _, _ = c.Generate(t.Context(), user) }), "StoreTimeout")
	})
}

// A refresh token that anyone may present fails fast for nobody but its bearer.
func TestARefusedRefreshTokenClosesNoGrant(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		v.ttl = time.Minute
		first := must(t)(next().Generate(t.Context(), alice))
		second := must(t)(next().Refresh(t.Context(), alice, first.RefreshToken))
		time.Sleep(2 * time.Minute) // over
		for _, rt := range []string{"forged", first.RefreshToken} {
			_, err := next().Refresh(t.Context(), alice, rt)
			require.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		}
		for range 3 {
			assert.Greater(t, must(t)(next().Generate(t.Context(), alice)).Version, second.Version)
		}
		presentedOnce(t, v)
	})
}

// The notices in a Store whose server changes often stay small.
func TestTheStoreKeepsABoundedNumberOfRollCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		tok := must(t)(c.Generate(t.Context(), alice))
		most := 0
		for i := range 66 {
			store.bringBack("nothing", nil, fmt.Sprint(i))
			tok = must(t)(c.Refresh(t.Context(), alice, tok.RefreshToken))
			for _, kept := range store.remember("n") {
				most = max(most, strings.Count(string(kept.val), `"epoch `))
			}
		}
		assert.Equal(t, 64, most)
	})
}

// A sign-out reaches all replicas although the notices in the Store, or the
// receipts for them, make no sense.
func TestASignOutReplacesNoticesThatMakeNoSense(t *testing.T) {
	for _, kind := range []string{"n", "m"} {
		synctest.Test(t, func(t *testing.T) {
			v, store := newVendor(), newHistory()
			all := cluster(t, 2, v, tokencache.Options{Store: store})
			old := must(t)(all[0].Generate(t.Context(), alice))
			must(t)(all[1].Generate(t.Context(), alice))
			for range 2 {
				for key, was := range store.remember(kind) {
					next, err := store.CAS(t.Context(), key, was.rev, []byte("{junk"), time.Hour)
					require.NoError(t, err)
					require.NotZero(t, next)
				}
				require.NoError(t, all[0].Purge(t.Context(), alice), kind)
				tok := must(t)(all[1].Source(alice).Token(t.Context()))
				assert.NotEqual(t, old.AccessToken, tok.AccessToken, kind)
				old = tok
				time.Sleep(10 * time.Second)
			}
		})
	}
}

// A replica that dies during a call holds its grant up until the call must be
// over, and no longer. If the other one's clock is behind, the time is counted
// from its first sight of the call.
func TestAReplicaThatDiesDuringACallIsWaitedFor(t *testing.T) {
	const call = 12 * time.Second // a third of FetchTimeout, and two seconds
	for _, behind := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			v, store := newVendor(), newHistory() // without leases
			v.mode = providers.Rotating
			cut := &deafStore{history: store}
			a := open(t, v, tokencache.Options{Store: struct{ tokencache.Store }{cut}, Namespace: "test"})
			b := open(t, v, tokencache.Options{Store: struct{ tokencache.Store }{store}, Namespace: "test", Now: func() time.Time { return time.Now().Add(-behind) }})
			issue := v.generate
			var began time.Time
			v.generate = func(context.Context, providers.Request) (providers.Token, error) {
				began = time.Now()
				cut.die()
				v.generate = issue
				return providers.Token{}, errors.New("died")
			}
			go func() { _, _ = a.Generate(t.Context(), alice) }()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if behind > 0 {
				began = time.Now()
			}
			must(t)(b.Generate(t.Context(), alice))
			assert.WithinDuration(t, began.Add(call), time.Now(), 200*time.Millisecond)
		})
	}
}

// Over a Store that works nothing is reported but the work itself.
func TestAQuietDay(t *testing.T) {
	for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor()
			v.mode = mode
			v.ttl = time.Minute
			seen, log := &kinds{}, &lockedBuilder{}
			all := cluster(t, 2, v, tokencache.Options{Observer: seen.observe, Logger: slog.New(slog.NewTextHandler(log, nil))})
			gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_, err := all[0].Refresh(gone, nobody, "forged")
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Error(t, all[0].Purge(gone, bob))
			time.Sleep(10 * time.Second)
			seen.forget()
			log.forget()
			for range 3 {
				tok := must(t)(all[0].Generate(t.Context(), alice))
				must(t)(all[1].Generate(t.Context(), alice))
				tok = must(t)(all[0].Renew(t.Context(), alice, tok))
				must(t)(all[1].Refresh(t.Context(), nobody, tok.RefreshToken))
				time.Sleep(50 * time.Second)
				together(2, func(i int) { must(t)(all[i].Generate(t.Context(), alice)) })
				time.Sleep(2 * time.Minute)
				must(t)(all[1].Generate(t.Context(), alice))
				require.NoError(t, all[0].Purge(t.Context(), alice))
			}
			time.Sleep(10 * time.Second)
			assert.Subset(t, []string{"flight_started", "flight", "adopted"}, seen.all(), mode)
			assert.Empty(t, log.String(), mode)
			for _, c := range all {
				assert.Zero(t, c.Stats().StoreErrors)
				assert.Zero(t, c.Stats().InFlight)
			}
		})
	}
}

// Close may be called again, and reports what is still under way.
func TestCloseIsRepeatable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour, latency: 5 * time.Second}
		c, err := tokencache.New(p, tokencache.Options{Store: tokencache.NewMemory(), Namespace: "n"})
		require.NoError(t, err)
		go func() { _, _ = c.Generate(t.Context(), user) }()
		time.Sleep(time.Second)
		began := time.Now()
		together(3, func(int) { assert.NoError(t, c.Close(t.Context())) })
		assert.Equal(t, 4*time.Second, time.Since(began), "the work under way is waited for")
		assert.NoError(t, c.Close(t.Context()))
		assert.EqualValues(t, 1, p.calls.Load())
	})
}
