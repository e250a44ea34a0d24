package redisstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
)

// signing is a Store that notes how long its replica was without a receipt at
// most. After 6 s a replica counts as dead, and no sign-out waits for it.
type signing struct {
	*redisstore.Store
	mu     sync.Mutex
	signed time.Time // when the last receipt was begun
	gap    time.Duration
}

func (s *signing) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	begun := time.Now()
	next, err := s.Store.CAS(ctx, key, rev, val, ttl)
	if strings.HasPrefix(key, "m2/") && err == nil && next != 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.signed.IsZero() {
			s.gap = max(s.gap, time.Since(s.signed))
		}
		s.signed = begun
	}
	return next, err
}

// alive reports whether the replica had a receipt all the time, and starts again.
func (s *signing) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	gap := max(s.gap, time.Since(s.signed))
	s.gap = 0
	return gap < 6*time.Second
}

// 64 sign-outs at once, over a real Redis: at the moment that Purge returns nil
// no live replica serves the token. A round in which the machine stood still,
// so that a replica counted as dead, shows nothing and is not judged.
func TestAfterPurgeNoReplicaServesTheToken(t *testing.T) {
	rounds := 3
	if *grants >= 200 {
		rounds = 20
	}
	server := serve(t)
	p := &numbered{mode: providers.Exclusive, life: time.Hour}
	var all []*tokencache.Cache
	var stores []*signing
	for range 2 {
		s := &signing{Store: open(t, server.url(), redisstore.Options{})}
		stores = append(stores, s)
		c, err := tokencache.New(p, tokencache.Options{
			Store: s, Namespace: "purge", FetchTimeout: 3 * time.Minute, StoreTimeout: 20 * time.Second, Logger: slog.New(slog.DiscardHandler),
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
		if first, second := stores[0].alive(), stores[1].alive(); !first || !second {
			t.Logf("round %d: the machine stood still; %d tokens served, %d sign-outs failed", round, served, failed)
			continue
		}
		assert.Zero(t, served, "tokens served after their sign-out, round %d", round)
		assert.Zero(t, failed, "sign-outs that could not be made known, round %d", round)
	}
}
