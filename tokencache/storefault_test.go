package tokencache_test

import (
	"context"
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

// oneFault is a replica's way to a Store on which one call goes wrong.
type oneFault struct {
	tokencache.Store
	mu    sync.Mutex
	calls int
	at    int // the number of the call that goes wrong; 0: none
	kind  faultKind
	until time.Time // when it is back
}

type faultKind string

const (
	fails   faultKind = "fails"
	noReply faultKind = "is done without a reply"
	hangs   faultKind = "hangs"
	away    faultKind = "fails with all calls of the next three seconds"
)

func (s *oneFault) call(ctx context.Context, key string, do func() error) error {
	if key[0] == 'm' { // a receipt, of which there are many
		return do()
	}
	s.mu.Lock()
	s.calls++
	hit := s.calls == s.at
	if hit && s.kind == away {
		s.until = time.Now().Add(3 * time.Second)
	}
	hit = hit || time.Now().Before(s.until)
	s.mu.Unlock()
	switch {
	case !hit:
		return do()
	case s.kind == hangs:
		<-ctx.Done()
		return ctx.Err()
	case s.kind == noReply:
		_ = do()
	}
	return errNoReply
}

func (s *oneFault) Load(ctx context.Context, key string) (val []byte, rev uint64, err error) {
	err = s.call(ctx, key, func() (err error) { val, rev, err = s.Store.Load(ctx, key); return err })
	return val, rev, err
}

func (s *oneFault) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (next uint64, err error) {
	err = s.call(ctx, key, func() (err error) { next, err = s.Store.CAS(ctx, key, rev, val, ttl); return err })
	return next, err
}

func (s *oneFault) Lock(ctx context.Context, key, owner string, ttl time.Duration) (fence uint64, err error) {
	err = s.call(ctx, key, func() (err error) {
		fence, err = s.Store.(tokencache.Locker).Lock(ctx, key, owner, ttl)
		return err
	})
	return fence, err
}

func (s *oneFault) Extend(ctx context.Context, key, owner string, ttl time.Duration) (ok bool, err error) {
	err = s.call(ctx, key, func() (err error) {
		ok, err = s.Store.(tokencache.Locker).Extend(ctx, key, owner, ttl)
		return err
	})
	return ok, err
}

func (s *oneFault) Unlock(ctx context.Context, key, owner string) (ok bool, err error) {
	err = s.call(ctx, key, func() (err error) {
		ok, err = s.Store.(tokencache.Locker).Unlock(ctx, key, owner)
		return err
	})
	return ok, err
}

func (s *oneFault) Watch(ctx context.Context, key string) (<-chan struct{}, error) {
	return s.Store.(tokencache.Watcher).Watch(ctx, key)
}

// count is how many calls were made.
func (s *oneFault) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// One call of the Store that goes wrong, whichever it is, costs a caller an error
// that says so at most. No grant is lost, no refresh token is presented twice, a
// sign-out counts, and both replicas agree in the end.
func TestOneFaultOfTheStoreCostsNoGrant(t *testing.T) { atEachCall(t, 4, dayOverOneFault) }

// atEachCall runs day with a fault of each kind at every step-th call of the
// Store. day returns how many calls there were.
func atEachCall(t *testing.T, step int, day func(t *testing.T, mode providers.Mode, kind faultKind, at int) int) {
	switch {
	case defaultSeeds == 1: // under -race
		step *= 12
	case testing.Short():
		step *= 3
	}
	for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
		for _, kind := range []faultKind{fails, noReply, hangs, away} {
			if mode == providers.Shared && kind == away {
				continue // work goes on without the Store, and the replicas do not agree
			}
			t.Run(fmt.Sprint(mode, ", a call ", kind), func(t *testing.T) {
				calls := 30
				for at := int(mode); at < calls; at += step { // others in each mode
					n := 0
					synctest.Test(t, func(t *testing.T) { n = day(t, mode, kind, at) })
					calls = max(calls, n)
					if t.Failed() {
						t.Fatal("call ", at)
					}
				}
				assert.Greater(t, calls, 30, "the day was counted")
			})
		}
	}
}

// busy calls again while the Store is said to be away.
func busy[T any](t *testing.T, call func() (T, error)) (T, error) {
	t.Helper()
	got, err := call()
	for range 3 {
		if code(err) != providers.CodeBusy {
			break
		}
		assert.ErrorContains(t, err, "the token store is unavailable")
		time.Sleep(2 * time.Second)
		got, err = call()
	}
	return got, err
}

// dayOverOneFault uses a grant in all ways over a Store whose at-th call goes
// wrong. It returns how many calls there were.
func dayOverOneFault(t *testing.T, mode providers.Mode, kind faultKind, at int) int {
	v, memory := newVendor(), tokencache.NewMemory()
	v.mode, v.ttl = mode, 40*time.Second
	store := &oneFault{Store: memory, at: at, kind: kind}
	a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
	b := cluster(t, 1, v, tokencache.Options{Store: memory})[0]
	again := func(call func() (providers.Token, error)) (providers.Token, error) { return busy(t, call) }
	generate := func(c *tokencache.Cache) providers.Token {
		return must(t)(again(func() (providers.Token, error) { return c.Generate(t.Context(), alice) }))
	}
	refresh := func(rt string) (providers.Token, error) {
		return again(func() (providers.Token, error) { return a.Refresh(t.Context(), nobody, rt) })
	}
	saved := func() providers.Token { // a pair that is not saved yet has no refresh token
		generate(a)
		time.Sleep(5 * time.Second)
		return generate(a)
	}
	first := saved()
	second := must(t)(refresh(first.RefreshToken))
	time.Sleep(34 * time.Second) // renewed ahead from here
	third := saved()
	assert.Greater(t, third.Version, second.Version)
	must(t)(again(func() (providers.Token, error) { return a.Renew(t.Context(), alice, third) }))
	fourth := saved()
	assert.Greater(t, fourth.Version, third.Version)
	require.NoError(t, a.Purge(t.Context(), alice))
	_, err := refresh(fourth.RefreshToken)
	assert.Equal(t, providers.CodeRefreshRejected, code(err), "signed out: %v", err)
	fifth := generate(b)
	assert.NotEqual(t, fourth.AccessToken, fifth.AccessToken, "signed out")
	assert.Equal(t, fifth.AccessToken, generate(a).AccessToken)
	if mode != providers.Shared { // which continues without the Store
		presentedOnce(t, v)
	}
	v.mu.Lock()
	clear(v.alive)
	v.mu.Unlock()
	_, err = refresh(fifth.RefreshToken)
	assert.Equal(t, providers.CodeRefreshRejected, code(err), "dead: %v", err)
	calls := store.count()
	time.Sleep(40 * time.Second)
	sixth := saved()
	assert.Equal(t, sixth.AccessToken, generate(b).AccessToken)
	assert.Zero(t, a.Stats().Unsaved)
	assert.Zero(t, a.Stats().InFlight)
	return calls
}

// The same for the tokens that pages have.
func TestOneFaultOfTheStoreCostsNoPage(t *testing.T) { atEachCall(t, 6, pageOverOneFault) }

func pageOverOneFault(t *testing.T, mode providers.Mode, kind faultKind, at int) int {
	v, memory := newVendor(), tokencache.NewMemory()
	v.mode = mode
	store := &oneFault{Store: memory, at: at, kind: kind}
	a, err := tokencache.NewHandedOut(cluster(t, 1, v, tokencache.Options{Store: store})[0], 0)
	require.NoError(t, err)
	b, err := tokencache.NewHandedOut(cluster(t, 1, v, tokencache.Options{Store: memory})[0], 0)
	require.NoError(t, err)
	generate := func() (providers.Token, error) { return a.Generate(t.Context(), alice) }
	must(t)(busy(t, generate))
	time.Sleep(5 * time.Second) // it is saved by now
	page := must(t)(busy(t, generate))
	time.Sleep(time.Minute)
	require.Equal(t, page.AccessToken, must(t)(generate()).AccessToken) // written again, if the Store does not have it
	grant := func(h *tokencache.HandedOut, accessToken string) (*tokencache.Grant, bool) {
		known := false
		g, err := busy(t, func() (g *tokencache.Grant, err error) {
			g, known, err = h.Grant(t.Context(), accessToken)
			return g, err
		})
		require.NoError(t, err)
		return g, known
	}
	proxy, known := grant(b, page.AccessToken)
	require.True(t, known)
	time.Sleep(6 * time.Second)
	renewed := must(t)(proxy.Renew(t.Context(), page))
	assert.Greater(t, renewed.Version, page.Version)
	got := must(t)(busy(t, func() (providers.Token, error) { return a.Refresh(t.Context(), nobody, page.RefreshToken) }))
	assert.GreaterOrEqual(t, got.Version, renewed.Version)
	g, known := grant(a, got.AccessToken)
	require.True(t, known)
	assert.Equal(t, got.AccessToken, must(t)(busy(t, func() (providers.Token, error) { return g.Token(t.Context()) })).AccessToken)
	require.NoError(t, a.Purge(t.Context(), alice))
	for _, h := range []*tokencache.HandedOut{a, b} {
		_, known = grant(h, got.AccessToken)
		assert.False(t, known, "signed out")
	}
	_, err = busy(t, func() (providers.Token, error) { return g.Token(t.Context()) })
	assert.Equal(t, providers.CodeNotSignedIn, code(err), "%v", err)
	if mode != providers.Shared {
		assert.LessOrEqual(t, v.presented(), 2)
		presentedOnce(t, v)
	}
	return store.count()
}

// lateWrite is a Store in which one write of a record arrives late: it gets no
// reply, is not there when it is looked for, and is made before the next one.
type lateWrite struct {
	*history
	armed   atomic.Bool
	mu      sync.Mutex
	pending func()
}

func (l *lateWrite) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	if !strings.HasPrefix(key, "t") {
		return l.history.CAS(ctx, key, rev, val, ttl)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.armed.CompareAndSwap(true, false) {
		l.pending = func() { _, _ = l.history.CAS(context.WithoutCancel(ctx), key, rev, val, ttl) }
		return 0, errNoReply
	}
	if l.pending != nil {
		l.pending()
		l.pending = nil
	}
	return l.history.CAS(ctx, key, rev, val, ttl)
}

// A write that arrives late counts once.
func TestAWriteThatArrivesLateCounts(t *testing.T) {
	t.Run("of a failure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := &lateWrite{history: newHistory()}
			p := &fake{}
			p.generate = func(context.Context, providers.Request) (providers.Token, error) {
				store.armed.Store(true)
				return providers.Token{}, &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient}
			}
			c := cluster(t, 1, p, tokencache.Options{Store: store})[0]
			_, err := c.Generate(t.Context(), user)
			require.Equal(t, providers.CodeUnreachable, code(err), "%v", err)
			_, err = c.Generate(t.Context(), user)
			assert.LessOrEqual(t, providers.AsError(err).RetryAfter, time.Second, "the window of a first failure")
			assert.EqualValues(t, 1, p.calls.Load())
		})
	})
	t.Run("of a sign-out", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, store := &revoker{vendor: newVendor()}, &lateWrite{history: newHistory()}
			all := cluster(t, 2, r, tokencache.Options{Store: store})
			must(t)(all[1].Generate(t.Context(), alice))
			store.armed.Store(true)
			require.NoError(t, all[0].Purge(t.Context(), alice))
			assert.Equal(t, []string{"rt-1"}, r.revoked, "the Store had it")
		})
	})
}

// noLock is a Store that grants no lease.
type noLock struct{ tokencache.Store }

func (noLock) Lock(ctx context.Context, _, _ string, _ time.Duration) (uint64, error) {
	_ = pause(ctx, 10*time.Millisecond)
	return 0, errors.New("no")
}
func (noLock) Extend(context.Context, string, string, time.Duration) (bool, error) { return false, nil }
func (noLock) Unlock(context.Context, string, string) (bool, error)                { return false, nil }

// Where no lease can be had or no intent written, callers hear at once that the
// Store is away, and nothing is asked upstream. A Shared provider goes on.
func TestAStoreThatRefusesWorkIsSaidToBeAway(t *testing.T) {
	refuses := newHistory()
	refuses.setFails(func(op, key string) error {
		if op == "CAS" && strings.HasPrefix(key, "t") {
			return errors.New("no")
		}
		return nil
	})
	for name, store := range map[string]tokencache.Store{"no lease": noLock{tokencache.NewMemory()}, "no write of a record": refuses} {
		for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
			t.Run(fmt.Sprint(name, ", ", mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v := newVendor()
					v.mode = mode
					c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
					began := time.Now()
					_, err := c.Generate(t.Context(), alice)
					assert.Less(t, time.Since(began), time.Second)
					if mode == providers.Shared {
						assert.NoError(t, err)
						return
					}
					assert.Equal(t, providers.CodeBusy, code(err))
					assert.ErrorContains(t, err, "the token store is unavailable")
					assert.Zero(t, v.n, "asked upstream")
				})
			})
		}
	}
}

// Where the end of a grant cannot be written, its caller hears that the Store is
// away.
func TestAnEndThatCannotBeWrittenIsAFaultOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		pair := must(t)(c.Generate(t.Context(), alice))
		v.refresh = func(context.Context, providers.Request, string) (providers.Token, error) {
			store.setFails(func(op, key string) error {
				if op == "CAS" && strings.HasPrefix(key, "t") {
					return errors.New("no")
				}
				return nil
			})
			return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}
		}
		_, err := c.Refresh(t.Context(), nobody, pair.RefreshToken)
		assert.Equal(t, providers.CodeBusy, code(err), "%v", err)
		assert.ErrorContains(t, err, "the token store is unavailable")
	})
}
