package tokencache

import (
	"context"
	"errors"

	"github.com/bearerkit/bearerkit/providers"
)

// purge signs k out, here at once and then in the Store. It returns the token
// that was current.
func (c *Cache) purge(ctx context.Context, k *id) (last providers.Token, err error) {
	e, err := c.entry(k)
	if err != nil {
		return last, err
	}
	r := c.purgeLocal(e)
	last = r.token
	if c.o.Store == nil {
		return last, nil
	}
	key := c.sealer.name("t", *k)
	for range maxTurns {
		cur, _, err := c.read(ctx, key)
		if err != nil && !errors.Is(err, errFormat) {
			return last, c.down(err)
		}
		if cur.token.Version > last.Version {
			last = cur.token
		}
		cur.version = max(cur.version, r.version)
		cur.purge(c.wallNow())
		cur.gen = max(cur.gen, r.gen+1)
		ok, err := c.write(ctx, key, &cur)
		if err != nil {
			return last, c.down(err)
		}
		if ok {
			e.mu.Lock()
			if e.fl != evicted && cur.gen >= e.snapshot().gen {
				c.install(e, cur)
			}
			e.mu.Unlock()
			c.announce(ctx, *k, cur.version)
			return last, nil
		}
	}
	return last, fault(providers.CodeInternal, providers.Transient, "the token store refuses every write", nil)
}

// purgeLocal signs e out in this process and returns what it was.
func (c *Cache) purgeLocal(e *entry) record {
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.snapshot()
	if e.fl == evicted {
		return was
	}
	r := was
	r.purge(c.wallNow())
	c.install(e, r)
	return was
}
