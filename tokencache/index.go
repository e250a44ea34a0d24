package tokencache

import (
	"context"
	"sync"

	"github.com/bearerkit/bearerkit/providers"
)

// ref says which record a refresh token belongs to.
type ref struct {
	id      id
	tenant  string
	anon    bool // the record is named by a refresh token, not by a user
	claimed bool // not issued through the cache, and not yet redeemed by it
	dead    bool // refused by the upstream
}

// admits reports whether a caller known as own may use r's token. Tenants
// are compared only if both are named: a provider with one accepts "" for it,
// and one with several refuses "" before it comes to this.
func (r ref) admits(own ref) bool {
	if r.dead || r.tenant != own.tenant && r.tenant != "" && own.tenant != "" {
		return false
	}
	return r.id == own.id || r.anon || own.anon
}

// localIndex is the index of refresh tokens of a cache without a Store.
type localIndex struct {
	mu  sync.Mutex
	max int
	m   map[id]ref
}

// put sets rt's ref; with fresh only if it has none. It returns the ref it has.
func (x *localIndex) put(rt id, r ref, fresh bool) ref {
	x.mu.Lock()
	defer x.mu.Unlock()
	old, ok := x.m[rt]
	if ok && fresh {
		return old
	}
	if !ok && len(x.m) >= x.max {
		for k := range x.m { // map order: any will do
			delete(x.m, k)
			break
		}
	}
	x.m[rt] = r
	return r
}

// index points refresh tokens at t's record.
func (t *turn) index(ctx context.Context, dead bool, tokens ...string) error {
	for _, rt := range tokens {
		if rt == "" {
			continue
		}
		r := t.f.job.ref
		r.id, r.claimed, r.dead = t.e.id, false, dead
		if _, err := t.c.point(ctx, t.c.digest("rt", rt), r, false); err != nil {
			return err
		}
	}
	return nil
}

// point sets rt's ref; with fresh only if it has none. It returns the ref it
// has then.
func (c *Cache) point(ctx context.Context, rt id, r ref, fresh bool) (ref, error) {
	if c.o.Store == nil {
		return c.index.put(rt, r, fresh), nil
	}
	key := c.sealer.name("rt", rt)
	read := func(ctx context.Context) (cur ref, rev uint64, err error) {
		val, rev, err := c.fetch(ctx, key)
		if err == nil && rev != 0 {
			cur, err = decodeRef(val)
		}
		return cur, rev, err
	}
	for range maxTurns {
		cur, rev, err := read(ctx)
		if err != nil {
			return ref{}, err
		}
		if rev != 0 && (fresh || cur == r) {
			return cur, nil
		}
		val, err := c.sealer.seal(key, 0, r.encode())
		if err != nil {
			return ref{}, err
		}
		ok, err := c.swap(ctx, key, &rev, val, keepRefresh, func(ctx context.Context) (bool, uint64, error) {
			cur, rev, err := read(ctx)
			return rev != 0 && cur == r, rev, err
		})
		if err != nil {
			return ref{}, err
		}
		if ok {
			return r, nil
		}
	}
	return ref{}, fault(providers.CodeInternal, providers.Transient, "the token store refuses every write", nil)
}
