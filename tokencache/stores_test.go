package tokencache_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
)

// history is a Store whose past can be brought back, as a failover to a
// replica does that lags behind. It has no leases and no watches.
type history struct {
	mu     sync.Mutex
	values map[string]past
	rev    uint64
	epoch  string
	fails  func(op, key string) error // nil: nothing fails
	now    func() time.Time
}

type past struct {
	val []byte
	rev uint64
	end time.Time
}

func newHistory() *history {
	return &history{values: map[string]past{}, now: time.Now}
}

func (h *history) fault(op, key string) error {
	if h.fails == nil {
		return nil
	}
	return h.fails(op, key)
}

// setFails sets what fails from now on.
func (h *history) setFails(fails func(op, key string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails = fails
}

func (h *history) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := errors.Join(ctx.Err(), h.fault("Load", key)); err != nil {
		return nil, 0, err
	}
	v, ok := h.values[key]
	if !ok || !h.now().Before(v.end) {
		delete(h.values, key)
		return nil, 0, nil
	}
	return bytes.Clone(v.val), v.rev, nil
}

func (h *history) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := errors.Join(ctx.Err(), h.fault("CAS", key)); err != nil {
		return 0, err
	}
	v, ok := h.values[key]
	if ok && !h.now().Before(v.end) {
		v = past{}
	}
	if v.rev != rev {
		return 0, nil
	}
	h.rev++ // never comes back, whatever is brought back
	h.values[key] = past{bytes.Clone(val), h.rev, h.now().Add(ttl)}
	return h.rev, nil
}

func (h *history) Epoch(context.Context, string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return "epoch " + h.epoch, nil
}

// remember returns a copy of the values whose keys have a prefix.
func (h *history) remember(prefix string) map[string]past {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := maps.Clone(h.values)
	maps.DeleteFunc(kept, func(k string, _ past) bool { return !strings.HasPrefix(k, prefix) })
	return kept
}

// bringBack makes the values whose keys have a prefix those of kept, on a
// server that was promoted.
func (h *history) bringBack(prefix string, kept map[string]past, epoch string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.values, func(k string, _ past) bool { return strings.HasPrefix(k, prefix) })
	maps.Copy(h.values, kept)
	h.epoch = epoch
}

// live returns the number of keys with a prefix that have not expired, and the
// bytes of their names and values.
func (h *history) live(prefix string) (keys, size int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, v := range h.values {
		if strings.HasPrefix(k, prefix) && h.now().Before(v.end) {
			keys++
			size += len(k) + len(v.val)
		}
	}
	return keys, size
}

var _ tokencache.Epocher = (*history)(nil)
