package tokencache

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// job is what a caller wants of a record.
type job struct {
	kind kind
	req  providers.Request
	// auto: a token newer than min; forced: although the current one has life.
	min    uint64
	forced bool
	// refresh: rt, known as ref says.
	rt     string
	digest id
	ref    ref
	// adopt
	tok providers.Token
}

type kind uint8

const (
	auto kind = iota
	refresh
	adopt
	restore // reads the record, which writes it where the Store lost it
)

// flight is one turn of work on a record. At most one is under way per entry.
type flight struct {
	job    job
	ahead  bool
	began  time.Time
	gen    uint64 // the entry's generation when it began
	ctx    context.Context
	cancel context.CancelFunc
	op     string        // the last upstream call, "" for none
	done   chan struct{} // closed when what follows is final
	tok    providers.Token
	err    error
	stale  bool // a purge overtook it
	saving bool // guarded by entry.mu: done, but not yet in the Store
	joined int  // guarded by entry.mu
}

// shares reports whether a caller with j takes f's error for its own.
func (f *flight) shares(j *job) bool {
	return f.job.kind == j.kind && (j.kind == auto || j.kind == refresh && f.job.digest == j.digest)
}

// answers reports whether f's token is what j wants.
func (f *flight) answers(j *job) bool {
	return j.kind != auto || f.tok.Version > j.min || f.job.forced
}

// do brings j to its end: from memory, by the flight under way, or by a new one.
func (c *Cache) do(ctx context.Context, k *id, j *job) (providers.Token, error) {
	for {
		if err := ctx.Err(); err != nil {
			return providers.Token{}, err
		}
		e, err := c.entry(k)
		if err != nil {
			return providers.Token{}, err
		}
		f, own, tok, err := c.join(e, j)
		if f == nil {
			c.failedFast(err)
			return tok, err
		}
		if f == evicted {
			continue
		}
		if err := c.wait(ctx, f); err != nil {
			return providers.Token{}, err
		}
		if f.stale || !own && !f.shares(j) || f.err == nil && !f.answers(j) {
			continue
		}
		return f.tok, f.err
	}
}

// wait ends with f's result, the caller's context or f's deadline.
func (c *Cache) wait(ctx context.Context, f *flight) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.ctx.Done():
	}
	select {
	case <-f.done: // a flight that ends cancels its context, after done
		return nil
	default:
		return fault(providers.CodeTimeout, providers.Transient, "no answer from the provider in time", context.Cause(f.ctx))
	}
}

// join answers j from memory, or returns the flight to wait for, and whether
// it was begun for j.
func (c *Cache) join(e *entry, j *job) (f *flight, own bool, tok providers.Token, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fl == evicted {
		return evicted, false, tok, nil
	}
	r := e.snapshot()
	if tok, ok := c.atHand(e, &r, j); ok {
		return nil, false, tok, nil
	}
	if f = e.fl; f != nil {
		if f.saving {
			return nil, false, tok, errUnsaved
		}
		f.joined++
		c.stats.coalesced.Add(1)
		return f, false, tok, nil
	}
	if err = c.failing(&r, j); err != nil {
		return nil, false, tok, err
	}
	if f = c.start(e, *j, false); f == nil {
		err = errClosed
	}
	return f, true, tok, err
}

// atHand is the answer to j that needs no flight.
func (c *Cache) atHand(e *entry, r *record, j *job) (providers.Token, bool) {
	now := c.wallNow()
	if j.kind >= adopt || j.kind == refresh && e.fl != nil && e.fl.saving || !c.usable(e.cur.Load()) {
		return providers.Token{}, false
	}
	switch j.kind {
	case auto:
		return r.token, r.token.Version > j.min || j.forced && r.token.Version == j.min && r.floored(c.o.ForcedFloor, now)
	case refresh:
		return r.token, r.token.RefreshToken != j.rt && r.spentWithin(j.digest, c.o.Grace, now)
	}
	return providers.Token{}, false
}

// failing is the error with which j fails fast, if any.
func (c *Cache) failing(r *record, j *job) error {
	left := r.fail.left(c.wallNow())
	if left == 0 || j.kind >= adopt {
		return nil
	}
	e := *r.fail.err
	e.RetryAfter = left
	return &e
}

// start begins a flight, or returns nil if the cache is closed. Callers hold
// e.mu.
func (c *Cache) start(e *entry, j job, ahead bool) *flight {
	if !c.enter() {
		return nil
	}
	j.req = cloneRequest(j.req)
	if j.kind != refresh {
		j.ref = ref{tenant: j.req.Tenant}
	}
	f := &flight{job: j, ahead: ahead, began: time.Now(), done: make(chan struct{})}
	if e.led != nil {
		f.gen = e.led.gen
	}
	// Not from a caller's context: no caller's leaving may end the work of all.
	f.ctx, f.cancel = context.WithTimeout(c.ctx, c.o.FetchTimeout)
	e.fl = f
	c.stats.flights.Add(1)
	go c.run(e, f)
	return f
}

func (c *Cache) run(e *entry, f *flight) {
	defer c.leave()
	err := errExited
	defer func() {
		if v := recover(); v != nil {
			err = c.panicked(v)
		}
		c.finish(e, f, providers.Token{}, err)
	}()
	c.event(Event{Kind: "started"})
	var tok providers.Token
	tok, err = c.fly(f.ctx, e, f)
	c.publish(e, f, tok, err)
}

// publish makes the result of f final and wakes its callers.
func (c *Cache) publish(e *entry, f *flight, tok providers.Token, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.publishLocked(e, f, tok, err)
}

func (c *Cache) publishLocked(e *entry, f *flight, tok providers.Token, err error) {
	select {
	case <-f.done:
		return
	default:
	}
	f.tok, f.err = tok, err
	if e.led != nil && e.led.gen != f.gen {
		f.stale = true
	}
	if err != nil && !f.stale {
		c.remember(e, err)
	}
	close(f.done)
}

// finish publishes the result if fly did not get to it, and frees the entry.
func (c *Cache) finish(e *entry, f *flight, tok providers.Token, err error) {
	e.mu.Lock()
	c.publishLocked(e, f, tok, err)
	e.fl = nil
	n := f.joined
	e.mu.Unlock()
	f.cancel()
	c.landed(f, n)
	c.resolve(e, f)
}

// resolve tries again what is in doubt, although nobody asks: the upstream may
// forgive a second presentation only for a short while.
func (c *Cache) resolve(e *entry, f *flight) {
	if f.err == nil || providers.AsError(f.err).Class != providers.InDoubt {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.led == nil || e.led.fail == nil || e.led.fail.n > maxResolve {
		return
	}
	time.AfterFunc(e.led.fail.left(c.wallNow())+10*time.Millisecond, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.fl == nil && e.led != nil && e.led.fail != nil && e.led.fail.err.Class == providers.InDoubt {
			c.start(e, f.job, true)
		}
	})
}

// maxResolve is how often a call in doubt is tried again: for half a minute.
const maxResolve = 6

// remember opens the fail-fast window for an error that fly did not record.
func (c *Cache) remember(e *entry, err error) {
	r, now := e.snapshot(), c.wallNow()
	pe := providers.AsError(err)
	if r.fail.left(now) > 0 || pe.Code == providers.CodeRefreshRejected {
		return
	}
	r.fail = nextFailure(r.fail, pe, now)
	c.install(e, r)
}

func nextFailure(last *failure, err *providers.Error, now time.Time) *failure {
	n := 1
	if last != nil {
		n = last.n + 1
	}
	return &failure{err: err, n: n, at: now, wait: backoff(err, n)}
}
