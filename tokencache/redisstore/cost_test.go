package redisstore_test

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
)

// counting counts the calls of a Store, and apart from them those that confirm
// that the Store has lost nothing.
type counting struct {
	*redisstore.Store
	calls, epochs, bulletins atomic.Int64
	bulletin                 atomic.Value // its key
}

func (c *counting) Epoch(ctx context.Context, key string) (string, error) {
	if !strings.HasPrefix(key, "n2/") { // that one is of no renewal: it is read once a second
		c.epochs.Add(1)
	}
	c.calls.Add(1)
	return c.Store.Epoch(ctx, key)
}

func (c *counting) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	if strings.HasPrefix(key, "n2/") {
		c.bulletin.Store(key)
		c.bulletins.Add(1)
	}
	c.calls.Add(1)
	return c.Store.Load(ctx, key)
}

func (c *counting) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	c.calls.Add(1)
	return c.Store.CAS(ctx, key, rev, val, ttl)
}

func (c *counting) Lock(ctx context.Context, key, owner string, ttl time.Duration) (uint64, error) {
	c.calls.Add(1)
	return c.Store.Lock(ctx, key, owner, ttl)
}

func (c *counting) Unlock(ctx context.Context, key, owner string) (bool, error) {
	c.calls.Add(1)
	return c.Store.Unlock(ctx, key, owner)
}

// Before a refresh token is spent, the cache makes sure that the Store has lost
// nothing. That is two reads, and it is logged what they cost both sides.
func TestARenewalConfirmsTheStoreInTwoReads(t *testing.T) {
	t.Parallel()
	server := serve(t)
	store := &counting{Store: open(t, server.url(), redisstore.Options{})}
	vendor := &growing{life: 5 * time.Minute}
	c, err := tokencache.New(vendor, tokencache.Options{Store: store, Namespace: "cost", ForcedFloor: 1, StoreTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	req := providers.Request{Subject: "ada"}
	require.NoError(t, c.Adopt(t.Context(), req, vendor.pair()))
	tok, err := c.Generate(t.Context(), req)
	require.NoError(t, err)
	tok, err = c.Renew(t.Context(), req, tok)
	require.NoError(t, err)

	const renewals = 100
	calls, epochs, bulletins := store.calls.Load(), store.epochs.Load(), store.bulletins.Load()
	began := time.Now()
	for range renewals {
		tok, err = c.Renew(t.Context(), req, tok)
		require.NoError(t, err)
	}
	assert.EqualValues(t, renewals, store.epochs.Load()-epochs)
	polls := int64(time.Since(began)/time.Second) + 2 // the cache reads its notices once a second too
	assert.InDelta(t, renewals, store.bulletins.Load()-bulletins, float64(polls))
	t.Logf("calls of the Store for each renewal: %.1f", float64(store.calls.Load()-calls)/renewals)

	const pairs = 2000
	key := store.bulletin.Load().(string)
	client, redis := cpu(t, server)
	for range pairs {
		_, err := store.Store.Epoch(t.Context(), key)
		require.NoError(t, err)
		_, _, err = store.Store.Load(t.Context(), key)
		require.NoError(t, err)
	}
	client2, redis2 := cpu(t, server)
	t.Logf("the two reads: %v of a core here, %v at the server", (client2-client)/pairs, (redis2-redis)/pairs)
}

// cpu is the time of a core that this process and the server have used.
func cpu(t *testing.T, s *server) (client, redis time.Duration) {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	admin := s.admin()
	info := admin.Info(t.Context(), "cpu").Val()
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, err := strconv.ParseFloat(field(info, name), 64)
		require.NoError(t, err)
		redis += time.Duration(seconds * float64(time.Second))
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), redis
}
