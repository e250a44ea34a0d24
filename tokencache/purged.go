package tokencache

import (
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

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
