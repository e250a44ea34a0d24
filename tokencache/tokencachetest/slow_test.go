package tokencachetest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
)

// slow is a good Store on a busy machine: some calls take a while before
// they are made, or after.
type slow struct {
	full
	before, after time.Duration
	mu            sync.Mutex
	rng           *rand.Rand
	quick         int // calls since the last slow one
}

// busy draws whether a call is slow. The four after a slow one are not.
func (s *slow) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quick++
	if s.quick <= 4 || s.rng.IntN(3) != 0 {
		return false
	}
	s.quick = 0
	return true
}

func slowly[T any](s *slow, ctx context.Context, call func() (T, error)) (v T, err error) {
	if !s.busy() {
		return call()
	}
	select {
	case <-time.After(s.before):
		v, err = call()
	case <-ctx.Done():
		return v, ctx.Err()
	}
	time.Sleep(s.after)
	return v, err
}

func (s *slow) Load(ctx context.Context, key string) (val []byte, rev uint64, err error) {
	_, err = slowly(s, ctx, func() (_ struct{}, err error) {
		val, rev, err = s.full.Load(ctx, key)
		return struct{}{}, err
	})
	return val, rev, err
}

func (s *slow) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	return slowly(s, ctx, func() (uint64, error) { return s.full.CAS(ctx, key, rev, val, ttl) })
}

func (s *slow) Lock(ctx context.Context, key, owner string, ttl time.Duration) (uint64, error) {
	return slowly(s, ctx, func() (uint64, error) { return s.full.Lock(ctx, key, owner, ttl) })
}

func (s *slow) Extend(ctx context.Context, key, owner string, ttl time.Duration) (bool, error) {
	return slowly(s, ctx, func() (bool, error) { return s.full.Extend(ctx, key, owner, ttl) })
}

func (s *slow) Unlock(ctx context.Context, key, owner string) (bool, error) {
	return slowly(s, ctx, func() (bool, error) { return s.full.Unlock(ctx, key, owner) })
}

func TestAGoodStoreOnABusyMachinePasses(t *testing.T) {
	for seed := range uint64(10) {
		for _, s := range []*slow{{before: 600 * time.Millisecond}, {after: 600 * time.Millisecond}} {
			t.Run(fmt.Sprintf("seed %d, %v before, %v after", seed, s.before, s.after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s.full, s.rng = tokencache.NewMemory().(full), rand.New(rand.NewPCG(seed, 1))
					assert.NoError(t, tokencachetest.Test(s))
				})
			})
		}
	}
}
