package tokencache

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// The index finds the record of a refresh token, because a caller may present a
// refresh token without a user. Its entries are keyed by the token's digest.

// owner says which record a refresh token belongs to.
type owner struct {
	id        id
	tenant    string
	anonymous bool  // the record is named by a refresh token, not by a user
	claimed   bool  // issued elsewhere, and not yet redeemed through the cache
	dead      bool  // refused by the upstream
	until     int64 // Unix seconds; in a cache without a Store
}

func (o owner) evictionRank() int64 { return o.until }

// admits reports whether a caller known as own may use o's token. Tenants are
// compared only if both are named. A provider with one tenant accepts an empty
// tenant. A provider with several has refused it in Cache.key.
func (o owner) admits(own owner) bool {
	if o.dead || o.tenant != own.tenant && o.tenant != "" && own.tenant != "" {
		return false
	}
	return o.id == own.id || o.anonymous || own.anonymous
}

// keepUnknown is how long a refresh token is remembered that may not be good:
// one that is being redeemed, and one that was refused at once.
const keepUnknown = time.Hour

// tokenDigest names a refresh token.
func (c *Cache) tokenDigest(token string) record.Digest {
	d := c.digest("rt", token)
	return record.Digest(d[:len(record.Digest{})])
}

// indexID returns d as a key of the index.
func indexID(d record.Digest) (k id) {
	copy(k[:], d[:])
	return k
}

// findOwner finds the record of w's refresh token. An unknown token is claimed
// for own, so that no two callers present it.
func (c *Cache) findOwner(ctx context.Context, w *want, own owner) (owner, error) {
	if e, ok := c.find(&own.id); ok {
		e.mu.Lock()
		r, now := e.record(), c.nowFor(e.view.Load())
		e.mu.Unlock()
		if w.RefreshToken == r.Token.RefreshToken || r.SpentWithin(w.Digest, c.o.Grace, now) {
			own.claimed = false
			return own, nil
		}
	}
	o, err := c.claim(ctx, w.Digest, own)
	switch {
	case err == nil:
		return o, nil
	case c.rules.Mode == providers.Shared:
		return own, nil
	}
	return owner{}, storeError(err)
}

// claim returns the owner of the refresh token d. If it has none, own becomes
// the owner.
func (c *Cache) claim(ctx context.Context, d record.Digest, own owner) (owner, error) {
	return c.point(ctx, d, own, keepUnknown, true)
}

// indexToken makes o the owner of the refresh token that is about to become the
// current one.
func (c *Cache) indexToken(ctx context.Context, token providers.Token, o owner) error {
	if token.RefreshToken == "" {
		return nil
	}
	ttl := c.o.RefreshLifetime
	if !token.RefreshExpiry.IsZero() {
		ttl = max(token.RefreshExpiry.Sub(c.wallNow()), 0) + record.KeepSpent
	}
	_, err := c.point(ctx, c.tokenDigest(token.RefreshToken), o, ttl, false)
	return err
}

// owns returns a's record as an owner.
func (a *attempt) owns() owner {
	o := a.want.owner
	o.id, o.claimed, o.dead = a.id, false, false
	return o
}

func (a *attempt) point(ctx context.Context, d record.Digest, dead bool, ttl time.Duration) error {
	o := a.owns()
	o.dead = dead
	_, err := a.c.point(ctx, d, o, ttl, false)
	return err
}

// indexSpent shortens the life of the index entries of refresh tokens that were
// spent since before. It drops those that the record no longer remembers. A
// failure costs only space.
func (a *attempt) indexSpent(ctx context.Context, before []record.Spent) {
	known := map[record.Digest]bool{}
	for _, s := range before {
		known[s.Token] = true
	}
	now := a.c.wallNow()
	for _, s := range a.record.Spent {
		if !known[s.Token] {
			_ = a.point(ctx, s.Token, false, record.KeepSpent)
		}
		delete(known, s.Token)
	}
	for _, s := range before {
		if known[s.Token] && now.Sub(s.At).Abs() < record.KeepSpent {
			_ = a.point(ctx, s.Token, false, time.Second)
		}
	}
}

// restoreIndex writes the index entries of k's record r again, because the
// Store has lost them.
func (c *Cache) restoreIndex(ctx context.Context, k id, r *record.Record) {
	o := owner{id: k, tenant: r.Tenant, anonymous: r.Anonymous}
	err := c.indexToken(ctx, r.Token, o)
	dead := o
	dead.dead = true
	for _, d := range r.Ended {
		if left := r.Ends.Sub(c.wallNow()); left > 0 && err == nil {
			_, err = c.point(ctx, d, dead, left, false)
		}
	}
	for _, s := range r.Spent {
		if left := record.KeepSpent - c.wallNow().Sub(s.At).Abs(); left > 0 && err == nil {
			_, err = c.point(ctx, s.Token, o, left, false)
		}
	}
	if err != nil {
		c.warn("tokencache: the store lost refresh tokens that could not be written again; one that is presented without its user may be taken for unknown", "look at the store", "error", err)
	}
}

// markDead records that the upstream refused a refresh token finally.
func (a *attempt) markDead(ctx context.Context, token string) {
	ttl := record.KeepSpent
	if a.record.Version == 0 {
		ttl = keepUnknown
	}
	if err := a.point(ctx, a.c.tokenDigest(token), true, ttl); err != nil {
		a.c.warn("tokencache: a refused refresh token could not be marked; if a caller presents it again, it is sent upstream again", "look at the store", "error", err)
	}
}

// point sets d's owner for ttl. With fresh it does so only if d has none. It
// returns the owner that d has then.
func (c *Cache) point(ctx context.Context, d record.Digest, o owner, ttl time.Duration, fresh bool) (owner, error) {
	k := indexID(d)
	if c.replicas != nil {
		return c.replicas.point(ctx, &k, o, ttl, fresh)
	}
	now := c.wallNow()
	o.until = now.Add(ttl).Unix()
	o, _ = c.index.put(&k, func(old owner, ok bool) (owner, bool) {
		return o, !fresh || !ok || old.until <= now.Unix()
	})
	return o, nil
}

func (h *replicas) point(ctx context.Context, k *id, o owner, ttl time.Duration, fresh bool) (owner, error) {
	key := h.sealer.name("rt", *k)
	for range maxRounds {
		v, err := h.fetch(ctx, key)
		if err != nil {
			return owner{}, err
		}
		if v.rev != 0 && fresh {
			return decodeOwner(v.bytes)
		}
		val := o.encode()
		next, err := h.swap(ctx, key, v.rev, 0, val, ttl, func(v value) bool {
			cur, err := decodeOwner(v.bytes)
			return err == nil && cur == o
		})
		if err != nil {
			return owner{}, err
		}
		if next != 0 {
			return o, nil
		}
	}
	return owner{}, fault(providers.CodeInternal, providers.Transient, "the token store refuses every write", nil)
}

// The stored form of an owner is a byte of flags, the record's id and the
// tenant.
const (
	flagAnonymous = 1 << iota
	flagClaimed
	flagDead
)

func (o owner) encode() []byte {
	var flags byte
	if o.anonymous {
		flags |= flagAnonymous
	}
	if o.claimed {
		flags |= flagClaimed
	}
	if o.dead {
		flags |= flagDead
	}
	return append(append([]byte{flags}, o.id[:]...), o.tenant...)
}

func decodeOwner(b []byte) (owner, error) {
	if len(b) < 1+len(id{}) {
		return owner{}, record.ErrFormat
	}
	return owner{
		id: id(b[1 : 1+len(id{})]), tenant: string(b[1+len(id{}):]),
		anonymous: b[0]&flagAnonymous != 0, claimed: b[0]&flagClaimed != 0, dead: b[0]&flagDead != 0,
	}, nil
}
