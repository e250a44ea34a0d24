package tokencache

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// replicas is the part of a cache that works with other replicas by the Store.
type replicas struct {
	c       *Cache
	store   Store
	locker  Locker  // nil if the Store is none
	watcher Watcher // nil if the Store is none
	epocher Epocher // nil if the Store is none
	sealer  *sealer
	// failedAt is when a call of the Store last failed, on the monotonic clock.
	failedAt atomic.Int64
	ablate   struct{ noLease, noIntent bool } // only for the simulation

	replica string        // this cache's name among the members
	left    chan struct{} // closed when listen has returned
	news                  // see notices.go
}

func newReplicas(c *Cache, s *sealer) *replicas {
	h := &replicas{c: c, store: c.o.Store, sealer: s, replica: rand.Text()[:12], left: make(chan struct{})}
	h.locker, _ = c.o.Store.(Locker)
	h.watcher, _ = c.o.Store.(Watcher)
	h.epocher, _ = c.o.Store.(Epocher)
	h.news.init()
	return h
}

func (h *replicas) recordKey(k *id) string { return h.sealer.name("t", *k) }

// try makes one call of the Store, within StoreTimeout. If the Store panics,
// exits or ignores its context, the outcome is unknown.
func try[T any](ctx context.Context, h *replicas, call func(context.Context) (T, error)) (T, error) {
	if err := ctx.Err(); err != nil {
		var none T
		return none, err
	}
	bounded, cancel := context.WithTimeout(ctx, h.c.o.StoreTimeout)
	defer cancel()
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	ended := flight.Go(func() {
		v, err := call(bounded)
		answers <- answer{v, err}
	})
	var a answer
	select {
	case err := <-ended:
		if err != nil {
			h.c.reportPanic(err)
			a.err = err
		} else {
			a = <-answers
		}
	case <-bounded.Done():
		a.err = context.Cause(bounded)
	}
	if a.err != nil && ctx.Err() == nil {
		h.failedAt.Store(int64(h.c.since()))
		h.c.stats.storeErrors.Add(1)
		h.c.event(ctx, providers.Event{Kind: "store_error"})
	}
	return a.value, a.err
}

// value is what the Store holds under a key.
type value struct {
	bytes []byte
	rev   uint64 // 0: absent
}

// fetch reads and opens a value. The revision is right even if the error is
// ErrFormat.
func (h *replicas) fetch(ctx context.Context, key string) (v value, err error) {
	for range 2 {
		v, err = try(ctx, h, func(ctx context.Context) (v value, err error) {
			v.bytes, v.rev, err = h.store.Load(ctx, key)
			return v, err
		})
		if err == nil {
			break
		}
	}
	if err != nil || v.rev == 0 {
		return value{}, err
	}
	if v.bytes, err = h.sealer.open(key, v.bytes); err != nil {
		h.c.logError("tokencache: unreadable value in the store; what it belongs to fails until it ends", "give SealKeys the key that is missing, or look for who writes there", "error", err)
		return value{rev: v.rev}, errors.Join(record.ErrFormat, err)
	}
	return v, nil
}

// cas seals val, which holds a record at version, and writes it if the key has
// revision rev. It returns 0 if the key has another revision.
func (h *replicas) cas(ctx context.Context, key string, rev, version uint64, val []byte, ttl time.Duration) (next uint64, err error) {
	if val, err = h.sealer.seal(key, version, val); err != nil {
		return 0, err
	}
	return try(ctx, h, func(ctx context.Context) (uint64, error) { return h.store.CAS(ctx, key, rev, val, ttl) })
}

// swap is a cas. If a cas gets no answer, swap reads to find out whether it
// happened: look reports whether the value in the Store is the one written. An
// error means that the outcome is unknown.
func (h *replicas) swap(ctx context.Context, key string, rev, version uint64, val []byte, ttl time.Duration, look func(value) bool) (next uint64, err error) {
	const tries = 3
	doubt := false
	for range tries {
		if next, err = h.cas(ctx, key, rev, version, val, ttl); err == nil && (next != 0 || !doubt) {
			return next, nil
		}
		doubt = true
		v, lookErr := h.fetch(ctx, key)
		switch {
		case lookErr != nil:
			err = lookErr
		case look(v):
			return v.rev, nil
		case v.rev != rev:
			return 0, nil
		}
	}
	return 0, err
}

// read returns the record under key and its revision.
func (h *replicas) read(ctx context.Context, key string) (r record.Record, rev uint64, err error) {
	v, err := h.fetch(ctx, key)
	if err == nil && v.rev != 0 {
		r, _, err = record.Decode(v.bytes)
	}
	return r, v.rev, err
}

// write saves r over the revision rev and returns the new revision, or 0 if the
// record has changed. An error means that the outcome is unknown.
func (h *replicas) write(ctx context.Context, key string, rev uint64, r *record.Record) (uint64, error) {
	nonce := rand.Text()
	val, err := record.Encode(r, nonce)
	if err != nil {
		return 0, err
	}
	ttl := r.TTL(h.c.wallNow(), h.c.o.RefreshLifetime)
	return h.swap(ctx, key, rev, r.Version, val, ttl, func(v value) bool {
		_, n, err := record.Decode(v.bytes)
		return err == nil && n == nonce
	})
}

func (a *attempt) write(ctx context.Context, r *record.Record) (bool, error) {
	next, err := a.c.replicas.write(ctx, a.key, a.rev, r)
	if next != 0 {
		a.rev = next
	}
	return next != 0, err
}

// loadStored reads the record from the Store and joins it with what this
// process knows. If the Store has lost something, it is written again.
func (a *attempt) loadStored(ctx context.Context, begin bool) error {
	c, h := a.c, a.c.replicas
	h.awaitJoin(ctx)
	for range maxRounds {
		member := h.joined()
		stored, rev, err := h.read(ctx, a.key)
		if err != nil {
			return storeError(err)
		}
		if !member && h.awaitJoinAgain(ctx) {
			continue // a sign-out may not have waited for this replica
		}
		a.rev = rev
		change := a.reconcile(stored, begin)
		switch {
		case change.Behind && !a.rollCalled:
			// A newer token was announced and the Store has lost it.
			a.rollCalled = true
			if err := h.callRoll(ctx); err != nil {
				return storeError(err)
			}
			continue
		case change.Adopted:
			c.stats.adopted.Add(1)
			c.event(a.cause, providers.Event{Kind: "adopted"})
		case change.Lost:
			c.warn("tokencache: the store lost a record, which is written again", "look for a restart, a failover or evictions of the store")
			c.event(a.cause, providers.Event{Kind: "store_lost"})
			written, err := a.write(ctx, &a.record)
			if err != nil {
				return storeError(err)
			}
			if !written {
				continue
			}
			c.restoreIndex(ctx, a.id, &a.record)
		}
		return nil
	}
	return fault(providers.CodeInternal, providers.Transient, "the token store refuses every write", nil)
}

// reconcile joins stored with what the process knows, and sets a.record.
func (a *attempt) reconcile(stored record.Record, begin bool) record.Change {
	c, e := a.c, a.e
	e.mu.Lock()
	defer e.mu.Unlock()
	own := e.record()
	floor := uint64(0)
	if v := e.view.Load(); v != nil && v.overBelow > own.Token.Version {
		floor, own.Token, own.Brought = v.overBelow, providers.Token{}, false
	}
	if a.unsaved {
		// What the process serves is not the full record: its refresh token is
		// hidden.
		own.Token, own.Version = providers.Token{}, stored.Version
	}
	r, change := record.Reconcile(stored, own, c.rules.Mode, c.wallNow())
	if r.Version < floor {
		r.Version = floor
		change.Behind = r.CanRefresh(c.wallNow())
	}
	if begin && !a.answered {
		a.purges = r.Purges
	}
	if !a.unsaved && !(change.Behind && !a.rollCalled) {
		c.install(e, r)
		c.bury(&a.id, &r, false)
	}
	a.record = r
	return change
}

// prepareStored reports whether other replicas allow a to act on the record as
// read. If not, it has taken the lease or waited.
func (a *attempt) prepareStored(ctx context.Context, action record.Action) (bool, error) {
	c, h := a.c, a.c.replicas
	wait := a.foreignCall()
	switch {
	case !a.leased:
		if err := a.takeLease(ctx); err != nil {
			if a.goAlone() {
				return true, nil
			}
			return false, storeError(err)
		}
	case !h.holds(a.lease):
		a.release()
	case a.lease != nil && a.lease.fence < a.record.Fence && a.fenced < 3:
		a.fenced++
		a.release()
		a.wait(ctx, pollEvery)
	case wait > 0:
		a.freeSlot()
		a.wait(ctx, wait)
	case action.Upstream() && c.rules.Mode != providers.Shared && !a.confirmed:
		// Before a grant is changed, no replica may have a newer record that
		// the Store has lost.
		again, err := h.confirm(ctx, a.key, action.Step == record.CallRefresh)
		if err != nil {
			return false, storeError(err)
		}
		a.confirmed = true
		return !again, nil
	default:
		return true, nil
	}
	return false, nil
}

// foreignCall is how long to wait for an upstream call of another attempt. Such
// a call may be under way although this attempt has the lease, because the
// Store may have lost the other lease. The wait is never longer than a call. It
// is too short if the other replica's clock is behind by more than intentMargin.
// Then only the lease excludes a second call.
func (a *attempt) foreignCall() time.Duration {
	c, i := a.c, a.record.Intent
	if i == nil || i.Ended || i.Owner == a.name || c.rules.Mode == providers.Shared {
		return 0
	}
	now := c.since()
	length := c.callLimit + intentMargin
	if a.foreign.intent != *i {
		a.foreign.intent = *i
		a.foreign.until = now + min(max(i.At.Add(length).Sub(c.wallNow()), 0), length)
	}
	// After an outage, a replica with an unsaved token saves it first.
	back := time.Duration(a.c.replicas.failedAt.Load()) + saveHeadStart
	if a.c.replicas.failedAt.Load() == 0 {
		back = 0
	}
	return max(a.foreign.until-now, back-now, 0)
}

const (
	// intentMargin is how much the clocks of replicas may differ if a lease is
	// lost during a call, and for a Store without leases.
	intentMargin = 2 * time.Second
	// saveHeadStart is how long a spender waits after a failure of the Store.
	saveHeadStart = 3 * time.Second
)

// writeIntent tells the other replicas that a is about to do action. It returns
// false if the record has changed or the lease is lost.
func (a *attempt) writeIntent(ctx context.Context, action record.Action) (bool, error) {
	c := a.c
	if action.Step == record.Install || c.rules.Mode == providers.Shared || c.replicas == nil || c.replicas.ablate.noIntent {
		return true, nil
	}
	r := a.record
	r.Intent = &record.Intent{Owner: a.name, At: c.wallNow()}
	if a.lease != nil {
		r.Fence = max(r.Fence, a.lease.fence)
	}
	written, err := a.write(ctx, &r)
	if err != nil {
		return false, storeError(err)
	}
	if written {
		a.record = r
	}
	return written && c.replicas.holds(a.lease), nil
}

const (
	leaseTTL = 3 * time.Second
	// pollEvery is the time between two reads of a record without a [Watcher].
	// With a Watcher it is lookEvery, because signals may be lost.
	pollEvery = 100 * time.Millisecond
	lookEvery = time.Second
)

// lease is the right to work on a record, kept by heartbeats.
type lease struct {
	fence uint64
	until atomic.Int64 // on this process's monotonic clock
	end   func()
}

// holds reports whether l is valid. nil, for a Store without leases, is valid.
func (h *replicas) holds(l *lease) bool { return l == nil || int64(h.c.since()) < l.until.Load() }

// takeLease takes the record's lease, or waits if another attempt has it.
func (a *attempt) takeLease(ctx context.Context) error {
	c, h := a.c, a.c.replicas
	if h.locker == nil || h.ablate.noLease {
		a.leased = true
		return nil
	}
	asked := c.since() // the lease may have begun before the answer came
	fence, err := try(ctx, h, func(ctx context.Context) (uint64, error) {
		return h.locker.Lock(ctx, a.key, a.name, leaseTTL)
	})
	if err != nil {
		a.unlock() // the Store may have granted it
		return err
	}
	if fence == 0 {
		a.wait(ctx, leaseTTL)
		return nil
	}
	l := &lease{fence: fence}
	l.until.Store(int64(asked + leaseTTL))
	beat, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() { _ = flight.Guard(func() { a.keepLease(beat, l) }) }()
	l.end = func() {
		cancel()
		a.unlock()
	}
	a.lease, a.leased = l, true
	return nil
}

func (a *attempt) unlock() {
	h := a.c.replicas
	_, _ = try(context.Background(), h, func(ctx context.Context) (bool, error) {
		return h.locker.Unlock(ctx, a.key, a.name)
	})
}

// keepLease extends l until ctx ends or the lease is lost.
func (a *attempt) keepLease(ctx context.Context, l *lease) {
	c, h := a.c, a.c.replicas
	tick := time.NewTicker(leaseTTL / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := c.since()
		ok, err := try(ctx, h, func(ctx context.Context) (bool, error) {
			return h.locker.Extend(ctx, a.key, a.name, leaseTTL)
		})
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && ok:
			l.until.Store(int64(asked + leaseTTL))
		case err == nil || !h.holds(l):
			l.until.Store(0)
			c.event(a.cause, providers.Event{Kind: "lease_lost"})
			c.warn("tokencache: lost the lease of a record; the work on it begins again", "nothing, unless it lasts: the store or this process was slow")
			return
		}
	}
}

// watch tells an attempt that its record has changed.
type watch struct {
	signal <-chan struct{}
	ended  bool // before its context
}

// watch starts a watch of key, which ends with ctx.
func (h *replicas) watch(ctx context.Context, key string) (<-chan struct{}, error) {
	return try(ctx, h, func(context.Context) (<-chan struct{}, error) { return h.watcher.Watch(ctx, key) })
}

// wait waits at most d for the record to change. The first wait only starts the
// watch, because the record may have changed before.
func (a *attempt) wait(ctx context.Context, d time.Duration) {
	every := pollEvery
	if h := a.c.replicas; h.watcher != nil && !a.watch.ended {
		if a.watch.signal == nil {
			if ch, err := h.watch(ctx, a.key); err == nil && ch != nil {
				a.watch.signal = ch
				return
			}
		} else {
			every = lookEvery
		}
	}
	timer := time.NewTimer(min(d, every))
	defer timer.Stop()
	select {
	case _, ok := <-a.watch.signal:
		if !ok {
			a.watch.signal, a.watch.ended = nil, true
		}
	case <-timer.C:
	case <-ctx.Done():
	}
}
