package tokencache

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// CanRefresh implements [providers.OptionalRefresher]. It reports whether the
// provider is a [providers.Refresher]. A Cache always has the method Refresh.
func (c *Cache) CanRefresh() bool { return c.refresher != nil }

// Refresh spends refreshToken and returns the pair that replaces it. It never
// generates. A refresh token that was replaced within Grace gets its successor
// without an upstream call, so that concurrent and repeated calls agree. A
// refresh token that was replaced earlier, signed out or refused is
// [providers.CodeRefreshRejected], also without an upstream call.
//
// A replaced refresh token is remembered for a day, but at most for the last
// 360 renewals of its grant. For tokens that live a minute, that is six hours.
//
// req need not name a user: the refresh token finds its grant. If req names a
// user, the caller must have verified the user, and the grant must belong to
// that user.
func (c *Cache) Refresh(ctx context.Context, req providers.Request, refreshToken string) (providers.Token, error) {
	if c.refresher == nil {
		return providers.Token{}, fault(providers.CodeInternal, providers.Permanent, "the provider cannot refresh", nil)
	}
	if refreshToken == "" {
		return providers.Token{}, fault(providers.CodeInvalidField, providers.Permanent, "no refresh token", nil)
	}
	w := &want{Want: record.Want{Kind: record.Refresh, RefreshToken: refreshToken, Digest: c.tokenDigest(refreshToken)}, req: &req}
	own := owner{tenant: req.Tenant, claimed: true}
	var err error
	if own.id, err = c.key(&req); err != nil {
		var pe *providers.Error
		if !errors.As(err, &pe) || pe.Code != providers.CodeIdentityRequired {
			return providers.Token{}, err
		}
		own.id, own.anonymous = c.digest("anonymous", refreshToken), true
		own.id[len(own.id)-1] &^= exchangedBit
	}
	if w.owner, err = c.findOwner(ctx, w, own); err != nil {
		return providers.Token{}, err
	}
	if !w.owner.admits(own) {
		return providers.Token{}, errRejected
	}
	if w.owner.claimed && !c.roomToPin() {
		return providers.Token{}, errFull
	}
	return copyOf(c.do(ctx, &w.owner.id, w))
}

var errFull error = &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Op: op, Description: "the cache is full of grants that must stay: raise MaxEntries, or give it a Store"}

// Adopt makes tok, which was obtained elsewhere, the current token of req's
// grant. Call it at a login, or at the start for tokens that the application
// has kept. If tok has expired, or is a refresh token alone, the next call that
// needs a token renews it.
//
// Requests that differ in any field have different grants, unless the provider
// is a [providers.Keyer]. For example, a pair adopted for a Subject is not
// found by a Source whose request also has Scopes.
//
// If the cache already has or had the refresh token of tok, its own pair is
// newer. Adopt then changes nothing. It fails with
// [providers.CodeRefreshRejected] if the grant was signed out or refused. If a
// vendor rotates refresh tokens, the application's own copy is outdated after
// the first renewal: only a [Store] keeps grants over a restart. Without a
// Store, Adopt is [providers.CodeBusy] once adopted grants are three quarters
// of MaxEntries.
func (c *Cache) Adopt(ctx context.Context, req providers.Request, tok providers.Token) error {
	k, err := c.key(&req)
	if err != nil {
		return err
	}
	now := c.wallNow()
	if tok.AccessToken == "" {
		tok.IssuedAt, tok.Expiry = now, now
	}
	refreshable := tok.RefreshToken != "" && c.refresher != nil && (tok.RefreshExpiry.IsZero() || now.Before(tok.RefreshExpiry))
	if !refreshable && (tok.AccessToken == "" || !tok.Expiry.IsZero() && !now.Before(record.ServeUntil(&tok))) {
		return fault(providers.CodeInvalidField, providers.Permanent, "neither a token that has life left nor a refresh token", nil)
	}
	known, err := c.knows(ctx, k, &req, tok.RefreshToken)
	if known || err != nil {
		return err
	}
	if e, ok := c.find(&k); !(ok && broughtBy(e.view.Load()) > 0) && !c.roomToPin() {
		return errFull
	}
	_, err = c.do(ctx, &k, &want{Want: record.Want{Kind: record.Adopt}, req: &req, token: &tok})
	return err
}

// knows reports whether refreshToken came with an earlier pair of k's record.
// If that record has ended, it returns an error.
func (c *Cache) knows(ctx context.Context, k id, req *providers.Request, refreshToken string) (bool, error) {
	if refreshToken == "" {
		return false, nil
	}
	o, err := c.claim(ctx, c.tokenDigest(refreshToken), owner{id: k, tenant: req.Tenant, claimed: true})
	switch {
	case err != nil && c.rules.Mode == providers.Shared:
		return false, nil // continues without the Store
	case err != nil:
		return false, storeError(err)
	case o.dead:
		return false, errRejected
	case o.claimed || o.id != k:
		return false, nil
	}
	if _, err := c.do(ctx, &k, &want{Want: record.Want{Kind: record.Read}, req: req}); err != nil {
		return false, err
	}
	e, err := c.entry(&k)
	if err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch r := e.record(); {
	case r.Token.RefreshToken != "":
		return true, nil
	case r.Version == 0: // forgotten, for example evicted from a full cache
		return false, nil
	}
	return false, errRejected
}

// Purge signs req's grant out. After it has returned nil, no replica hands out
// an earlier token, not even one that is on its way, and the grant's refresh
// tokens are refused. [Cache.Purged] tells whether a token is such an earlier
// one. If the provider is a [providers.Revoker], the current token is revoked.
//
// With a Store, Purge waits until every live replica has read of the sign-out. A
// replica that could not reach the Store for six seconds is not waited for. It
// serves the token until it reaches the Store again or the token ends.
//
// If that takes longer than ctx or a third of FetchTimeout, Purge returns
// [providers.CodeBusy]. The sign-out has then happened in this process and
// continues in the background.
func (c *Cache) Purge(ctx context.Context, req providers.Request) error {
	k, err := c.key(&req)
	if err != nil {
		return err
	}
	if !c.enter() {
		return errClosed
	}
	defer c.leave()
	was, t, err := c.purgeLocal(&k)
	if err != nil {
		return err
	}
	last := was.Token
	if c.shared != nil {
		limited, cancel := context.WithTimeout(ctx, c.callLimit)
		defer cancel()
		defer context.AfterFunc(c.ctx, cancel)() // Close cancels it
		var stored providers.Token
		if stored, err = c.spreadPurge(limited, &k, t); stored.Version > last.Version {
			last = stored
		}
		if err != nil {
			c.unsavedPurges.Store(true)
		}
	}
	return errors.Join(err, c.revoke(ctx, last))
}

// purgeLocal signs k out in this process. It returns the record before and the
// tombstone.
func (c *Cache) purgeLocal(k *id) (record.Record, tombstone, error) {
	for {
		e, err := c.entry(k)
		if err != nil {
			return record.Record{}, tombstone{}, err
		}
		if was, t, ok := c.purgeEntry(k, e); ok {
			return was, t, nil
		}
	}
}

// purgeEntry signs k out in its entry e. It returns false if e was evicted.
func (c *Cache) purgeEntry(k *id, e *entry) (was record.Record, t tombstone, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.evicted.Load() {
		return was, t, false
	}
	was = e.record()
	now := c.nowFor(e.view.Load())
	r := was.Purge(c.tokenDigest(was.Token.RefreshToken), now, c.o.RefreshLifetime)
	if c.shared != nil {
		// The Store may have earlier sign-outs that this process does not know.
		// The clock makes this one the last.
		r.Purges = max(r.Purges, uint64(max(now.UnixMilli(), 1)))
	}
	c.bury(k, &r, c.shared != nil)
	c.install(e, r)
	return was, tombstoneOf(&r, c.shared != nil), true
}

// spreadPurge writes a sign-out to the Store and tells all replicas. It retries
// until ctx ends. It returns the token that the Store had.
func (c *Cache) spreadPurge(ctx context.Context, k *id, t tombstone) (last providers.Token, err error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		var stored record.Record
		if stored, t, err = c.storePurgeRecord(ctx, k, t); stored.Token.Version > last.Version {
			last = stored.Token
		}
		if err == nil {
			err = c.shared.announce(ctx, noticeOf(k, t))
		}
		if err == nil {
			r := t.record()
			c.bury(k, &r, false)
			c.told(k, t.purges)
			return last, nil
		}
		if sleep(ctx, wait) != nil {
			pe := *providers.AsError(storeError(err))
			pe.Code, pe.Description = providers.CodeBusy, "the sign-out could not be made known to all replicas yet; it is carried on"
			if c.isClosed() {
				pe.Description = "the sign-out could not be made known to all replicas before the cache was closed; sign out again elsewhere"
			}
			return last, &pe
		}
	}
}

// storePurgeRecord writes a sign-out into its record in the Store. It returns
// the record before and the new tombstone. If the write gets no reply, it keeps
// a tombstone that says so: a later call then finds out whether the record was
// written, and ends no later sign-in.
func (c *Cache) storePurgeRecord(ctx context.Context, k *id, t tombstone) (record.Record, tombstone, error) {
	h, key := c.shared, c.shared.recordKey(k)
	for range maxRounds {
		stored, rev, err := h.read(ctx, key)
		if err != nil && !errors.Is(err, record.ErrFormat) {
			return stored, t, err
		}
		if stored.Purges == t.purges || t.tried && stored.Purges > t.purges {
			c.purgedAs(k, &stored)
			return record.Record{}, t, nil // written before
		}
		r := stored
		r.Version = max(r.Version, t.version)
		r = r.Purge(c.tokenDigest(r.Token.RefreshToken), c.wallNow(), c.o.RefreshLifetime)
		r.Purges, r.Ended = max(r.Purges, t.purges), record.JoinEnded(r.Ended, t.ended)
		if ends := time.Unix(t.ends, 0); ends.After(r.Ends) {
			r.Ends = ends
		}
		next, err := h.write(ctx, key, rev, &r)
		if err != nil {
			t = tombstoneOf(&r, true)
			t.tried = true
			c.buryTombstone(k, t)
			return stored, t, err
		}
		if next != 0 {
			c.purgedAs(k, &r)
			return stored, tombstoneOf(&r, true), nil
		}
	}
	return record.Record{}, t, fault(providers.CodeInternal, providers.Transient, "the token store refuses every write", nil)
}

// purgedAs applies a sign-out that the Store has to this process.
func (c *Cache) purgedAs(k *id, r *record.Record) {
	e, ok := c.find(k)
	if !ok {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if own := e.record(); !e.evicted.Load() && r.Purges >= own.Purges && own.Token.Version < r.Version {
		c.install(e, *r)
	}
}

// storePurge writes a sign-out that the Store has lost. A record that cannot be
// read is not lost.
func (c *Cache) storePurge(ctx context.Context, k *id, t tombstone) error {
	stored, _, err := c.shared.read(ctx, c.shared.recordKey(k))
	if errors.Is(err, record.ErrFormat) {
		return nil
	}
	if err == nil && stored.Purges < t.purges {
		t.tried = true // the Store had it
		if _, t, err = c.storePurgeRecord(ctx, k, t); err == nil {
			r := t.record()
			c.restoreIndex(ctx, *k, &r)
		}
	}
	return err
}

// retryPurges continues the sign-outs that some replicas do not know yet.
func (c *Cache) retryPurges(ctx context.Context) {
	if !c.unsavedPurges.Swap(false) {
		return
	}
	c.shared.tasks.Go(func() {
		c.tombstones.each(func(k id, t tombstone) {
			if t.unsaved && ctx.Err() == nil {
				limited, cancel := context.WithTimeout(ctx, c.callLimit)
				defer cancel()
				if _, err := c.spreadPurge(limited, &k, t); err != nil {
					c.unsavedPurges.Store(true)
				}
			}
		})
	})
}

func (c *Cache) revoke(ctx context.Context, tok providers.Token) error {
	r, ok := c.p.(providers.Revoker)
	if !ok || tok.AccessToken == "" && tok.RefreshToken == "" {
		return nil
	}
	if err := r.Revoke(ctx, tok); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// cloneRequest copies req deeply, because an attempt reads it after its caller
// has left.
func cloneRequest(req providers.Request) providers.Request {
	req.Scopes = slices.Clone(req.Scopes)
	req.Identifiers = maps.Clone(req.Identifiers)
	if req.Params != nil {
		req.Params = cloneJSON(req.Params).(map[string]any)
	}
	return req
}

func cloneJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := maps.Clone(v)
		for k, e := range m {
			switch e.(type) {
			case map[string]any, []any:
				m[k] = cloneJSON(e)
			}
		}
		return m
	case []any:
		s := slices.Clone(v)
		for i, e := range s {
			s[i] = cloneJSON(e)
		}
		return s
	}
	return v
}
