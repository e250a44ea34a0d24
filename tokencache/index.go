package tokencache

import "sync"

// ref says which record a refresh token belongs to.
type ref struct {
	id      id
	tenant  string
	anon    bool // the record is named by a refresh token, not by a user
	claimed bool // not issued through the cache, and not yet redeemed by it
}

// localIndex is the index of refresh tokens of a cache without a Store.
type localIndex struct {
	mu  sync.Mutex
	max int
	m   map[id]ref
}

func (x *localIndex) get(rt id) (ref, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r, ok := x.m[rt]
	return r, ok
}

func (x *localIndex) put(rt id, r ref) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.m[rt]; !ok && len(x.m) >= x.max {
		for k := range x.m { // map order: any will do
			delete(x.m, k)
			break
		}
	}
	x.m[rt] = r
}

// claim is get, or put if there is nothing to get.
func (x *localIndex) claim(rt id, r ref) ref {
	if old, ok := x.get(rt); ok {
		return old
	}
	x.put(rt, r)
	return r
}
