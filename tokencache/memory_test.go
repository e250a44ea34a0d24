package tokencache_test

import (
	"context"
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
