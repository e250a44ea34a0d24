package tokencache

import (
	"context"
	"errors"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// Ablate takes a part of the protocol away, to show that it is needed.
func (c *Cache) Ablate(noLease, noIntent bool) {
	c.replicas.ablate.noLease, c.replicas.ablate.noIntent = noLease, noIntent
}

// Keyed is a way to a token by a key computed before.
type Keyed struct {
	c *Cache
	k id
}

// Keyed computes req's key.
func (c *Cache) Keyed(req providers.Request) (Keyed, error) {
	k, err := c.key(&req)
	return Keyed{c, k}, err
}

// Token is Generate once the key is known.
func (k *Keyed) Token(ctx context.Context, req providers.Request) (providers.Token, error) {
	if tok := k.c.fresh(&k.k); tok != nil {
		return *tok, nil
	}
	return k.c.generate(ctx, k.k, req)
}

// NewJittered is New with the draws of jitter, in [0, 1), instead of random ones.
func NewJittered(p providers.Provider, o Options, jitter func() float64) (*Cache, error) {
	c, err := prepare(p, o)
	if err == nil {
		c.jitter = jitter
		go c.replicas.listen()
	}
	return c, err
}

// IndexLen is the number of refresh tokens that the cache knows without a
// Store.
func (c *Cache) IndexLen() int { return c.index.len() }

// Remembered is how many tokens and grants h has in memory.
func (h *HandedOut) Remembered() (tokens, grants int) { return h.tokens.len(), h.grants.len() }

// Held is how many values, leases and watches a [NewMemory] holds.
func Held(s Store) (values, leases, watches int) {
	m := s.(*memory)
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.values), len(m.leases), len(m.watches)
}

// Tombstones is how many sign-outs the cache remembers.
func (c *Cache) Tombstones() int { return c.tombstones.len() }

// Latecomers evicts req's entry while three calls have found it and not yet
// locked it: one that wants a token, a sign-out, and a notice of a sign-out. It
// reports whether each of them sees that the entry has ended.
func (c *Cache) Latecomers(ctx context.Context, req providers.Request) (caller, signOut, notice bool, err error) {
	k, err := c.key(&req)
	if err != nil {
		return false, false, false, err
	}
	e, err := c.entry(&k)
	if err != nil {
		return false, false, false, err
	}
	c.table(&k).remove(&k)
	if _, ok := c.find(&k); ok {
		return false, false, false, errors.New("the entry is busy")
	}
	caller = c.join(ctx, &k, e, &want{Want: record.Want{Kind: record.Current}, req: &req}).again
	_, _, purged := c.purgeEntry(&k, e)
	ended := c.endEntry(&k, e, &record.Record{Details: record.Details{Purges: 1}})
	return caller, !purged, !ended, nil
}
