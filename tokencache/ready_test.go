package tokencache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

func TestReadyWaitsForTheReplicasAndIsNotLostWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &restarting{}
		c := open(t, &fake{ttl: time.Minute, mode: providers.Rotating}, tokencache.Options{Store: s, Namespace: "n"})
		time.Sleep(time.Minute)
		assert.False(t, c.Ready(), "the Store was away from the start")

		s.set(tokencache.NewMemory())
		time.Sleep(time.Minute)
		assert.True(t, c.Ready())

		s.set(nil)
		time.Sleep(time.Minute)
		assert.True(t, c.Ready(), "tokens that are valid are still served")

		require.NoError(t, c.Close(t.Context()))
		assert.False(t, c.Ready())
	})
}

func TestReadyWithoutAStoreIsUntilClose(t *testing.T) {
	c := open(t, &fake{ttl: time.Minute}, tokencache.Options{})
	assert.True(t, c.Ready())
	require.NoError(t, c.Close(t.Context()))
	assert.False(t, c.Ready())
}
