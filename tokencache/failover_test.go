package tokencache_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// rotating is a vendor whose refresh tokens work once: one that comes again
// ends the grant.
func rotating() *vendor {
	v := newVendor()
	v.mode, v.ttl = providers.Rotating, time.Minute
	v.generate = func(context.Context, providers.Request) (providers.Token, error) {
		return providers.Token{}, &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent}
	}
	return v
}

// presentedOnce fails for a refresh token that the upstream saw twice.
func presentedOnce(t *testing.T, v *vendor) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	seen := map[string]int{}
	for _, rt := range v.seen {
		seen[rt]++
		assert.LessOrEqual(t, seen[rt], 1, "%s was presented again", rt)
	}
}

// A failover to a replica that lags behind loses the last writes. Whoever holds
// newer records writes them back before any replica spends what the Store says.
func TestAFailoverLosesNoGrantThatALiveReplicaHolds(t *testing.T) {
	for name, lose := range map[string]func(s *history, before map[string]past){
		"all of it":            func(s *history, before map[string]past) { s.bringBack("", before, "2") },
		"emptied":              func(s *history, _ map[string]past) { s.bringBack("", nil, "2") },
		"emptied, epoch stays": func(s *history, _ map[string]past) { s.bringBack("", nil, "") },
		"all of it, epoch stays": func(s *history, before map[string]past) {
			s.bringBack("", before, "")
		},
		"records alone": func(s *history, before map[string]past) {
			for k := range before {
				if !strings.HasPrefix(k, "t") {
					delete(before, k)
				}
			}
			s.bringBack("t", before, "2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, store := rotating(), newHistory()
				all := cluster(t, 3, v, tokencache.Options{Store: store})
				const grants = 40
				for i := range grants {
					require.NoError(t, all[0].Adopt(t.Context(), userNo(i), v.issue("t1/"+userNo(i).Subject)))
				}
				time.Sleep(70 * time.Second) // over
				before := store.remember("")
				for i := range grants { // each is refreshed by one of two replicas
					must(t)(all[i%2].Generate(t.Context(), userNo(i)))
				}
				require.NoError(t, all[0].Purge(t.Context(), providers.Request{Tenant: "t1", Subject: "somebody else"}), "the notices move on")
				lose(store, before)
				// The third replica has none of them, and asks at once.
				together(grants, func(i int) {
					tok, err := all[2].Generate(t.Context(), userNo(i))
					if assert.NoError(t, err) {
						assert.Contains(t, tok.AccessToken, "of t1/"+userNo(i).Subject)
					}
				})
				time.Sleep(time.Minute)
				together(grants, func(i int) {
					_, err := all[i%3].Generate(t.Context(), userNo(i))
					assert.NoError(t, err)
				})
				presentedOnce(t, v)
			})
		})
	}
}

// The refresh tokens of a Store that was emptied still find their grants.
func TestRefreshTokensFindTheirGrantInAnEmptiedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		var log lockedBuilder
		all := cluster(t, 2, v, tokencache.Options{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, all[0].Adopt(t.Context(), alice, v.issue("t1/alice")))
		second := must(t)(all[0].Refresh(t.Context(), nobody, "rt-1"))
		time.Sleep(2 * time.Minute)
		store.bringBack("", nil, "2")
		time.Sleep(10 * time.Second)
		assert.NotContains(t, log.String(), "could not be written again")
		var lives []time.Duration
		for _, entry := range store.remember("rt") {
			lives = append(lives, time.Until(entry.end).Round(time.Minute))
		}
		slices.Sort(lives)
		assert.Equal(t, []time.Duration{24*time.Hour - 2*time.Minute, 365 * 24 * time.Hour}, lives, "the spent one, for the rest of its day, and the current one")
		_, err := all[1].Refresh(t.Context(), nobody, "rt-1")
		assert.Equal(t, providers.CodeRefreshRejected, code(err), "spent: %v", err)
		third := must(t)(all[1].Refresh(t.Context(), nobody, second.RefreshToken))
		cur := must(t)(all[0].Generate(t.Context(), alice))
		assert.Equal(t, third.AccessToken, cur.AccessToken, "in its own grant")
		presentedOnce(t, v)
	})
}

// A call that waits for a slot holds nothing that another replica waits for,
// and looks at its lease when its turn comes: it waits for longer than an intent
// is honoured.
func TestASlotIsTakenBeforeTheIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := rotating()
		v.holdSlot(10 * time.Second) // the only one
		store := &losing{Store: tokencache.NewMemory()}
		o := tokencache.Options{Store: store, FetchTimeout: 12 * time.Second} // an intent is honoured for 6 s
		b := cluster(t, 1, v, o)[0]
		o.MaxFlights = 1
		a := cluster(t, 1, v, o)[0]
		require.NoError(t, a.Adopt(t.Context(), alice, v.issue("t1/alice")))
		require.NoError(t, a.Adopt(t.Context(), bob, v.issue("t1/bob")))
		time.Sleep(70 * time.Second)
		go func() { _, _ = a.Generate(t.Context(), bob) }()
		time.Sleep(time.Second)
		go func() { _, _ = a.Generate(t.Context(), alice) }()
		time.Sleep(time.Second)
		store.dropLeases()
		tok := must(t)(b.Generate(t.Context(), alice))
		time.Sleep(15 * time.Second)
		again := must(t)(a.Generate(t.Context(), alice))
		assert.Equal(t, tok.AccessToken, again.AccessToken)
		presentedOnce(t, v)
	})
}

// losing is a Store whose leases can be lost.
type losing struct {
	tokencache.Store
	mu   sync.Mutex
	lost map[string]string
}

func (l *losing) Lock(ctx context.Context, key, owner string, ttl time.Duration) (uint64, error) {
	l.mu.Lock()
	if l.lost == nil {
		l.lost = map[string]string{}
	}
	l.lost[key] = owner
	l.mu.Unlock()
	return l.Store.(tokencache.Locker).Lock(ctx, key, owner, ttl)
}

func (l *losing) Extend(ctx context.Context, key, owner string, ttl time.Duration) (bool, error) {
	return l.Store.(tokencache.Locker).Extend(ctx, key, owner, ttl)
}

func (l *losing) Unlock(ctx context.Context, key, owner string) (bool, error) {
	return l.Store.(tokencache.Locker).Unlock(ctx, key, owner)
}

func (l *losing) dropLeases() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, owner := range l.lost {
		_, _ = l.Store.(tokencache.Locker).Unlock(context.Background(), key, owner)
	}
}

// lateCall makes alice's refresh begin 150 ms before its callers must be
// answered: until then another replica holds the lease of her record. It
// returns the replica that makes the call, five seconds after it.
func lateCall(t *testing.T, v *vendor, o tokencache.Options) *tokencache.Cache {
	o.Store, o.FetchTimeout = tokencache.NewMemory(), 6*time.Second
	c := cluster(t, 1, v, o)[0]
	require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
	time.Sleep(70 * time.Second)
	keys := &spyStore{Store: o.Store}
	o.Store = keys
	d := cluster(t, 1, v, o)[0]
	keys.onLock = func(key string) { keys.block(t, key, 5850*time.Millisecond) }
	_, err := d.Generate(t.Context(), alice)
	assert.Equal(t, providers.CodeTimeout, code(err), "the vendor takes a second: %v", err)
	time.Sleep(5 * time.Second)
	return d
}

// A refresh that begins late in its flight has the whole time of a call.
func TestALateRefreshIsNotCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := rotating()
		d := lateCall(t, v, tokencache.Options{Observer: func(_ context.Context, e providers.Event) {
			assert.NotEqual(t, "unsaved", e.Kind, "the store took the token at once")
		}})
		tok := must(t)(d.Generate(t.Context(), alice))
		assert.Equal(t, "at-2 of t1/alice", tok.AccessToken, "what the late call brought")
		presentedOnce(t, v)
	})
}

// A failure counts, although nobody waited for it any more.
func TestALateFailureIsRecorded(t *testing.T) {
	for class, want := range map[providers.Class]providers.Code{
		providers.GrantDead: providers.CodeNotSignedIn, // what generate says
		providers.Permanent: providers.CodeCredentialsRejected,
	} {
		synctest.Test(t, func(t *testing.T) {
			v := rotating()
			v.refresh = func(ctx context.Context, _ providers.Request, rt string) (providers.Token, error) {
				v.mu.Lock()
				v.seen = append(v.seen, rt)
				v.mu.Unlock()
				_ = pause(ctx, time.Second)
				return providers.Token{}, &providers.Error{Code: providers.CodeCredentialsRejected, Class: class}
			}
			d := lateCall(t, v, tokencache.Options{})
			_, err := d.Generate(t.Context(), alice)
			assert.Equal(t, want, code(err), "%v: %v", class, err)
			presentedOnce(t, v)
		})
	}
}

// spyStore runs a hook when a lease is first asked for.
type spyStore struct {
	tokencache.Store
	onLock func(key string)
}

func (s *spyStore) Lock(ctx context.Context, key, owner string, ttl time.Duration) (uint64, error) {
	if f := s.onLock; f != nil {
		s.onLock = nil
		f(key)
	}
	return s.Store.(tokencache.Locker).Lock(ctx, key, owner, ttl)
}

func (s *spyStore) Extend(ctx context.Context, key, owner string, ttl time.Duration) (bool, error) {
	return s.Store.(tokencache.Locker).Extend(ctx, key, owner, ttl)
}

func (s *spyStore) Unlock(ctx context.Context, key, owner string) (bool, error) {
	return s.Store.(tokencache.Locker).Unlock(ctx, key, owner)
}

// block holds key's lease for d.
func (s *spyStore) block(t *testing.T, key string, d time.Duration) {
	if fence, err := s.Store.(tokencache.Locker).Lock(t.Context(), key, "somebody", d); err != nil || fence == 0 {
		t.Error(fence, err)
	}
}

// What lives as long as a refresh token is not forgotten after a month.
func TestAMonth(t *testing.T) {
	const day = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		v.ttl = time.Hour
		var past time.Duration // of which no cache has lived through a moment
		store.now = func() time.Time { return time.Now().Add(past) }
		v.now = store.now
		later := func(days time.Duration) *tokencache.Cache {
			past += days * day
			c, err := tokencache.New(v, tokencache.Options{Store: store, Namespace: "test", Now: store.now})
			require.NoError(t, err)
			return c
		}
		c := later(0)
		pair := v.issue("t1/alice")
		pair.RefreshExpiry = time.Now().Add(90 * day)
		require.NoError(t, c.Adopt(t.Context(), alice, pair))
		require.NoError(t, c.Purge(t.Context(), alice))
		require.NoError(t, c.Adopt(t.Context(), bob, v.issue("t1/bob")))
		require.NoError(t, c.Close(t.Context()))

		c = later(31)
		assert.Equal(t, providers.CodeRefreshRejected, code(c.Adopt(t.Context(), alice, pair)), "signed out a month ago")
		_, err := c.Refresh(t.Context(), nobody, pair.RefreshToken)
		assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		tok := must(t)(c.Refresh(t.Context(), nobody, "rt-2"))
		assert.Equal(t, tok.AccessToken, must(t)(c.Generate(t.Context(), bob)).AccessToken, "the index knows the live refresh token")
		require.NoError(t, c.Close(t.Context()))

		c = later(300) // idle over a restart
		must(t)(c.Generate(t.Context(), bob))
		assert.Equal(t, providers.CodeInvalidField, code(c.Adopt(t.Context(), alice, pair)), "beyond its expiry")
		require.NoError(t, c.Close(t.Context()))
		presentedOnce(t, v)
	})
}

// Neither junk nor renewals fill the Store.
func TestWhatGrantsAndJunkCostInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		v.ttl = 5 * time.Minute
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		must(t)(c.Generate(t.Context(), alice))
		base, _ := store.live("")
		for i := range 100 {
			_, err := c.Refresh(t.Context(), nobody, fmt.Sprint("junk ", i))
			assert.Equal(t, providers.CodeRefreshRejected, code(err))
		}
		time.Sleep(2 * time.Second)
		keys, _ := store.live("")
		assert.LessOrEqual(t, keys-base, 100, "one key for each junk token")
		time.Sleep(61 * time.Minute)
		keys, _ = store.live("")
		assert.LessOrEqual(t, keys, base, "for an hour")

		tok := must(t)(c.Generate(t.Context(), alice))
		for range 400 { // as fast as a client can; a record remembers 360
			tok = must(t)(c.Refresh(t.Context(), alice, tok.RefreshToken))
		}
		time.Sleep(2 * time.Second)
		tokens, size := store.live("rt")
		records, bytes := store.live("t")
		keys, size = tokens+records, size+bytes
		assert.LessOrEqual(t, keys, 370)
		assert.LessOrEqual(t, size+keys*90, 64<<10, "%d keys, %d bytes, and what Redis adds to a key", keys, size)
		seen := len(v.seen)
		_, err := c.Refresh(t.Context(), nobody, fmt.Sprintf("rt-%d", v.n-300))
		assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		assert.Len(t, v.seen, seen, "known to be spent")
	})
}

// A token spent an hour ago stays spent when the clock is set back.
func TestASpentTokenStaysSpentWhenTheClockIsSetBack(t *testing.T) {
	for _, back := range []time.Duration{0, 30 * time.Second, time.Hour, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var jump atomic.Int64
			v := newVendor()
			c := open(t, v, tokencache.Options{Now: func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }})
			a := must(t)(c.Generate(t.Context(), alice))
			must(t)(c.Refresh(t.Context(), alice, a.RefreshToken))
			time.Sleep(30 * time.Second)
			jump.Store(int64(-back))
			must(t)(c.Refresh(t.Context(), alice, a.RefreshToken))
			time.Sleep(time.Minute)
			_, err := c.Refresh(t.Context(), alice, a.RefreshToken)
			assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v back: %v", back, err)
			assert.Len(t, v.seen, 1)
		})
	}
}

// Windows and floors end by the monotonic clock where the wall clock stands
// still or goes back.
func TestWindowsAndFloorsFollowBothClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[time.Time]
		set := func(at time.Time) { now.Store(&at) }
		p := &fake{ttl: time.Hour}
		fails := true
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			if fails {
				return providers.Token{}, &providers.Error{Code: providers.CodeBusy, Class: providers.Permanent}
			}
			return p.token(p.calls.Load(), ""), nil
		}
		set(time.Now())
		c := open(t, p, tokencache.Options{Now: func() time.Time { return *now.Load() }})
		_, err := c.Generate(t.Context(), user)
		require.Error(t, err)
		fails = false
		time.Sleep(31 * time.Second) // the wall clock stands still
		tok := must(t)(c.Generate(t.Context(), user))

		set(time.Now())
		s := c.Source(user)
		tok = must(t)(s.Renew(t.Context(), tok))
		calls := p.calls.Load()
		set(now.Load().Add(-time.Hour))
		for range 40 { // four seconds: within the floor
			tok = must(t)(s.Renew(t.Context(), tok))
			time.Sleep(100 * time.Millisecond)
		}
		assert.Equal(t, calls, p.calls.Load(), "a clock set back lifts no floor")
		time.Sleep(2 * time.Second)
		must(t)(s.Renew(t.Context(), tok))
		assert.Equal(t, calls+1, p.calls.Load(), "and makes none longer")
	})
}
