package tokencache_test

import (
	"context"
	"errors"
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

// restarting is a Store that can be away, and come back empty. The cache that
// watched first hears of that at once, as with redisstore, which subscribes
// again.
type restarting struct {
	mu    sync.Mutex
	store tokencache.Store // nil: away
	first chan struct{}
}

func (s *restarting) get() (tokencache.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store == nil {
		return nil, errors.New("store away")
	}
	return s.store, nil
}

func (s *restarting) set(store tokencache.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = store
}

func (s *restarting) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	store, err := s.get()
	if err != nil {
		return nil, 0, err
	}
	return store.Load(ctx, key)
}

func (s *restarting) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	store, err := s.get()
	if err != nil {
		return 0, err
	}
	return store.CAS(ctx, key, rev, val, ttl)
}

func (s *restarting) Watch(context.Context, string) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan struct{}, 1)
	if s.first == nil {
		s.first = ch
	}
	return ch, nil
}

// A replica that saw the Store away must not write that into the new one, for
// the others to fail by.
func TestStoreBackEmptyServesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &restarting{store: tokencache.NewMemory()}
		p := &fake{ttl: time.Minute, mode: providers.Exclusive}
		o := tokencache.Options{Store: s, Namespace: "n"}
		a := open(t, p, o)
		synctest.Wait() // it watches first
		b := open(t, p, o)
		for _, c := range []*tokencache.Cache{a, b} {
			must(t)(c.Generate(t.Context(), user))
		}
		synctest.Wait()
		time.Sleep(55 * time.Second) // past the end
		s.set(nil)
		if _, err := a.Generate(t.Context(), user); code(err) != providers.CodeBusy {
			t.Fatal(err)
		}
		if _, err := a.Generate(t.Context(), user); code(err) != providers.CodeBusy || a.Stats().FailFast != 1 {
			t.Error("the Store was asked again:", err)
		}
		s.set(tokencache.NewMemory())
		s.first <- struct{}{}
		synctest.Wait()
		must(t)(b.Generate(t.Context(), user))
		if p.refreshes.Load() != 1 {
			t.Error(p.refreshes.Load(), "refreshes")
		}
	})
}

// A token that another replica said to be over is not written into a Store that
// has lost its successor.
func TestASupersededTokenIsNotBroughtBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		all := cluster(t, 2, v, tokencache.Options{Store: store})
		old := must(t)(all[0].Generate(t.Context(), alice))
		must(t)(all[1].Generate(t.Context(), alice))
		must(t)(all[0].Refresh(t.Context(), alice, old.RefreshToken))
		time.Sleep(5 * time.Second) // all[1] has read the notice
		require.NoError(t, all[0].Close(t.Context()))
		store.bringBack("", nil, "2")
		time.Sleep(5 * time.Second)
		assert.NotEqual(t, old.AccessToken, must(t)(all[1].Generate(t.Context(), alice)).AccessToken)
		assert.Equal(t, 1, v.presented(), "nor is its refresh token presented")
	})
}

// Writing back what the Store has lost is tried until it succeeds, and says so.
func TestWhatTheStoreLostIsWrittenAgainOnceItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		var told atomic.Int64
		c := cluster(t, 1, v, tokencache.Options{Store: store, Observer: func(_ context.Context, e providers.Event) {
			if e.Kind == "store_lost" {
				told.Add(1)
			}
		}})[0]
		require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
		time.Sleep(5 * time.Second)
		store.setFails(func(_, key string) error {
			if strings.HasPrefix(key, "t") {
				return errors.New("not yet")
			}
			return nil
		})
		store.bringBack("", nil, "2")
		time.Sleep(10 * time.Second)
		assert.Zero(t, told.Load())
		store.setFails(nil)
		time.Sleep(2 * time.Second)
		records, _ := store.live("t")
		assert.Equal(t, 1, records)
		assert.EqualValues(t, 1, told.Load())
	})
}

// A replica that has missed notices may have missed a call to write back what
// the Store has lost. It does so.
func TestAReplicaThatMissedNoticesWritesBackWhatTheStoreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		cut := &deafStore{history: store}
		b := open(t, v, tokencache.Options{Store: cut, Namespace: "test"})
		require.NoError(t, b.Adopt(t.Context(), alice, v.issue("t1/alice")))
		cut.die()
		time.Sleep(10 * time.Second) // a member no longer
		store.bringBack("t", nil, "")
		for i := range 260 {
			require.NoError(t, a.Purge(t.Context(), userNo(i)))
		}
		records, _ := store.live("t")
		require.Equal(t, 260, records)
		cut.heal()
		time.Sleep(5 * time.Second)
		records, _ = store.live("t")
		assert.Equal(t, 261, records)
	})
}

// nameless is a Store that may fail to tell its Epoch.
type nameless struct {
	*history
	fails atomic.Bool
}

func (n *nameless) Epoch(ctx context.Context, key string) (string, error) {
	if n.fails.Load() {
		return "", errors.New("no")
	}
	return n.history.Epoch(ctx, key)
}

// Whether the Store has lost something is known from its Epoch and the notices.
// Where one of them cannot be read, no refresh token is spent.
func TestNoRefreshTokenIsSpentWhileItIsUnknownWhatTheStoreLost(t *testing.T) {
	for _, what := range []string{"epoch", "notices"} {
		synctest.Test(t, func(t *testing.T) {
			v, store := rotating(), &nameless{history: newHistory()}
			c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
			require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
			time.Sleep(70 * time.Second)
			store.fails.Store(what == "epoch")
			store.setFails(func(op, key string) error {
				if what == "notices" && op == "Load" && strings.HasPrefix(key, "n") {
					return errors.New("no")
				}
				return nil
			})
			_, err := c.Generate(t.Context(), alice)
			assert.Equal(t, providers.CodeBusy, code(err), "%s: %v", what, err)
			assert.Zero(t, v.presented())
			store.fails.Store(false)
			store.setFails(nil)
			time.Sleep(windowOf(c, t))
			must(t)(c.Generate(t.Context(), alice))
			presentedOnce(t, v)
		})
	}
}
