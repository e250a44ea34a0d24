package tokencache

import "github.com/bearerkit/bearerkit/providers"

// Purged reports whether tok, a token of req's grant, is from before a
// [Cache.Purge] that this process knows of. It is for a caller that works with
// tok before it hands it out: the grant may have been signed out meanwhile.
func (c *Cache) Purged(req providers.Request, tok providers.Token) bool {
	k, err := c.key(&req)
	if err != nil {
		return false
	}
	t, ok := c.tombstones.get(&k)
	return ok && tok.Version <= t.version
}
