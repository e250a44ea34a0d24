package tokencache

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// entry is this process's place for one record.
type entry struct {
	view    atomic.Pointer[view] // what the process knows; nil if nothing
	evicted atomic.Bool          // the entry is no longer in the map

	mu      sync.Mutex // guards the following fields, and writes to view
	attempt *attempt   // the work under way; nil if none
}

// view is a record as this process knows it, with the time from which its token
// is renewed. A view is immutable. It is small, because there is one for each
// grant in memory.
type view struct {
	Token providers.Token
	// details are the rest of the record. Nil means that Version is the
	// token's and that all other fields are zero.
	details *record.Details
	// renewFrom is in Unix nanoseconds. Its random part is chosen once for each
	// token. offset is moment.offset when this process got the token; passed
	// uses it to compare a deadline with the monotonic clock.
	renewFrom, offset int64
	// seenOffset is the offset of the moment at which this process read or
	// wrote the record. From there on times of the record are counted by the
	// monotonic clock, also if the wall clock is set back.
	seenOffset int64
	// overBelow is the version below which tokens have ended.
	overBelow uint64
	// unverified says that the token may have ended: another replica said so,
	// or notices were missed. The record is read again before the token is
	// served.
	unverified bool
}

// moment is a reading of both clocks: the wall clock in Unix nanoseconds, and
// the nanoseconds since the cache began.
type moment struct{ wall, mono int64 }

// offset returns how far the wall clock is ahead of the monotonic clock.
func (m moment) offset() int64 { return m.wall - m.mono }

// clocks let a hit read one clock instead of two: the monotonic clock, and how
// far the wall clock was ahead of it at its last reading.
type clocks struct {
	wallClock func() time.Time // nil: time.Now
	base      time.Time        // when the monotonic clock was 0
	_         [64]byte         // the following fields are written every wallEvery
	read      atomic.Int64     // when the wall clock was read
	offset    atomic.Int64
	_         [64]byte
}

// wallEvery is how long a reading of the wall clock is used. A jump of the wall
// clock is noticed after this running time.
const wallEvery = int64(time.Millisecond)

// now reads both clocks.
func (c *clocks) now() moment {
	mono := int64(time.Since(c.base))
	if c.wallClock != nil {
		return moment{c.wallClock().UnixNano(), mono}
	}
	if mono-c.read.Load() < wallEvery {
		return moment{mono + c.offset.Load(), mono}
	}
	return c.readWall()
}

func (c *clocks) readWall() moment {
	t := time.Now()
	m := moment{t.UnixNano(), int64(t.Sub(c.base))}
	c.offset.Store(m.wall - m.mono)
	c.read.Store(m.mono)
	return m
}

// wallNow returns the wall clock.
func (c *clocks) wallNow() time.Time {
	if c.wallClock == nil {
		return time.Now().Round(0)
	}
	return c.wallClock().Round(0)
}

// since returns the monotonic clock.
func (c *clocks) since() time.Duration { return time.Since(c.base) }

// nowFor returns the time for decisions about v's record: the wall clock; or, if
// it is later, the time at which the record was read plus what the monotonic
// clock has counted since.
func (c *clocks) nowFor(v *view) time.Time {
	wall := c.wallNow()
	if v == nil {
		return wall
	}
	if ran := time.Unix(0, int64(c.since())+v.seenOffset); ran.After(wall) {
		return ran
	}
	return wall
}

// age returns the age of v's access token on both clocks.
func (v *view) age(now moment) record.Age {
	switch {
	case v == nil || v.unverified || v.Token.AccessToken == "":
		return record.Over
	case !v.passed(v.renewFrom, now): // which is not after ServeUntil
		return record.Fresh
	case !v.passed(record.ServeUntil(&v.Token).UnixNano(), now):
		return record.Stale
	}
	return record.Over
}

// passed reports whether one of the clocks has reached deadline.
func (v *view) passed(deadline int64, now moment) bool {
	return now.wall >= deadline || now.mono+v.offset >= deadline
}

// record returns the record of v, or the zero Record if v is nil.
func (v *view) record() (r record.Record) {
	if v == nil {
		return r
	}
	r.Token, r.Version = v.Token, v.Token.Version
	if v.details != nil {
		r.Details = *v.details
	}
	return r
}

// setRecord makes r the record of v, which is not shared yet.
func (v *view) setRecord(r *record.Record) {
	v.Token = r.Token
	if !r.HoldsTokenAlone() {
		details := r.Details
		v.details = &details
	}
}

// empty reports whether v holds no token.
func (v *view) empty() bool {
	return v == nil || v.Token.AccessToken == "" && v.Token.RefreshToken == ""
}

// purges returns how often the grant was signed out.
func (v *view) purges() uint64 {
	if v == nil || v.details == nil {
		return 0
	}
	return v.details.Purges
}

// version returns the highest version that a token of the record ever had.
func (v *view) version() uint64 {
	switch {
	case v == nil:
		return 0
	case v.details == nil:
		return v.Token.Version
	}
	return v.details.Version
}

// failure returns the last failure until the next success; nil if none.
func (v *view) failure() *record.Failure {
	if v == nil || v.details == nil {
		return nil
	}
	return v.details.Failure
}

// record returns a copy of the record that e knows. Callers hold e.mu.
func (e *entry) record() record.Record { return e.view.Load().record() }

// install makes r the record that e knows. Its token is then verified. Callers
// hold e.mu.
func (c *Cache) install(e *entry, r record.Record) {
	old := e.view.Load()
	now := c.now()
	v := &view{seenOffset: now.offset()}
	v.setRecord(&r)
	if old != nil && sameToken(&old.Token, &r.Token) {
		v.renewFrom, v.offset = old.renewFrom, old.offset
	} else {
		from, until := record.RenewFrom(&r, c.rules.Mode, c.jitter()), record.ServeUntil(&r.Token)
		v.renewFrom, v.offset = min(from.UnixNano(), until.UnixNano()), now.offset()
	}
	c.brought.Add(broughtBy(v) - broughtBy(old))
	e.view.Store(v)
}

// amend makes r, which was neither read nor written, the record that e knows.
// An unverified token stays unverified. Callers hold e.mu.
func (c *Cache) amend(e *entry, r record.Record) {
	old := e.view.Load()
	c.install(e, r)
	if old != nil && old.unverified && sameToken(&old.Token, &r.Token) {
		v := *e.view.Load()
		v.unverified, v.overBelow = true, old.overBelow
		e.view.Store(&v)
	}
}

// broughtBy returns 1 if v's grant came by Adopt or Refresh, else 0.
func broughtBy(v *view) int64 {
	if r := v.record(); r.Brought && !r.Empty() {
		return 1
	}
	return 0
}

func sameToken(a, b *providers.Token) bool {
	return a.Version == b.Version && a.AccessToken == b.AccessToken && a.RefreshToken == b.RefreshToken
}

// exchangedBit marks the ids of tokens for an assertion.
const exchangedBit = 1

// table returns the map of k's entry. Tokens for assertions have a separate
// map, so that they evict no other grant.
func (c *Cache) table(k *id) *bounded[*entry] {
	if k[len(k)-1]&exchangedBit != 0 {
		return c.exchanged
	}
	return c.entries
}

// find returns k's entry if there is one.
func (c *Cache) find(k *id) (*entry, bool) { return c.table(k).get(k) }

// eachEntry calls fn for every entry that exists during the whole call.
func (c *Cache) eachEntry(fn func(id, *entry)) {
	c.entries.each(fn)
	c.exchanged.each(fn)
}

// entry returns k's entry and makes it if needed. If the record was signed out
// before its entry was evicted, the new entry begins with its tombstone.
func (c *Cache) entry(k *id) (*entry, error) {
	if e, ok := c.find(k); ok {
		return e, nil
	}
	e, ok := c.table(k).put(k, func(old *entry, ok bool) (*entry, bool) {
		if ok {
			return old, false
		}
		e := new(entry)
		if t, ok := c.tombstones.get(k); ok {
			c.install(e, t.record())
		}
		return e, true
	})
	if !ok {
		return nil, fault(providers.CodeBusy, providers.Transient, "the cache is full of grants that must stay", nil)
	}
	return e, nil
}

// pinned reports whether v must stay in memory: its grant came by Adopt or
// Refresh, no Store has it, and it has not ended.
func (c *Cache) pinned(v *view) bool {
	r := v.record()
	return c.o.Store == nil && broughtBy(v) > 0 && (c.refresher != nil && r.CanRefresh(c.nowFor(v)) || v.age(c.now()) != record.Over)
}

// roomToPin reports whether one more grant may be pinned. At most three
// quarters of the entries may be, so that there is room for the others.
func (c *Cache) roomToPin() bool {
	limit := int64(c.o.MaxEntries) * 3 / 4
	if c.o.Store != nil || c.brought.Load() < limit {
		return true
	}
	// Grants that have ended may still be counted.
	c.eachEntry(func(k id, e *entry) {
		if v := e.view.Load(); broughtBy(v) > 0 && !c.pinned(v) {
			c.table(&k).remove(&k)
		}
	})
	return c.brought.Load() < limit
}

// evictionRank orders entries for eviction, the lowest first. An entry that is
// busy or pinned stays.
func (c *Cache) evictionRank(e *entry) int64 {
	if !e.mu.TryLock() {
		return -1
	}
	defer e.mu.Unlock()
	v := e.view.Load()
	switch {
	case e.attempt != nil || c.pinned(v):
		return -1
	case v.empty():
		return 0
	}
	return max(v.renewFrom, 1)
}

// evict ends an entry that is neither busy nor pinned.
func (c *Cache) evict(e *entry) bool {
	if !e.mu.TryLock() {
		return false
	}
	defer e.mu.Unlock()
	v := e.view.Load()
	if e.attempt != nil || c.pinned(v) {
		return false
	}
	e.evicted.Store(true)
	e.view.Store(nil)
	c.brought.Add(-broughtBy(v))
	if !v.empty() {
		c.countEviction()
	}
	return true
}
