package tokencachetest_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
)

func TestMemory(t *testing.T) {
	tokencachetest.Run(t, func(*testing.T) tokencache.Store { return tokencache.NewMemory() })
}

func TestMemoryInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := tokencachetest.Test(tokencache.NewMemory()); err != nil {
			t.Error(err)
		}
	})
}

// TestPlainStore: a Store without leases and watches is a Store.
func TestPlainStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := tokencachetest.Test(struct{ tokencache.Store }{tokencache.NewMemory()}); err != nil {
			t.Error(err)
		}
	})
}

// replaced is a Store that make makes again when it is emptied.
type replaced struct {
	full
	make func() full
}

func (r *replaced) empty() { r.full = r.make() }

func TestMemoryEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &replaced{make: func() full { return tokencache.NewMemory().(full) }}
		r.empty()
		if err := tokencachetest.TestEmptied(r, r.empty); err != nil {
			t.Error(err)
		}
	})
}

// A Store that counts begins again when it is emptied.
func TestBrokenStoresEmptied(t *testing.T) {
	for name, tt := range map[string]struct {
		make func() full
		want string
	}{
		"revisions that begin again with the Store": {func() full {
			c := &counted{number: func(n uint64) uint64 { return n }}
			return &broken{full: tokencache.NewMemory().(full), cas: c.cas, load: c.load}
		}, "comes a second time"},
		"fences that begin again with the Store": {func() full {
			n := uint64(0)
			return &broken{full: tokencache.NewMemory().(full), lock: func(f full, ctx context.Context, k, owner string, ttl time.Duration) (uint64, error) {
				fence, err := f.Lock(ctx, k, owner, ttl)
				if fence == 0 {
					return 0, err
				}
				n++
				return n, err
			}}
		}, "fence 1 after 1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &replaced{make: tt.make}
				r.empty()
				if err := tokencachetest.TestEmptied(r, r.empty); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("want %q: %v", tt.want, err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := &replaced{make: func() full { return tokencache.NewMemory().(full) }}
		r.empty()
		if err := tokencachetest.TestEmptied(r, func() {}); err == nil {
			t.Error("a Store that was not emptied passes: the test looks at nothing")
		}
	})
}

// drifting is a Store whose epoch changes although nothing is lost.
type drifting struct {
	full
	n int
}

func (d *drifting) Epoch(context.Context, string) (string, error) {
	d.n++
	return strings.Repeat("e", d.n), nil
}

func TestADriftingEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := tokencachetest.Test(&drifting{full: tokencache.NewMemory().(full)})
		if err == nil || !strings.Contains(err.Error(), "epoch: ") {
			t.Error(err)
		}
	})
}

type full interface {
	tokencache.Store
	tokencache.Locker
	tokencache.Watcher
}

// broken is a good Store but for the functions that are set.
type broken struct {
	full
	load   func(full, context.Context, string) ([]byte, uint64, error)
	cas    func(full, context.Context, string, uint64, []byte, time.Duration) (uint64, error)
	lock   func(full, context.Context, string, string, time.Duration) (uint64, error)
	extend func(full, context.Context, string, string, time.Duration) (bool, error)
	unlock func(full, context.Context, string, string) (bool, error)
	watch  func(full, context.Context, string) (<-chan struct{}, error)
}

func (b *broken) Load(ctx context.Context, k string) ([]byte, uint64, error) {
	if b.load != nil {
		return b.load(b.full, ctx, k)
	}
	return b.full.Load(ctx, k)
}

func (b *broken) CAS(ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
	if b.cas != nil {
		return b.cas(b.full, ctx, k, rev, v, ttl)
	}
	return b.full.CAS(ctx, k, rev, v, ttl)
}

func (b *broken) Lock(ctx context.Context, k, owner string, ttl time.Duration) (uint64, error) {
	if b.lock != nil {
		return b.lock(b.full, ctx, k, owner, ttl)
	}
	return b.full.Lock(ctx, k, owner, ttl)
}

func (b *broken) Extend(ctx context.Context, k, owner string, ttl time.Duration) (bool, error) {
	if b.extend != nil {
		return b.extend(b.full, ctx, k, owner, ttl)
	}
	return b.full.Extend(ctx, k, owner, ttl)
}

func (b *broken) Unlock(ctx context.Context, k, owner string) (bool, error) {
	if b.unlock != nil {
		return b.unlock(b.full, ctx, k, owner)
	}
	return b.full.Unlock(ctx, k, owner)
}

func (b *broken) Watch(ctx context.Context, k string) (<-chan struct{}, error) {
	if b.watch != nil {
		return b.watch(b.full, ctx, k)
	}
	return b.full.Watch(ctx, k)
}

// TestBrokenStores breaks one thing at a time: the case about it must see it.
func TestBrokenStores(t *testing.T) {
	for _, tt := range brokenStores() {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := tt.store
				b.full = tokencache.NewMemory().(full)
				err := tokencachetest.Test(&b)
				if err == nil {
					t.Fatal("passed")
				}
				for _, seen := range tt.seen {
					if !strings.Contains(err.Error(), seen) {
						t.Errorf("not seen by %q:\n%v", seen, err)
					}
				}
			})
		})
	}
}
