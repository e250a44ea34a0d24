package tokencachetest

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) tokencache.Store { return tokencache.NewMemory() })
}

type full interface {
	tokencache.Store
	tokencache.Locker
	tokencache.Watcher
}

type noCAS struct{ full }

func (s noCAS) CAS(ctx context.Context, key string, _ uint64, val []byte, ttl time.Duration) (bool, error) {
	for {
		_, rev, err := s.Load(ctx, key)
		if err != nil {
			return false, err
		}
		if ok, err := s.full.CAS(ctx, key, rev, val, ttl); ok || err != nil {
			return ok, err
		}
	}
}

type anyoneUnlocks struct{ full }

func (s anyoneUnlocks) Unlock(ctx context.Context, key, _ string) (bool, error) {
	for _, owner := range []string{"a", "b", "c", "d"} {
		if ok, err := s.full.Unlock(ctx, key, owner); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

type anyoneExtends struct{ full }

func (anyoneExtends) Extend(context.Context, string, string, time.Duration) (bool, error) {
	return true, nil
}

type levelFence struct{ full }

func (s levelFence) Lock(ctx context.Context, key, owner string, ttl time.Duration) (uint64, error) {
	fence, err := s.full.Lock(ctx, key, owner, ttl)
	return min(fence, 1), err
}

type noLease struct{ full }

func (s noLease) Lock(ctx context.Context, key, _ string, ttl time.Duration) (uint64, error) {
	return s.full.Lock(ctx, key, "everybody", ttl)
}

type deaf struct{ full }

func (deaf) Watch(context.Context, string) (<-chan struct{}, error) { return make(chan struct{}), nil }

type immortal struct{ full }

func (s immortal) CAS(ctx context.Context, key string, rev uint64, val []byte, _ time.Duration) (bool, error) {
	return s.full.CAS(ctx, key, rev, val, time.Hour)
}

type truncating struct{ full }

func (s truncating) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (bool, error) {
	return s.full.CAS(ctx, key, rev, bytes.TrimSuffix(val, []byte{0xff}), ttl)
}

type deafToContext struct{ full }

func (s deafToContext) Load(_ context.Context, key string) ([]byte, uint64, error) {
	return s.full.Load(context.Background(), key)
}

// A Store that breaks one promise fails the check of that promise.
func TestBrokenStores(t *testing.T) {
	for check, broken := range map[string]func(full) tokencache.Store{
		"Revisions":         func(s full) tokencache.Store { return noCAS{s} },
		"LostReply":         func(s full) tokencache.Store { return noCAS{s} },
		"CASIsLinearizable": func(s full) tokencache.Store { return noCAS{s} },
		"LeaseOfNonOwner":   func(s full) tokencache.Store { return anyoneUnlocks{s} },
		"Lease":             func(s full) tokencache.Store { return anyoneExtends{s} },
		"FenceRises":        func(s full) tokencache.Store { return levelFence{s} },
		"OneHolder":         func(s full) tokencache.Store { return noLease{s} },
		"Watch":             func(s full) tokencache.Store { return deaf{s} },
		"Expiry":            func(s full) tokencache.Store { return immortal{s} },
		"AnyKeyAndValue":    func(s full) tokencache.Store { return truncating{s} },
		"Context":           func(s full) tokencache.Store { return deafToContext{s} },
	} {
		t.Run(check, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			for _, c := range checks {
				if c.name == check {
					if err := c.run(ctx, broken(tokencache.NewMemory().(full))); err == nil {
						t.Error("passes")
					}
					return
				}
			}
			t.Error("no such check")
		})
	}
}
