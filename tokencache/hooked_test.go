package tokencache_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
)

// hooked is one replica's way to a Store. A hook decides what becomes of each
// call: it makes the call or not, and returns the error that the replica gets.
type hooked struct {
	*history
	mu     sync.Mutex
	hook   func(op, key string, call func() error) error // nil: the call is made
	signal chan struct{}                                 // of the last Watch
}

var errHooked = errors.New("hooked")

// set makes hook decide from now on.
func (h *hooked) set(hook func(op, key string, call func() error) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

// fail makes the calls fail for which broken is true.
func (h *hooked) fail(broken func(op, key string) bool) {
	h.set(func(op, key string, call func() error) error {
		if broken(op, key) {
			return errHooked
		}
		return call()
	})
}

func (h *hooked) run(op, key string, call func() error) error {
	h.mu.Lock()
	hook := h.hook
	h.mu.Unlock()
	if hook == nil {
		return call()
	}
	return hook(op, key, call)
}

func (h *hooked) Load(ctx context.Context, key string) (val []byte, rev uint64, err error) {
	err = h.run("Load", key, func() (err error) { val, rev, err = h.history.Load(ctx, key); return err })
	return val, rev, err
}

func (h *hooked) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (next uint64, err error) {
	err = h.run("CAS", key, func() (err error) { next, err = h.history.CAS(ctx, key, rev, val, ttl); return err })
	return next, err
}

func (h *hooked) Epoch(ctx context.Context, key string) (epoch string, err error) {
	err = h.run("Epoch", key, func() (err error) { epoch, err = h.history.Epoch(ctx, key); return err })
	return epoch, err
}

func (h *hooked) Watch(context.Context, string) (<-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.signal = make(chan struct{}, 1)
	return h.signal, nil
}

// endWatch closes the channel of the last Watch.
func (h *hooked) endWatch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.signal)
}

var _ interface {
	tokencache.Store
	tokencache.Watcher
	tokencache.Epocher
} = (*hooked)(nil)
