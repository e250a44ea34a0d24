package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// slowWrites is a replica's way to a Store on which each write of a record takes
// a while.
type slowWrites struct {
	*history
	take time.Duration
}

func (s slowWrites) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	if strings.HasPrefix(key, "t") {
		if err := pause(ctx, s.take); err != nil {
			return 0, err
		}
	}
	return s.history.CAS(ctx, key, rev, val, ttl)
}

// A replica that writes back what the Store has lost says that it has done so
// when it has, and not before.
func TestNoRefreshTokenIsSpentBeforeAllIsWrittenBack(t *testing.T) {
	for _, epoch := range []string{"", "2"} {
		synctest.Test(t, func(t *testing.T) {
			v, store := rotating(), newHistory()
			o := tokencache.Options{Store: slowWrites{store, 500 * time.Millisecond}, StoreTimeout: time.Second}
			a := cluster(t, 1, v, o)[0]
			o.Store = store
			b := cluster(t, 1, v, o)[0]
			const grants = 20 // more than are written at once
			for i := range grants {
				require.NoError(t, b.Adopt(t.Context(), userNo(i), v.issue("t1/"+userNo(i).Subject)))
			}
			time.Sleep(70 * time.Second)
			before := store.remember("")
			together(grants, func(i int) { must(t)(a.Generate(t.Context(), userNo(i))) })
			store.bringBack("", before, epoch)
			together(grants, func(i int) {
				tok := must(t)(b.Generate(t.Context(), userNo(i)))
				assert.Contains(t, tok.AccessToken, "of t1/"+userNo(i).Subject)
			})
			presentedOnce(t, v)
		})
	}
}

// A failover that lost a record and no notice is seen although no refresh token
// is spent, and mended.
func TestAFailoverThatLostARecordAloneIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
		time.Sleep(5 * time.Second)
		store.bringBack("t", nil, "2")
		time.Sleep(3 * time.Second)
		records, _ := store.live("t")
		assert.Equal(t, 1, records)
	})
}

// A pair that was announced and that the Store has lost is asked for from the
// replica that has it, before the pair that it replaced is spent again.
func TestAnAnnouncedTokenThatTheStoreLostIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		all := cluster(t, 2, v, tokencache.Options{Store: struct{ tokencache.Store }{store}}) // without an Epoch
		first := must(t)(all[0].Generate(t.Context(), alice))
		must(t)(all[1].Generate(t.Context(), alice))
		before := store.remember("t")
		second := must(t)(all[0].Refresh(t.Context(), alice, first.RefreshToken))
		time.Sleep(5 * time.Second) // all[1] has read the notice
		store.bringBack("t", before, "")
		assert.Equal(t, second.AccessToken, must(t)(all[1].Generate(t.Context(), alice)).AccessToken)
		assert.Equal(t, 1, v.presented(), "%v", v.seen)
	})
}

// A replica that is slow to write back a sign-out writes it over no sign-in that
// came meanwhile.
func TestASignOutThatIsWrittenBackLateEndsNoLaterSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		began := time.Now()
		a := cluster(t, 1, v, tokencache.Options{Store: store})[0] // looks at each even second
		time.Sleep(500 * time.Millisecond)
		cluster(t, 1, v, tokencache.Options{Store: slowWrites{store, 5 * time.Second}, StoreTimeout: time.Minute})
		time.Sleep(time.Second) // both are members
		must(t)(a.Generate(t.Context(), alice))
		require.NoError(t, a.Purge(t.Context(), alice)) // the other one hears of it
		again := must(t)(a.Generate(t.Context(), alice))
		time.Sleep(time.Until(began.Add(20200 * time.Millisecond)))
		store.bringBack("t", nil, "2") // which the other one sees first
		time.Sleep(20 * time.Second)
		assert.Equal(t, again.AccessToken, must(t)(a.Generate(t.Context(), alice)).AccessToken)
		must(t)(a.Refresh(t.Context(), nobody, again.RefreshToken))
	})
}

// A superseded token is announced at once, and not at the next look at the
// notices.
func TestASupersededTokenIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		all := cluster(t, 2, v, tokencache.Options{}) // whose Store tells of changes
		first := must(t)(all[0].Generate(t.Context(), alice))
		must(t)(all[1].Generate(t.Context(), alice))
		time.Sleep(10500 * time.Millisecond) // between two looks
		second := must(t)(all[0].Refresh(t.Context(), alice, first.RefreshToken))
		time.Sleep(100 * time.Millisecond)
		assert.Equal(t, second.AccessToken, must(t)(all[1].Generate(t.Context(), alice)).AccessToken)
	})
}

// A record that is written again brings its refresh tokens back to the index.
func TestARecordThatIsWrittenAgainIsFoundByItsRefreshTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		h, err := tokencache.NewHandedOut(cluster(t, 1, v, tokencache.Options{Store: store})[0], 0)
		require.NoError(t, err)
		pair := must(t)(h.Generate(t.Context(), alice))
		store.bringBack("t", nil, "")
		store.bringBack("rt", nil, "")
		next := must(t)(h.Refresh(t.Context(), nobody, pair.RefreshToken)) // reads the record first
		assert.Equal(t, next.AccessToken, must(t)(h.Generate(t.Context(), alice)).AccessToken, "in its own grant")
	})
}

// A heartbeat that fails once loses no lease. A lease whose heartbeats fail until
// it is over is lost.
func TestALeaseOutlivesAHeartbeatThatFails(t *testing.T) {
	for _, failing := range []int64{0, 1, 9} {
		synctest.Test(t, func(t *testing.T) {
			v, store := rotating(), &beating{Store: tokencache.NewMemory()}
			var lost atomic.Int64
			c := cluster(t, 1, v, tokencache.Options{Store: store, Observer: func(_ context.Context, e providers.Event) {
				if e.Kind == "lease_lost" {
					lost.Add(1)
				}
			}})[0]
			require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
			time.Sleep(70 * time.Second)
			good := v.refresh
			v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
				store.failing.Store(failing)
				time.Sleep(7 * time.Second)
				return good(ctx, req, rt)
			}
			must(t)(c.Generate(t.Context(), alice))
			assert.Equal(t, failing > 1, lost.Load() == 1, "%d fail, %d lost", failing, lost.Load())
		})
	}
}

// beating is a Store of which the next heartbeats fail.
type beating struct {
	tokencache.Store
	failing atomic.Int64
}

func (b *beating) Lock(ctx context.Context, key, owner string, ttl time.Duration) (uint64, error) {
	return b.Store.(tokencache.Locker).Lock(ctx, key, owner, ttl)
}

func (b *beating) Extend(ctx context.Context, key, owner string, ttl time.Duration) (bool, error) {
	if b.failing.Add(-1) >= 0 {
		return false, errors.New("no")
	}
	return b.Store.(tokencache.Locker).Extend(ctx, key, owner, ttl)
}

func (b *beating) Unlock(ctx context.Context, key, owner string) (bool, error) {
	return b.Store.(tokencache.Locker).Unlock(ctx, key, owner)
}

// A refresh token whose end the vendor gives in a wrong unit is kept like any
// other.
func TestARefreshTokenThatHardlyEndsIsSaved(t *testing.T) {
	for _, odd := range []bool{false, true} {
		t.Run(fmt.Sprint("beside an access token ", !odd), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := rotating()
				good := v.refresh
				v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
					tok, err := good(ctx, req, rt)
					tok.RefreshExpiry = time.Date(50_000, 1, 1, 0, 0, 0, 0, time.UTC)
					if odd {
						tok.AccessToken = ""
					}
					return tok, err
				}
				all := cluster(t, 2, v, tokencache.Options{})
				require.NoError(t, all[0].Adopt(t.Context(), alice, v.issue("t1/alice")))
				_, _ = all[0].Refresh(t.Context(), alice, "rt-1")
				time.Sleep(5 * time.Second)
				assert.Zero(t, all[0].Stats().Unsaved)
				v.refresh = good
				must(t)(all[1].Refresh(t.Context(), nobody, "rt-2"))
				presentedOnce(t, v)
			})
		})
	}
}
