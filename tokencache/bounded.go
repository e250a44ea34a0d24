package tokencache

import (
	"crypto/sha256"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// id is a digest: of a record's namespace and key, or of a token.
type id [sha256.Size]byte

// shardCount is the number of locks of a bounded map.
const shardCount = 64

// bounded is a map of at most max values, with a lock for each shard. To add to
// a full map, it drops the lowest of a few values. It holds the entries, the
// index of refresh tokens, the tombstones, and what a HandedOut remembers.
type bounded[V any] struct {
	max  int64
	size atomic.Int64
	// rank orders values for eviction, the lowest first; -1 keeps a value.
	rank func(V) int64
	// drop ends a value that is removed. It returns false if the value has
	// become busy since it was ranked.
	drop   func(V) bool
	shards [shardCount]struct {
		mu sync.RWMutex
		m  map[id]V
	}
}

func newBounded[V any](limit int, rank func(V) int64, drop func(V) bool) *bounded[V] {
	b := &bounded[V]{max: int64(limit), rank: rank, drop: drop}
	for i := range b.shards {
		b.shards[i].m = map[id]V{}
	}
	return b
}

func (b *bounded[V]) get(k *id) (V, bool) {
	s := &b.shards[k[0]%shardCount]
	s.mu.RLock()
	v, ok := s.m[*k]
	s.mu.RUnlock()
	return v, ok
}

// put sets k's value to what next makes of the present one; next returns false
// to leave it. If the map is full, put first drops another value. It returns
// the value that k has then, or false if the map is full of values that must
// stay.
func (b *bounded[V]) put(k *id, next func(old V, ok bool) (V, bool)) (V, bool) {
	for {
		if v, done := b.tryPut(k, next); done {
			return v, true
		}
		if !b.evict() {
			var none V
			return none, false
		}
	}
}

func (b *bounded[V]) tryPut(k *id, next func(V, bool) (V, bool)) (V, bool) {
	s := &b.shards[k[0]%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.m[*k]
	if !ok && !b.reserve() {
		return old, false
	}
	v, set := next(old, ok)
	switch {
	case set:
		s.m[*k] = v
		return v, true
	case !ok:
		b.size.Add(-1)
	}
	return old, true
}

// reserve counts one more value, unless the map is full.
func (b *bounded[V]) reserve() bool {
	for {
		n := b.size.Load()
		if n >= b.max {
			return false
		}
		if b.size.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// evict drops the lowest of a few values. If it must stay, evict continues
// until it finds one that may go.
func (b *bounded[V]) evict() bool {
	const sample = 8
	var best struct {
		key   id
		rank  int64
		found bool
	}
	start, seen := rand.IntN(shardCount), 0
	for i := range shardCount {
		s := &b.shards[(start+i)%shardCount]
		s.mu.RLock()
		for k, v := range s.m { // in random order
			if seen >= sample && best.found {
				break
			}
			seen++
			if r := b.rank(v); r >= 0 && (!best.found || r < best.rank) {
				best.key, best.rank, best.found = k, r, true
			}
		}
		s.mu.RUnlock()
		if seen >= sample && best.found {
			break
		}
	}
	if !best.found {
		return false
	}
	b.remove(&best.key)
	return true
}

// remove drops k's value if it may go.
func (b *bounded[V]) remove(k *id) {
	s := &b.shards[k[0]%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.m[*k]; ok && b.drop(v) {
		delete(s.m, *k)
		b.size.Add(-1)
	}
}

func (b *bounded[V]) len() int { return int(b.size.Load()) }

// each calls fn for every value that is in the map during the whole call. fn
// may use b.
func (b *bounded[V]) each(fn func(id, V)) {
	type item struct {
		key   id
		value V
	}
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.RLock()
		items := make([]item, 0, len(s.m))
		for k, v := range s.m {
			items = append(items, item{k, v})
		}
		s.mu.RUnlock()
		for _, it := range items {
			fn(it.key, it.value)
		}
	}
}
