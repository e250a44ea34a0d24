package tokencache

import (
	"context"

	"github.com/bearerkit/bearerkit/providers"
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
