package tokencache

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// Purge signs req's grant out. After it has returned nil, no replica hands out
// an earlier token, not even one that is on its way, and the grant's refresh
// tokens are refused. [Cache.Purged] tells whether a token is such an earlier
// one. If the provider is a [providers.Revoker], the current token is revoked.
//
// With a Store, Purge waits until every live replica has read of the sign-out. A
// replica that could not reach the Store for six seconds is not waited for. It
// serves the token until it has looked at the Store again, which it does every
// two seconds, or until the token ends.
//
// If that takes longer than ctx or a third of FetchTimeout, Purge returns
// [providers.CodeBusy]. The sign-out has then happened in this process and
// continues in the background until [Cache.Close]. After Close, Purge fails.
func (c *Cache) Purge(ctx context.Context, req providers.Request) error {
	k, err := c.key(&req)
	if err != nil {
		return err
	}
	if !c.enter() {
		return errClosed
	}
	defer c.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)() // Close cancels it
	was, t, err := c.purgeLocal(&k)
	if err != nil {
		return err
	}
	last := was.Token
	if c.replicas != nil {
		limited, end := context.WithTimeout(ctx, c.callLimit)
		defer end()
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

// Purged reports whether tok, a token of req's grant, is from before a
// [Cache.Purge] that this process knows of. Call it after other work with tok
// and before handing tok out: the grant may have been signed out during that
// work.
func (c *Cache) Purged(req providers.Request, tok providers.Token) bool {
	k, err := c.key(&req)
	if err != nil {
		return false
	}
	t, ok := c.tombstones.get(&k)
	return ok && tok.Version <= t.version
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
	if c.replicas != nil {
		// The Store may have earlier sign-outs that this process does not know.
		// The clock makes this one the last.
		r.Purges = max(r.Purges, uint64(max(now.UnixMilli(), 1)))
	}
	c.bury(k, &r, c.replicas != nil)
	c.install(e, r)
	return was, tombstoneOf(&r, c.replicas != nil), true
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
			err = c.replicas.announce(ctx, noticeOf(k, t))
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
// the record before and the new tombstone. It keeps the tombstone, which says
// that the Store may have it: a later call then finds out whether the record was
// written, and ends no later sign-in.
func (c *Cache) storePurgeRecord(ctx context.Context, k *id, t tombstone) (record.Record, tombstone, error) {
	h, key := c.replicas, c.replicas.recordKey(k)
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
		if err == nil && next == 0 {
			continue
		}
		t = tombstoneOf(&r, t.unsaved)
		t.tried = true
		c.buryTombstone(k, t)
		if err == nil {
			c.purgedAs(k, &r)
		}
		return stored, t, err
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
	stored, _, err := c.replicas.read(ctx, c.replicas.recordKey(k))
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
	c.replicas.tasks.Go(func() {
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

// maxNoticeEnded is how many refresh tokens a notice names: those of the last
// two renewals and the current one.
const maxNoticeEnded = 3

// noticeOf tells of the sign-out t of k.
func noticeOf(k *id, t tombstone) notice {
	n := notice{ID: k[:], Version: t.version, Purges: t.purges, Ends: t.ends}
	for _, d := range t.ended[max(0, len(t.ended)-maxNoticeEnded):] {
		n.Ended = append(n.Ended, d[:]...)
	}
	return n
}

// ended are the digests of n.Ended.
func (n *notice) ended() (all []record.Digest) {
	for d := range slices.Chunk(n.Ended, len(record.Digest{})) {
		if len(d) == len(record.Digest{}) {
			all = append(all, record.Digest(d))
		}
	}
	return all
}

// signedOut ends k here, as a notice of another replica says.
func (c *Cache) signedOut(k id, n notice) {
	said := record.Record{Details: record.Details{Version: n.Version, Purges: n.Purges, Ends: time.Unix(n.Ends, 0), Ended: n.ended()}}
	if e, ok := c.find(&k); !ok || !c.endEntry(&k, e, &said) {
		c.bury(&k, &said, false)
	}
}

// endEntry ends k's entry e as said says. It returns false if e was evicted.
func (c *Cache) endEntry(k *id, e *entry, said *record.Record) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	own := e.record()
	switch {
	case e.evicted.Load():
		return false
	case own.Purges >= said.Purges:
		return true
	}
	r := own.Purge(c.tokenDigest(own.Token.RefreshToken), c.wallNow(), c.o.RefreshLifetime)
	r.Version, r.Purges, r.Ended = max(r.Version, said.Version), said.Purges, record.JoinEnded(r.Ended, said.Ended)
	if said.Ends.After(r.Ends) {
		r.Ends = said.Ends
	}
	c.bury(k, &r, false)
	c.install(e, r)
	return true
}

// tombstone is what remains of a record that was signed out. It is small and
// outlives the entry.
type tombstone struct {
	version, purges uint64
	ends            int64 // Unix seconds, see record.Record.Ends
	ended           []record.Digest
	tenant          string
	unsaved         bool // the Store or a replica may not know it yet
	tried           bool // the Store may have it: it was written, or a write got no reply
}

func tombstoneOf(r *record.Record, unsaved bool) tombstone {
	return tombstone{version: r.Version, purges: r.Purges, ends: r.Ends.Unix(), ended: r.Ended, tenant: r.Tenant, unsaved: unsaved}
}

// evictionRank is when t may be forgotten. A sign-out that must still be
// continued is forgotten last.
func (t tombstone) evictionRank() int64 {
	if t.unsaved {
		return math.MaxInt64
	}
	return max(t.ends, 0)
}

func (t tombstone) record() record.Record {
	return record.Record{Details: record.Details{Version: t.version, Purges: t.purges, Ends: time.Unix(t.ends, 0), Ended: t.ended, Tenant: t.tenant}}
}

// told records that every replica has read of sign-out number purges of k.
func (c *Cache) told(k *id, purges uint64) {
	c.tombstones.put(k, func(t tombstone, ok bool) (tombstone, bool) {
		t.unsaved = t.unsaved && t.purges > purges
		return t, ok
	})
}

// bury keeps what r says about a sign-out.
func (c *Cache) bury(k *id, r *record.Record, unsaved bool) {
	if r.Purges > 0 {
		c.buryTombstone(k, tombstoneOf(r, unsaved))
	}
}

func (c *Cache) buryTombstone(k *id, t tombstone) {
	c.tombstones.put(k, func(old tombstone, ok bool) (tombstone, bool) {
		if ok && old.purges > t.purges {
			return old, false
		}
		t := t // next may be called again
		t.ended = record.JoinEnded(old.ended, t.ended)
		if old.purges == t.purges {
			t.unsaved = t.unsaved || old.unsaved // see told
			t.tried = t.tried || old.tried
		}
		return t, true
	})
}
