package tokencache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
