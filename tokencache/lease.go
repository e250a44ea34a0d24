package tokencache

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	leaseTTL = 3 * time.Second
	// pollEvery is the wait between two looks at a record without a [Watcher];
	// with one, lookEvery makes up for lost signals.
	pollEvery = 100 * time.Millisecond
	lookEvery = time.Second
)

// lease is the right to work on a record, kept by heartbeats.
type lease struct {
	fence uint64
	until atomic.Int64 // by this process's monotonic clock
	end   func()
}

// lock tries to take the lease; nil if somebody else has it.
func (t *turn) lock(ctx context.Context) (*lease, error) {
	c := t.c
	asked := time.Since(c.base) // a lease is valid from before it was asked for
	var fence uint64
	err := c.budget(ctx, func(ctx context.Context) (err error) {
		fence, err = c.locker.Lock(ctx, t.key, t.owner, leaseTTL)
		return err
	})
	if err != nil {
		t.unlock() // it may have been granted
		return nil, err
	}
	if fence == 0 {
		return nil, nil
	}
	l := &lease{fence: fence}
	l.until.Store(int64(asked + leaseTTL))
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan struct{})
	l.end = func() {
		cancel()
		<-stopped
		t.unlock()
	}
	go func() {
		defer close(stopped)
		t.heartbeat(ctx, l)
	}()
	return l, nil
}

func (t *turn) unlock() {
	_ = t.c.budget(context.Background(), func(ctx context.Context) error {
		_, err := t.c.locker.Unlock(ctx, t.key, t.owner)
		return err
	})
}

func (t *turn) heartbeat(ctx context.Context, l *lease) {
	c := t.c
	tick := time.NewTicker(leaseTTL / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Since(c.base)
		var ok bool
		err := c.budget(ctx, func(ctx context.Context) (err error) {
			ok, err = c.locker.Extend(ctx, t.key, t.owner, leaseTTL)
			return err
		})
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && ok:
			l.until.Store(int64(asked + leaseTTL))
		case err == nil || !t.c.holds(l):
			l.until.Store(0)
			c.event(Event{Kind: "lease_lost"})
			c.o.Logger.Warn("tokencache: lost the lease of a record")
			return
		}
	}
}

// holds reports whether l, nil for a Store without leases, is valid.
func (c *Cache) holds(l *lease) bool {
	return l == nil || int64(time.Since(c.base)) < l.until.Load()
}

// await waits for the record to change, for d at most. The first wait only
// begins to watch: the record may have changed before.
func (t *turn) await(ctx context.Context, d time.Duration) {
	every := pollEvery
	if t.c.watcher != nil && !t.blind {
		if t.signal == nil {
			if ch, err := t.c.watcher.Watch(t.f.ctx, t.key); err == nil && ch != nil {
				t.signal = ch
				return
			}
		} else {
			every = lookEvery
		}
	}
	timer := time.NewTimer(min(d, every))
	defer timer.Stop()
	select {
	case _, ok := <-t.signal:
		if !ok {
			t.signal, t.blind = nil, true // the watch ended early
		}
	case <-timer.C:
	case <-ctx.Done():
	}
}
