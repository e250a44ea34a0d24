package redisstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
)

// 64 sign-outs at once, over a real Redis: at the moment that Purge returns nil
// no replica serves the token.
func TestAfterPurgeNoReplicaServesTheToken(t *testing.T) {
	rounds := 3
	if *grants >= 200 {
		rounds = 20
	}
	server := serve(t)
	p := &numbered{mode: providers.Exclusive, life: time.Hour}
	var all []*tokencache.Cache
	for range 2 {
		c, err := tokencache.New(p, tokencache.Options{
			Store: open(t, server.url(), redisstore.Options{}), Namespace: "purge", StoreTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, c.Close(context.Background())) })
		all = append(all, c)
	}
	for round := range rounds {
		who := func(i int) providers.Request { return providers.Request{Subject: fmt.Sprint(round, " ", i)} }
		old := map[int]string{}
		for i := range 200 {
			for _, c := range all {
				tok, err := c.Generate(t.Context(), who(i))
				require.NoError(t, err)
				old[i] = tok.AccessToken
			}
		}
		served, failed := 0, 0
		var mu sync.Mutex
		var wg sync.WaitGroup
		work := make(chan int)
		for range 64 {
			wg.Go(func() {
				for i := range work {
					err := all[i%2].Purge(t.Context(), who(i))
					for _, c := range all {
						tok, generated := c.Generate(t.Context(), who(i))
						mu.Lock()
						if err != nil {
							failed++
						} else if generated == nil && tok.AccessToken == old[i] {
							served++
						}
						mu.Unlock()
					}
				}
			})
		}
		for i := range 200 {
			work <- i
		}
		close(work)
		wg.Wait()
		assert.Zero(t, served, "tokens served after their sign-out, round %d", round)
		assert.Zero(t, failed, "sign-outs that could not be made known, round %d", round)
	}
}
