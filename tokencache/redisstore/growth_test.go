package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// growing rotates at once, and refuses what it did not issue.
type growing struct {
	n    atomic.Int64
	life time.Duration
}

func (g *growing) Mode() providers.Mode { return providers.Rotating }

func (g *growing) Generate(context.Context, providers.Request) (providers.Token, error) {
	return providers.Token{}, &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent}
}

func (g *growing) Refresh(_ context.Context, _ providers.Request, rt string) (providers.Token, error) {
	if rt != fmt.Sprintf("refresh-%0100d", g.n.Load()) {
		return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}
	}
	return g.pair(), nil
}

func (g *growing) pair() providers.Token {
	n := g.n.Add(1)
	return providers.Token{
		AccessToken: fmt.Sprintf("%0800d", n), RefreshToken: fmt.Sprintf("refresh-%0100d", n),
		IssuedAt: time.Now(), Expiry: time.Now().Add(g.life), RefreshExpiry: time.Now().Add(30 * 24 * time.Hour),
	}
}

// stored is how many keys there are and their bytes. The keys that are not in
// known get a time to live of an hour at most, or fail the test.
func stored(t *testing.T, admin *redis.Client, known map[string]bool) (keys, bytes int) {
	t.Helper()
	names, err := admin.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	for _, name := range names {
		n, err := admin.MemoryUsage(t.Context(), name).Result()
		if errors.Is(err, redis.Nil) { // it has expired meanwhile
			continue
		}
		require.NoError(t, err)
		keys, bytes = keys+1, bytes+int(n)
		if known != nil && !known[name] {
			left, err := admin.PTTL(t.Context(), name).Result()
			require.NoError(t, err)
			require.LessOrEqual(t, left, time.Hour+time.Minute, name)
		}
	}
	return keys, bytes
}

// What is stored of a grant stays bounded however often it is renewed, and
// what a stranger's refresh tokens leave is small and short.
func TestGrowth(t *testing.T) {
	t.Parallel()
	server := serve(t)
	admin := server.admin()
	vendor := &growing{life: 5 * time.Minute}
	c, err := tokencache.New(vendor, tokencache.Options{Store: open(t, server.url(), redisstore.Options{}), Namespace: "growth", ForcedFloor: 1, StoreTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	req := providers.Request{Subject: "ada"}
	require.NoError(t, c.Adopt(t.Context(), req, vendor.pair()))
	keys, bytes := stored(t, admin, nil)
	t.Logf("adopted: %d keys, %d bytes", keys, bytes)
	for n := 1; n <= 1000; n++ {
		tok, err := c.Generate(t.Context(), req)
		require.NoError(t, err)
		_, err = c.Renew(t.Context(), req, tok)
		require.NoError(t, err)
		if n == 1 || n == 288 || n == 1000 {
			keys, bytes = stored(t, admin, nil)
			t.Logf("renewed %d times: %d keys, %d bytes", n, keys, bytes)
		}
	}
	soaktest.Eventually(t, "one grant to have 64 KiB at most", func() bool { // the oldest spent tokens go in a moment
		keys, bytes = stored(t, admin, nil)
		return bytes <= 64<<10
	})
	t.Logf("a moment later: %d keys, %d bytes", keys, bytes)
	keysBefore, bytesBefore := stored(t, admin, nil)
	known := map[string]bool{}
	for _, name := range admin.Keys(t.Context(), "*").Val() {
		known[name] = true
	}
	const junk = 100
	for i := range junk {
		_, err := c.Refresh(t.Context(), providers.Request{}, fmt.Sprint("junk-", i))
		require.Error(t, err)
	}
	keys, bytes = stored(t, admin, known)
	t.Logf("a junk refresh token: %.2f keys, %d bytes", float64(keys-keysBefore)/junk, (bytes-bytesBefore)/junk)
	if keys-keysBefore > junk+2 || (bytes-bytesBefore)/junk > 300 {
		t.Error("want one small key at most")
	}
}
