package tokencache

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// memory is the Store of [NewMemory].
type memory struct {
	mu      sync.Mutex
	values  map[string]memoryValue
	leases  map[string]memoryLease
	watches map[string]map[chan struct{}]struct{}
	rev     uint64 // of the last CAS
	fence   uint64 // of the last Lock
	sweep   int    // writes since the last sweep
}

type memoryValue struct {
	val []byte
	rev uint64
	end time.Time
}

type memoryLease struct {
	owner string
	end   time.Time
}

// NewMemory returns a [Store], [Locker] and [Watcher] in memory. Several caches
// of one process act as one over it, as over a database. A single Cache needs
// no Store.
func NewMemory() Store {
	return &memory{
		values: map[string]memoryValue{}, leases: map[string]memoryLease{}, watches: map[string]map[chan struct{}]struct{}{},
		rev: 1 + rand.Uint64N(1<<62), // a new Store must not repeat the revisions of an earlier one
	}
}

func (m *memory) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	v := m.live(key)
	return bytes.Clone(v.val), v.rev, nil
}

// live returns the value of key, or zero if it has expired.
func (m *memory) live(key string) memoryValue {
	v, ok := m.values[key]
	if ok && !time.Now().Before(v.end) {
		delete(m.values, key)
		return memoryValue{}
	}
	return v
}

func (m *memory) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if m.live(key).rev != rev {
		return 0, nil
	}
	m.rev++
	m.values[key] = memoryValue{bytes.Clone(val), m.rev, time.Now().Add(ttl)}
	m.changed(key)
	m.tidy()
	return m.rev, nil
}

// tidy removes expired values, after half as many writes as there are values.
func (m *memory) tidy() {
	if m.sweep++; 2*m.sweep < len(m.values) {
		return
	}
	m.sweep = 0
	for k := range m.values {
		m.live(k)
	}
	for k, l := range m.leases {
		if !time.Now().Before(l.end) {
			delete(m.leases, k)
		}
	}
}

func (m *memory) Lock(ctx context.Context, key, owner string, ttl time.Duration) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if m.holder(key, owner) == others {
		return 0, nil
	}
	m.leases[key] = memoryLease{owner, time.Now().Add(ttl)}
	// The clock makes fences rise from one Store to the next.
	m.fence = max(m.fence+1, uint64(max(time.Now().UnixMicro(), 0)))
	return m.fence, nil
}

const (
	nobody = iota
	oneself
	others
)

func (m *memory) holder(key, owner string) int {
	switch l, ok := m.leases[key]; {
	case !ok || !time.Now().Before(l.end):
		return nobody
	case l.owner == owner:
		return oneself
	}
	return others
}

func (m *memory) Extend(ctx context.Context, key, owner string, ttl time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if m.holder(key, owner) != oneself {
		return false, nil
	}
	m.leases[key] = memoryLease{owner, time.Now().Add(ttl)}
	return true, nil
}

func (m *memory) Unlock(ctx context.Context, key, owner string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if m.holder(key, owner) != oneself {
		return false, nil
	}
	delete(m.leases, key)
	m.changed(key)
	return true, nil
}

func (m *memory) Watch(ctx context.Context, key string) (<-chan struct{}, error) {
	ch := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watches[key] == nil {
		m.watches[key] = map[chan struct{}]struct{}{}
	}
	m.watches[key][ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watches[key], ch)
		if len(m.watches[key]) == 0 {
			delete(m.watches, key)
		}
	})
	return ch, nil
}

func (m *memory) changed(key string) {
	for ch := range m.watches[key] {
		select {
		case ch <- struct{}{}:
		default: // a signal is waiting
		}
	}
}
