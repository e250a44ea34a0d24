package tokencache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/tokencache"
)

// The lease of a holder that has died is free once it has ended.
func TestALeaseInMemoryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := tokencache.NewMemory().(tokencache.Locker)
		first, err := locks.Lock(t.Context(), "k", "a", time.Second)
		require.NoError(t, err)
		require.NotZero(t, first)
		next, err := locks.Lock(t.Context(), "k", "b", time.Second)
		require.NoError(t, err)
		assert.Zero(t, next, "a has it")
		time.Sleep(time.Second)
		ok, err := locks.Extend(t.Context(), "k", "a", time.Second)
		require.NoError(t, err)
		assert.False(t, ok, "it has ended")
		next, err = locks.Lock(t.Context(), "k", "b", time.Second)
		require.NoError(t, err)
		assert.Greater(t, next, first)
		ok, err = locks.Unlock(t.Context(), "k", "a")
		require.NoError(t, err)
		assert.False(t, ok, "it is b's")
	})
}

func TestMemoryDoesNothingForACallerThatHasLeft(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	store := tokencache.NewMemory()
	locks := store.(tokencache.Locker)
	_, _, err := store.Load(gone, "k")
	assert.ErrorIs(t, err, context.Canceled)
	_, err = store.CAS(gone, "k", 0, []byte("v"), time.Minute)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = locks.Lock(gone, "k", "a", time.Minute)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = locks.Extend(gone, "k", "a", time.Minute)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = locks.Unlock(gone, "k", "a")
	assert.ErrorIs(t, err, context.Canceled)
	val, rev, err := store.Load(t.Context(), "k")
	require.NoError(t, err)
	assert.Empty(t, val)
	assert.Zero(t, rev)
}

// What has ended takes no memory, although it is not asked for again.
func TestMemoryHoldsNothingThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := tokencache.NewMemory()
		locks, watches := store.(tokencache.Locker), store.(tokencache.Watcher)
		ctx, cancel := context.WithCancel(t.Context())
		write := func(round int) {
			for i := range 100 {
				key := fmt.Sprint(round, " ", i)
				next, err := store.CAS(t.Context(), key, 0, []byte("v"), time.Second)
				require.NoError(t, err)
				require.NotZero(t, next)
				_, err = locks.Lock(t.Context(), key, "a", time.Second)
				require.NoError(t, err)
				if round == 0 {
					for range 2 {
						_, err = watches.Watch(ctx, key)
						require.NoError(t, err)
					}
				}
			}
		}
		for round := range 10 {
			write(round)
			time.Sleep(2 * time.Second)
		}
		cancel()
		synctest.Wait()
		values, leases, watched := tokencache.Held(store)
		assert.LessOrEqual(t, values, 200)
		assert.LessOrEqual(t, leases, 200)
		assert.Zero(t, watched)
		// Of what lives, nothing is lost.
		last, err := store.CAS(t.Context(), "lives", 0, []byte("v"), time.Hour)
		require.NoError(t, err)
		fence, err := locks.Lock(t.Context(), "lives", "a", time.Hour)
		require.NoError(t, err)
		for round := range 5 {
			write(100 + round)
		}
		_, rev, err := store.Load(t.Context(), "lives")
		require.NoError(t, err)
		assert.Equal(t, last, rev)
		ok, err := locks.Unlock(t.Context(), "lives", "a")
		require.NoError(t, err)
		assert.True(t, ok)
		assert.NotZero(t, fence)
	})
}
