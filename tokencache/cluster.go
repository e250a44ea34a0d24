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
	if val, err = c.sealer.open(key, rev, val); err != nil {
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
	val = c.sealer.seal(key, r.rev+1, val)
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
		err = c.budget(ctx, func(ctx context.Context) (err error) {
			ok, err = c.o.Store.CAS(ctx, key, *rev, val, ttl)
			return err
		})
		if err == nil && (ok || !doubt) {
			if ok {
				*rev++
			}
			return ok, nil
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

// outcome of a save.
type outcome int

const (
	kept      outcome = iota
	overtaken         // another flight has stored a newer token
	purged            // the record was signed out meanwhile
)

// save applies a change to the record and stores it, as long as nobody else
// has moved it on since it was claimed.
func (t *turn) save(ctx context.Context, apply func(*record)) (outcome, error) {
	base := t.rec
	for range maxTurns {
		r := t.rec
		apply(&r)
		ok := true
		if t.c.o.Store != nil && !t.alone {
			var err error
			if ok, err = t.c.write(ctx, t.key, &r); err != nil && !t.goAlone() {
				return kept, err
			}
		}
		if ok || t.alone {
			return t.commit(r), nil
		}
		if err := t.load(ctx, false); err != nil {
			return kept, err
		}
		if t.rec.gen != base.gen {
			return purged, nil
		}
		if t.rec.token.Version > base.token.Version {
			return overtaken, nil
		}
	}
	return kept, fault(providers.CodeInternal, providers.Transient, "the token store refuses every write", nil)
}

// commit makes a stored record the process's own.
func (t *turn) commit(r record) outcome {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	if t.e.snapshot().gen != t.f.gen {
		return purged
	}
	t.rec = r
	t.c.install(t.e, r)
	return kept
}

// keep stores a new token and the ways to it, however long that takes: until
// then the access token is served, and its refresh token not presented.
func (t *turn) keep(ctx context.Context, a action, next string, apply func(*record)) (outcome, error) {
	try := func(ctx context.Context) (outcome, error) {
		if err := t.index(ctx, false, a.rt, next); err != nil && !t.goAlone() {
			return kept, err
		}
		return t.save(ctx, apply)
	}
	how, err := try(ctx)
	if err == nil {
		return how, nil
	}
	t.unsaved(apply)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		select {
		case <-t.c.ctx.Done():
			t.c.o.Logger.Error("tokencache: closed with an unsaved token; its grant may be lost")
			return kept, t.c.down(err)
		case <-time.After(wait):
		}
		if how, err = try(t.c.ctx); err == nil {
			return how, nil
		}
	}
}

// unsaved serves what apply makes, but for its refresh token, before it is
// stored.
func (t *turn) unsaved(apply func(*record)) {
	r := t.rec
	apply(&r)
	r.token.RefreshToken = ""
	t.c.event(Event{Kind: "unsaved"})
	t.c.o.Logger.Warn("tokencache: a token could not be stored yet")
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	t.f.saving = true
	if t.e.snapshot().gen == t.f.gen {
		t.c.install(t.e, r)
	}
	if t.f.job.kind == auto && r.usable(t.c.wallNow()) {
		t.c.publishLocked(t.e, t.f, r.token, nil)
	} else {
		t.c.publishLocked(t.e, t.f, providers.Token{}, errUnsaved)
	}
}
