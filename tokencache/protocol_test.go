package tokencache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// fences is a Store whose leases have the fences that a test gives them.
type fences struct {
	tokencache.Store
	mu    sync.Mutex
	next  []uint64
	locks int
	lost  atomic.Bool // no lease can be extended
}

func (f *fences) Lock(context.Context, string, string, time.Duration) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locks++
	fence := f.next[0]
	if len(f.next) > 1 {
		f.next = f.next[1:]
	}
	return fence, nil
}

func (f *fences) Extend(context.Context, string, string, time.Duration) (bool, error) {
	return !f.lost.Load(), nil
}
func (f *fences) Unlock(context.Context, string, string) (bool, error) { return true, nil }

func (f *fences) taken() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.locks
}

// A lease that is older than the one that wrote the record is given back.
func TestAnOldLeaseIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, memory := rotating(), tokencache.NewMemory()
		a := cluster(t, 1, v, tokencache.Options{Store: &fences{Store: memory, next: []uint64{10}}})[0]
		old := &fences{Store: memory, next: []uint64{1, 2, 11}}
		b := cluster(t, 1, v, tokencache.Options{Store: old})[0]
		require.NoError(t, a.Adopt(t.Context(), alice, v.issue("t1/alice")))
		time.Sleep(70 * time.Second)
		must(t)(a.Generate(t.Context(), alice)) // the record has fence 10 now
		time.Sleep(70 * time.Second)
		locksAtCall := 0
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			locksAtCall = old.taken()
			return good(ctx, req, rt)
		}
		must(t)(b.Generate(t.Context(), alice))
		assert.Equal(t, 3, locksAtCall, "leases taken before the call")
		presentedOnce(t, v)
	})
}

// Where a Store has forgotten how far its fences were, work goes on after a few
// tries.
func TestALeaseThatStaysOldIsUsedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, memory := rotating(), tokencache.NewMemory()
		a := cluster(t, 1, v, tokencache.Options{Store: &fences{Store: memory, next: []uint64{10}}})[0]
		old := &fences{Store: memory, next: []uint64{1}}
		b := cluster(t, 1, v, tokencache.Options{Store: old})[0]
		require.NoError(t, a.Adopt(t.Context(), alice, v.issue("t1/alice")))
		time.Sleep(70 * time.Second)
		must(t)(a.Generate(t.Context(), alice)) // the record has fence 10 now
		time.Sleep(70 * time.Second)
		began := time.Now()
		must(t)(b.Generate(t.Context(), alice))
		assert.Equal(t, 4, old.taken())
		assert.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond, "with pauses between")
		presentedOnce(t, v)
	})
}

// A lease that was lost while its holder waited for a slot is taken again, also
// if it would have lasted longer.
func TestALeaseThatIsLostDuringAWaitIsTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), &fences{Store: tokencache.NewMemory(), next: []uint64{1, 2, 3, 4, 5, 6, 7, 8}}
		var told atomic.Int64
		c := cluster(t, 1, v, tokencache.Options{Store: store, MaxFlights: 1, Observer: func(_ context.Context, e providers.Event) {
			if e.Kind == "lease_lost" {
				told.Add(1)
			}
		}})[0]
		require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
		require.NoError(t, c.Adopt(t.Context(), bob, v.issue("t1/bob")))
		time.Sleep(70 * time.Second)
		good, locksAtCall := v.refresh, 0
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			if req.Subject == "bob" { // has the only slot
				time.Sleep(2500 * time.Millisecond)
				return providers.Token{}, &providers.Error{Code: providers.CodeBusy, Class: providers.Transient}
			}
			locksAtCall = store.taken()
			return good(ctx, req, rt)
		}
		go func() { _, _ = c.Generate(t.Context(), bob) }()
		time.Sleep(100 * time.Millisecond)
		before := store.taken()
		store.lost.Store(true)
		must(t)(c.Generate(t.Context(), alice))
		assert.Equal(t, before+2, locksAtCall, "alice's lease, and alice's next lease")
		assert.GreaterOrEqual(t, told.Load(), int64(2), "bob's and alice's")
	})
}

// holding is a Store that does not answer when a lease is released, or else when
// a record is written.
type holding struct {
	tokencache.Store
	writes bool
}

func (h holding) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	if h.writes && strings.HasPrefix(key, "t") {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return h.Store.CAS(ctx, key, rev, val, ttl)
}

func (h holding) Lock(ctx context.Context, key, owner string, ttl time.Duration) (uint64, error) {
	return h.Store.(tokencache.Locker).Lock(ctx, key, owner, ttl)
}

func (h holding) Extend(ctx context.Context, key, owner string, ttl time.Duration) (bool, error) {
	return h.Store.(tokencache.Locker).Extend(ctx, key, owner, ttl)
}

func (h holding) Unlock(ctx context.Context, key, owner string) (bool, error) {
	if !h.writes {
		<-ctx.Done()
		return false, ctx.Err()
	}
	return h.Store.(tokencache.Locker).Unlock(ctx, key, owner)
}

// A caller that waits for the end of the work before gets a timeout, as one that
// waits for the upstream does.
func TestTheWaitForTheWorkBeforeEndsInTime(t *testing.T) {
	for range 50 { // two timers end it at the same instant
		synctest.Test(t, func(t *testing.T) {
			p := &fake{mode: providers.Rotating, ttl: time.Hour}
			c := cluster(t, 1, p, tokencache.Options{Store: holding{Store: tokencache.NewMemory()}, StoreTimeout: time.Minute, ForcedFloor: 1})[0]
			tok := must(t)(c.Generate(t.Context(), user))
			began := time.Now()
			_, err := c.Renew(t.Context(), user, tok)
			assert.Equal(t, providers.CodeTimeout, code(err), "%v", err)
			assert.Equal(t, 30*time.Second, time.Since(began))
		})
	}
}

// So does one whose call is about to be written down.
func TestTheWriteOfAnIntentEndsInTime(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			p := &fake{mode: providers.Rotating, ttl: time.Hour}
			c := cluster(t, 1, p, tokencache.Options{Store: holding{tokencache.NewMemory(), true}, StoreTimeout: time.Minute})[0]
			_, err := c.Generate(t.Context(), user)
			assert.Equal(t, providers.CodeTimeout, code(err), "%v", err)
			assert.Zero(t, p.calls.Load())
		})
	}
}

// After an outage, the replica that holds an unsaved token saves it before
// another spends the token that it replaced.
func TestAfterAnOutageUnsavedTokensAreSavedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		all := cluster(t, 2, v, tokencache.Options{Store: store})
		require.NoError(t, all[0].Adopt(t.Context(), alice, v.issue("t1/alice")))
		time.Sleep(70 * time.Second)
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			tok, err := good(ctx, req, rt)
			store.setFails(func(string, string) error { return errors.New("away") })
			v.refresh = good
			return tok, err
		}
		must(t)(all[0].Generate(t.Context(), alice)) // unsaved
		time.Sleep(20 * time.Second)
		_, err := all[1].Generate(t.Context(), alice)
		assert.Equal(t, providers.CodeBusy, code(err), "%v", err)
		assert.Equal(t, 1, all[0].Stats().Unsaved)
		time.Sleep(1100 * time.Millisecond)
		_, _ = all[1].Generate(t.Context(), alice)
		store.setFails(nil)
		time.Sleep(time.Millisecond)
		time.Sleep(windowOf(all[1], t))
		tok := must(t)(all[1].Generate(t.Context(), alice))
		assert.Equal(t, "at-2 of t1/alice", tok.AccessToken)
		assert.Zero(t, all[0].Stats().Unsaved)
		presentedOnce(t, v)
	})
}

// So does one whose callers did not come before the Store was back.
func TestAfterAnOutageTheFirstCallerWaitsForUnsavedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		all := cluster(t, 2, v, tokencache.Options{Store: struct{ tokencache.Store }{store}}) // without an Epoch
		require.NoError(t, all[0].Adopt(t.Context(), alice, v.issue("t1/alice")))
		time.Sleep(70 * time.Second)
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			tok, err := good(ctx, req, rt)
			store.setFails(func(string, string) error { return errors.New("away") })
			v.refresh = good
			return tok, err
		}
		must(t)(all[0].Generate(t.Context(), alice)) // unsaved
		time.Sleep(20 * time.Second)
		require.Equal(t, 1, all[0].Stats().Unsaved)
		store.setFails(nil)
		began := time.Now()
		tok := must(t)(all[1].Generate(t.Context(), alice))
		assert.Equal(t, "at-2 of t1/alice", tok.AccessToken)
		assert.LessOrEqual(t, time.Since(began), 4*time.Second)
		presentedOnce(t, v)
	})
}

// windowOf is the rest of the window in which alice fails fast.
func windowOf(c *tokencache.Cache, t *testing.T) time.Duration {
	_, err := c.Generate(t.Context(), alice)
	if err == nil {
		return 0
	}
	return providers.AsError(err).RetryAfter
}

// Of grants that can be made again, the one that is renewed first leaves a full
// cache first.
func TestTheGrantThatIsRenewedFirstIsEvictedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{}
		p.generate = func(_ context.Context, req providers.Request) (providers.Token, error) {
			life, err := time.ParseDuration(req.Subject)
			return providers.Token{AccessToken: "at", IssuedAt: time.Now(), Expiry: time.Now().Add(life)}, err
		}
		c := open(t, p, tokencache.Options{MaxEntries: 4})
		lives := []string{"4h", "1h", "3h", "2h"}
		for _, life := range append(lives, "5h") {
			must(t)(c.Generate(t.Context(), providers.Request{Subject: life}))
			synctest.Wait() // busy entries stay
		}
		calls := p.calls.Load()
		for _, life := range []string{"4h", "3h", "2h", "5h"} {
			must(t)(c.Generate(t.Context(), providers.Request{Subject: life}))
		}
		assert.Equal(t, calls, p.calls.Load(), "the one of an hour went")
	})
}

// A grant without a token leaves a full cache before any that has one, and its
// going costs nothing.
func TestAGrantWithoutATokenIsEvictedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour}
		p.generate = func(_ context.Context, req providers.Request) (providers.Token, error) {
			if req.Subject == "invented" {
				return providers.Token{}, &providers.Error{Code: providers.CodeInvalidField, Class: providers.Permanent}
			}
			return p.token(p.calls.Load(), ""), nil
		}
		c := open(t, p, tokencache.Options{MaxEntries: 4})
		for _, subject := range []string{"a", "b", "invented", "c", "d"} {
			_, _ = c.Generate(t.Context(), providers.Request{Subject: subject})
			synctest.Wait() // busy entries stay
		}
		calls := p.calls.Load()
		for _, subject := range []string{"a", "b", "c", "d"} {
			must(t)(c.Generate(t.Context(), providers.Request{Subject: subject}))
		}
		assert.Equal(t, calls, p.calls.Load())
		assert.Zero(t, c.Stats().Evicted, "no token left the memory")
		must(t)(c.Generate(t.Context(), providers.Request{Subject: "e"}))
		assert.EqualValues(t, 1, c.Stats().Evicted)
	})
}

// A token that a sign-out overtook is revoked.
func TestATokenThatASignOutOvertookIsRevoked(t *testing.T) {
	for _, stored := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := &revoker{vendor: newVendor()}
			issue := r.generate
			r.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
				if err := pause(ctx, 5*time.Second); err != nil {
					return providers.Token{}, err
				}
				return issue(ctx, req)
			}
			all := []*tokencache.Cache{open(t, r, tokencache.Options{})}
			if stored {
				all = cluster(t, 2, r, tokencache.Options{})
			}
			done := make(chan error)
			go func() {
				_, err := all[0].Generate(t.Context(), alice)
				done <- err
			}()
			time.Sleep(4 * time.Second)
			require.NoError(t, all[len(all)-1].Purge(t.Context(), alice))
			assert.Error(t, <-done)
			synctest.Wait()
			r.vendor.mu.Lock()
			defer r.vendor.mu.Unlock()
			assert.Contains(t, r.revoked, "rt-1")
		})
	}
}

// A replica that has missed more notices than the bulletin holds serves nothing
// that it has not read again.
func TestMissedNoticesOutdateEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		cut := &deafStore{history: store}
		b := open(t, v, tokencache.Options{Store: cut, Namespace: "test"})
		old := map[int]string{}
		for i := range 280 {
			old[i] = must(t)(b.Generate(t.Context(), userNo(i))).AccessToken
			must(t)(a.Generate(t.Context(), userNo(i)))
		}
		cut.die()
		time.Sleep(10 * time.Second) // a member no longer
		for i := range 280 {
			require.NoError(t, a.Purge(t.Context(), userNo(i)))
		}
		cut.heal()
		time.Sleep(3 * time.Second)
		for i := range 280 {
			// A Source goes round; a Generate that finds the sign-out on its way
			// takes it for one that overtook it.
			assert.NotEqual(t, old[i], must(t)(b.Source(userNo(i)).Token(t.Context())).AccessToken)
		}
	})
}

func TestTheStoreKeepsABoundedNumberOfNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newLedgerStore()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		for i := range 260 {
			require.NoError(t, c.Purge(t.Context(), userNo(i)))
		}
		most := 0
		for _, val := range store.all() {
			var b struct {
				Notices []json.RawMessage `json:"i"`
			}
			if json.Unmarshal(val, &b) == nil {
				most = max(most, len(b.Notices))
			}
		}
		assert.Equal(t, 256, most)
	})
}

// Forged refresh tokens do not fill the memory.
func TestTheIndexIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		c := open(t, v, tokencache.Options{MaxEntries: 50})
		pair := must(t)(c.Generate(t.Context(), alice))
		together(3000, func(i int) { _, _ = c.Refresh(t.Context(), nobody, fmt.Sprint("forged ", i)) })
		synctest.Wait() // busy entries stay
		assert.LessOrEqual(t, c.IndexLen(), 200)
		assert.LessOrEqual(t, c.Stats().Entries, 50)
		next := must(t)(c.Refresh(t.Context(), nobody, pair.RefreshToken))
		assert.Contains(t, next.AccessToken, "of t1/alice", "the live refresh token stays in the index")
		if cur, err := c.Generate(t.Context(), alice); assert.NoError(t, err) {
			assert.Equal(t, next.AccessToken, cur.AccessToken)
		}
	})
}

// What is in doubt is tried again in the background, a few times and no more.
func TestACallInDoubtIsTriedAFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := rotating()
		var tries atomic.Int64
		v.refresh = func(context.Context, providers.Request, string) (providers.Token, error) {
			tries.Add(1)
			return providers.Token{}, &providers.Error{Code: providers.CodeTimeout, Class: providers.InDoubt}
		}
		c := open(t, v, tokencache.Options{})
		require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
		_, err := c.Refresh(t.Context(), alice, "rt-1")
		require.Error(t, err)
		assert.Equal(t, 1, c.Stats().InDoubt)
		time.Sleep(time.Hour)
		assert.EqualValues(t, 7, tries.Load())
		assert.EqualValues(t, 1+7, c.Stats().Flights, "no more work than that, and the adoption")
	})
}

// A notice that cannot be written holds nobody up who only superseded a token.
func TestASupersededTokenIsToldInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		all := cluster(t, 2, v, tokencache.Options{Store: store})
		tok := must(t)(all[0].Generate(t.Context(), alice))
		must(t)(all[1].Generate(t.Context(), alice))
		store.setFails(func(op, key string) error {
			if op == "CAS" && strings.HasPrefix(key, "n") {
				return errors.New("no")
			}
			return nil
		})
		time.Sleep(10 * time.Second)
		next := must(t)(all[0].Refresh(t.Context(), alice, tok.RefreshToken))
		assert.Equal(t, tok.AccessToken, must(t)(all[1].Generate(t.Context(), alice)).AccessToken)
		store.setFails(nil)
		time.Sleep(5 * time.Second)
		assert.Equal(t, next.AccessToken, must(t)(all[1].Generate(t.Context(), alice)).AccessToken)
	})
}

// A failure of the Store does not make a token good again of which it is known
// that it may be over.
func TestAStoreErrorVerifiesNothing(t *testing.T) {
	for _, mode := range []providers.Mode{providers.Shared, providers.Exclusive} {
		synctest.Test(t, func(t *testing.T) {
			v, store := newVendor(), newHistory()
			v.mode = mode
			a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
			cut := &deafStore{history: store}
			b := open(t, v, tokencache.Options{Store: cut, Namespace: "test"})
			old := must(t)(b.Generate(t.Context(), alice))
			must(t)(a.Generate(t.Context(), alice))
			cut.die()
			time.Sleep(10 * time.Second)
			require.NoError(t, a.Purge(t.Context(), alice))
			for i := range 260 {
				require.NoError(t, a.Purge(t.Context(), userNo(i)))
			}
			// b hears that it has missed notices, and can read no record.
			store.setFails(func(op, key string) error {
				if strings.HasPrefix(key, "t") {
					return errors.New("no")
				}
				return nil
			})
			v.generate = func(context.Context, providers.Request) (providers.Token, error) {
				return providers.Token{}, &providers.Error{Code: providers.CodeBusy, Class: providers.Transient}
			}
			cut.heal()
			time.Sleep(3 * time.Second)
			for range 20 {
				tok, err := b.Source(alice).Token(t.Context())
				assert.NotEqual(t, old.AccessToken, tok.AccessToken, mode)
				if mode == providers.Exclusive {
					assert.Error(t, err) // Shared goes on without the Store
				}
				time.Sleep(time.Second)
			}
		})
	}
}
