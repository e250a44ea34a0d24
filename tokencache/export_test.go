package tokencache

import (
	"context"

	"github.com/bearerkit/bearerkit/providers"
)

// Ablate takes a part of the protocol away, to show that it is needed.
func (c *Cache) Ablate(noLease, noIntent bool) {
	c.ablate.noLease, c.ablate.noIntent = noLease, noIntent
}

// Keyed is a way to a token by a key computed before.
type Keyed struct {
	c *Cache
	k id
}

// Keyed computes req's key.
func (c *Cache) Keyed(req providers.Request) (Keyed, error) {
	k, err := c.key(req)
	return Keyed{c, k}, err
}

// Token is a keyed look-up.
func (k *Keyed) Token(ctx context.Context, req providers.Request) (providers.Token, error) {
	return k.c.token(ctx, &k.k, req)
}
