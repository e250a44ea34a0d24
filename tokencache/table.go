package tokencache

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// id names a record: a digest of the namespace and the provider's key.
type id [sha256.Size]byte

// table maps ids to entries. Readers take no lock: a slot is written once, by
// a goroutine that holds mu, and a table that grows is replaced as a whole.
type table struct {
	mu     sync.Mutex
	slots  atomic.Pointer[slots]
	max    int
	live   int
	used   int // live entries and graves
	secret uint64
}

type slots struct {
	shift uint
	p     []atomic.Pointer[entry]
}

// grave marks a slot whose entry was evicted; probes go on past it.
var grave = new(entry)

func newTable(limit int) *table {
	t := &table{max: limit, secret: rand.Uint64() | 1}
	t.slots.Store(newSlots(4))
	return t
}

func newSlots(bits uint) *slots {
	return &slots{shift: 64 - bits, p: make([]atomic.Pointer[entry], 1<<bits)}
}

// home is the first slot to probe. The secret factor keeps callers, who may
// choose what is digested, from aiming at one slot.
func (t *table) home(s *slots, k *id) int {
	return int(binary.LittleEndian.Uint64(k[:]) * t.secret >> s.shift)
}

func (t *table) find(k *id) *entry {
	s := t.slots.Load()
	mask := len(s.p) - 1
	for i := t.home(s, k); ; i = (i + 1) & mask {
		e := s.p[i].Load()
		if e == nil || e.id == *k {
			return e
		}
	}
}

// add returns k's entry, made if need be. It returns nil if the table is full
// of entries that may not be evicted; worth ranks the others, least first.
func (t *table) add(k *id, worth func(*entry) int64) *entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.find(k); e != nil {
		return e
	}
	if t.live >= t.max && !t.evict(worth) {
		return nil
	}
	if s := t.slots.Load(); (t.used+1)*4 > len(s.p)*3 {
		t.rebuild(s)
	}
	e := &entry{id: *k}
	t.put(t.slots.Load(), e)
	t.live++
	t.used++
	return e
}

func (t *table) put(s *slots, e *entry) {
	i := t.home(s, &e.id)
	for s.p[i].Load() != nil {
		i = (i + 1) & (len(s.p) - 1)
	}
	s.p[i].Store(e)
}

func (t *table) rebuild(old *slots) {
	bits := 64 - old.shift
	if t.live*2 >= len(old.p) {
		bits++
	}
	s := newSlots(bits)
	for i := range old.p {
		if e := old.p[i].Load(); e != nil && e != grave {
			t.put(s, e)
		}
	}
	t.used = t.live
	t.slots.Store(s)
}

// evict looks at a few entries from a random place on, and on until it has
// found one that may go.
func (t *table) evict(worth func(*entry) int64) bool {
	const sample = 8
	s := t.slots.Load()
	start := rand.IntN(len(s.p))
	best, seen := -1, 0
	var least int64
	for n := 0; n < len(s.p) && (seen < sample || best < 0); n++ {
		i := (start + n) & (len(s.p) - 1)
		e := s.p[i].Load()
		if e == nil || e == grave {
			continue
		}
		seen++
		if w := worth(e); w >= 0 && (best < 0 || w < least) {
			best, least = i, w
		}
	}
	if best < 0 || !s.p[best].Load().evict() {
		return false
	}
	s.p[best].Store(grave)
	t.live--
	return true
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live
}

// each calls fn for every entry present throughout.
func (t *table) each(fn func(*entry)) {
	s := t.slots.Load()
	for i := range s.p {
		if e := s.p[i].Load(); e != nil && e != grave {
			fn(e)
		}
	}
}
