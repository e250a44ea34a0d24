package middleware

import "sync"

const (
	cacheShards = 16
	entryBytes  = 2 << 10 // the size of an entry on average, at most
	entryBase   = 512     // the size of an entry without its token and claims
)

// cache remembers verified tokens. The key is the token itself: a SHA-256 of it
// would take three times as long as the lookup. A token is added only after its
// signature check, so that garbage cannot fill the cache. A cache with limit 0
// remembers nothing.
type cache struct {
	limit  int // entries of a generation of a shard
	shards [cacheShards]shard
}

// shard bounds its size without work per hit: when the young generation is
// full, it becomes the old one, and the old one is dropped.
type shard struct {
	mu         sync.RWMutex
	young, old map[string]*Verified
	bytes      int // of young
}

func newCache(size int) *cache {
	c := &cache{}
	if size > 0 {
		c.limit = max(size/cacheShards/2, 1)
	}
	return c
}

// shardOf chooses the shard by the end of the token, which is random: it is
// part of the signature.
func (c *cache) shardOf(token string) *shard {
	var h byte
	if n := len(token); n >= 4 {
		h = token[n-2] ^ token[n-3]<<2 ^ token[n-4]
	}
	return &c.shards[h%cacheShards]
}

func (c *cache) get(token string) *Verified {
	if c.limit == 0 {
		return nil
	}
	s := c.shardOf(token)
	s.mu.RLock()
	v := s.young[token]
	old := false
	if v == nil {
		v = s.old[token]
		old = v != nil
	}
	s.mu.RUnlock()
	if old {
		c.put(token, v)
	}
	return v
}

func (c *cache) put(token string, v *Verified) {
	if c.limit == 0 {
		return
	}
	s := c.shardOf(token)
	size := len(token) + len(v.Claims)*2 + entryBase
	if size > c.limit*entryBytes {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.young[token]; !ok {
		if s.young == nil || len(s.young) >= c.limit || s.bytes+size > c.limit*entryBytes {
			s.old, s.young, s.bytes = s.young, make(map[string]*Verified), 0
		}
		s.bytes += size
	}
	s.young[token] = v
}

func (c *cache) drop(token string, v *Verified) {
	s := c.shardOf(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young[token] == v {
		delete(s.young, token)
	}
	if s.old[token] == v {
		delete(s.old, token)
	}
}
