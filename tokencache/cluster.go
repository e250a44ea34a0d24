package tokencache

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// budget makes one call of the Store.
func (c *Cache) budget(ctx context.Context, call func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, c.o.StoreTimeout)
	defer cancel()
	err := call(bounded)
	if err != nil && ctx.Err() == nil {
		c.storeFailed.Store(int64(time.Since(c.base)))
		c.stats.storeErrors.Add(1)
		c.event(Event{Kind: "store_error"})
	}
	return err
}

// fetch reads and opens a value. rev is right also with errFormat.
func (c *Cache) fetch(ctx context.Context, key string) (val []byte, rev uint64, err error) {
	for range 2 {
		err = c.budget(ctx, func(ctx context.Context) (err error) {
			val, rev, err = c.o.Store.Load(ctx, key)
			return err
		})
		if err == nil {
			break
		}
	}
	if err != nil || rev == 0 {
		return nil, 0, err
	}
	if val, err = c.sealer.open(key, val); err != nil {
		c.o.Logger.Error("tokencache: unreadable value in the store", "error", err)
		return nil, rev, errors.Join(errFormat, err)
	}
	return val, rev, nil
}

func (c *Cache) read(ctx context.Context, key string) (r record, nonce string, err error) {
	val, rev, err := c.fetch(ctx, key)
	if err == nil && rev != 0 {
		r, nonce, err = decode(val)
	}
	r.rev = rev
	return r, nonce, err
}

// write saves r over the revision it has, and gives it the new one; false if
// the record has changed. An error means that it is not known.
func (c *Cache) write(ctx context.Context, key string, r *record) (bool, error) {
	nonce := rand.Text()
	val, err := encode(r, nonce)
	if err != nil {
		return false, err
	}
	if val, err = c.sealer.seal(key, r.version, val); err != nil {
		return false, err
	}
	return c.swap(ctx, key, &r.rev, val, r.ttl(c.wallNow()), func(ctx context.Context) (bool, uint64, error) {
		cur, n, err := c.read(ctx, key)
		return n == nonce, cur.rev, err
	})
}

// swap is a CAS that finds out by looking whether one without an answer has
// happened.
func (c *Cache) swap(ctx context.Context, key string, rev *uint64, val []byte, ttl time.Duration, look func(context.Context) (ours bool, rev uint64, err error)) (ok bool, err error) {
	const tries = 3
	doubt := false
	for range tries {
		var next uint64
		err = c.budget(ctx, func(ctx context.Context) (err error) {
			next, err = c.o.Store.CAS(ctx, key, *rev, val, ttl)
			return err
		})
		if err == nil && next != 0 {
			*rev = next
			return true, nil
		}
		if err == nil && !doubt {
			return false, nil
		}
		doubt = true
		ours, cur, lookErr := look(ctx)
		switch {
		case lookErr != nil:
			err = lookErr
		case ours:
			*rev = cur
			return true, nil
		case cur != *rev:
			return false, nil
		}
	}
	return false, err
}

// ttl is how long r is kept: as long as its tokens, and what tells of a
// sign-out as long as one of them may be presented.
func (r *record) ttl(now time.Time) time.Duration {
	t := &r.token
	switch {
	case t.RefreshToken != "" && !t.RefreshExpiry.IsZero():
		return max(t.RefreshExpiry.Sub(now), t.Expiry.Sub(now), 0) + time.Hour
	case t.RefreshToken == "" && t.AccessToken != "" && r.gen == 0:
		return max(t.Expiry.Sub(now), 0) + time.Hour
	}
	return keepRefresh
}

// keepRefresh is for how long a refresh token without an expiry is remembered.
const keepRefresh = 30 * 24 * time.Hour

// load reads the record. With begin, what the flight does counts as begun now.
func (t *turn) load(ctx context.Context, begin bool) error {
	c := t.c
	if c.o.Store != nil && !t.alone {
		r, _, err := c.read(ctx, t.key)
		if err == nil {
			return t.learn(ctx, r, begin)
		}
		if !t.goAlone() {
			return c.down(err)
		}
	}
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	t.rec = t.e.snapshot()
	if begin {
		t.f.gen = t.rec.gen
	}
	return nil
}

// learn reconciles r, as read, with what the process knows.
func (t *turn) learn(ctx context.Context, r record, begin bool) error {
	c, now := t.c, t.c.wallNow()
	t.e.mu.Lock()
	own := t.e.snapshot()
	// The Store was emptied, or has forgotten its latest write.
	lost := c.mode != providers.Shared && !t.f.saving && r.gen <= own.gen && r.version < own.version &&
		(own.token.AccessToken != "" || own.token.RefreshToken != "")
	switch {
	case lost:
		// A call may be under way that nobody can see any more.
		own.rev, own.intent = r.rev, &intent{owner: "lost", at: now}
		if own.fail != nil && own.fail.err.Op == "tokencache" {
			own.fail = nil // that the Store was away is not for it to remember
		}
		r = own
	case r.gen < own.gen: // purged here while the Store was down
		r.purge(now)
		r.gen = own.gen
	}
	r.version = max(r.version, own.version)
	if begin {
		t.f.gen = r.gen
	}
	adopted := !t.f.saving && r.token.Version > own.token.Version
	if !t.f.saving {
		c.install(t.e, r)
	}
	t.e.mu.Unlock()
	t.rec = r
	if adopted {
		c.stats.adopted.Add(1)
		c.event(Event{Kind: "adopted"})
	}
	if !lost {
		return nil
	}
	c.o.Logger.Warn("tokencache: the store lost a record; written again")
	c.event(Event{Kind: "store_lost"})
	ok, err := c.write(ctx, t.key, &t.rec)
	if err != nil {
		return c.down(err)
	}
	if !ok {
		return t.load(ctx, begin)
	}
	return nil
}
