package tokencache

import (
	"sync"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/providers"
)

// entry is the process's own view of a record.
type entry struct {
	id  id
	cur atomic.Pointer[state] // what a hit reads
	mu  sync.Mutex            // guards what follows, and writes to cur
	fl  *flight               // under way, or evicted
	led *ledger               // nil if all zero but what cur says
}

// state is immutable.
type state struct {
	tok providers.Token
	// The token is served without a second thought before both.
	wall int64 // Unix nanoseconds
	mono int64 // nanoseconds since the cache began
}

// evicted is the flight of an entry that is no longer in the table.
var evicted = new(flight)

// snapshot is the record as the process knows it. Callers hold e.mu.
func (e *entry) snapshot() record {
	var r record
	if e.led != nil {
		r.ledger = *e.led
	}
	if st := e.cur.Load(); st != nil {
		r.token = st.tok
		r.version = max(r.version, st.tok.Version)
	}
	return r
}

// install makes r the process's view. Callers hold e.mu.
func (c *Cache) install(e *entry, r record) {
	r.rev = 0
	if l := r.ledger; l.gen == 0 && l.forced.IsZero() && len(l.spent) == 0 && l.fail == nil && l.intent == nil && l.fence == 0 && l.version == r.token.Version {
		e.led = nil
	} else {
		e.led = &l
	}
	st := e.cur.Load()
	switch {
	case r.token.AccessToken == "" && r.token.RefreshToken == "":
		e.cur.Store(nil)
	case st != nil && st.tok.Version == r.token.Version && st.tok.AccessToken == r.token.AccessToken && st.tok.RefreshToken == r.token.RefreshToken:
		// soft is drawn once per token
	default:
		soft := softOf(&r.token, c.mode)
		wall, mono := c.times()
		e.cur.Store(&state{tok: r.token, wall: soft.UnixNano(), mono: mono + soft.UnixNano() - wall})
	}
}

// worth ranks entries for eviction, the least first; -1 for one that is busy.
func (c *Cache) worth(e *entry) int64 {
	if !e.mu.TryLock() {
		return -1
	}
	defer e.mu.Unlock()
	if e.fl != nil {
		return -1
	}
	st := e.cur.Load()
	if st == nil {
		return 0
	}
	return max(st.wall, 1)
}

// evict empties e for good, unless it is busy.
func (e *entry) evict() bool {
	if !e.mu.TryLock() {
		return false
	}
	defer e.mu.Unlock()
	if e.fl != nil {
		return false
	}
	e.fl = evicted
	e.cur.Store(nil)
	e.led = nil
	return true
}

// entry returns k's entry, made if need be.
func (c *Cache) entry(k *id) (*entry, error) {
	if e := c.table.find(k); e != nil {
		return e, nil
	}
	if e := c.table.add(k, c.worth); e != nil {
		return e, nil
	}
	return nil, fault(providers.CodeBusy, providers.Transient, "every entry has a call under way", nil)
}
