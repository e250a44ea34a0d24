package tokencache

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// turn is a flight's hold on a record, from the first look to the last write.
type turn struct {
	c     *Cache
	e     *entry
	f     *flight
	key   string // the record's in the Store
	owner string // this flight's name among all replicas
	rec   record // as last read

	locked bool
	lease  *lease // nil with locked: the Store has no leases
	stale  int    // how often a later lease had written the record
	signal <-chan struct{}
	blind  bool // a watch ended early
	alone  bool // Shared only: the Store is down, go on without it
}

// maxTurns bounds how often a flight starts over because its record changed.
const maxTurns = 16

// fly does f's job. It returns only when the provider has.
func (c *Cache) fly(ctx context.Context, e *entry, f *flight) (providers.Token, error) {
	t := &turn{c: c, e: e, f: f, key: c.sealer.name("t", e.id), owner: rand.Text()}
	defer t.release()
	for range maxTurns {
		a, tok, err := t.claim(ctx)
		if a.op == "" {
			return tok, err
		}
		if ok, err := t.declare(ctx, a); err != nil {
			return providers.Token{}, err
		} else if !ok {
			continue
		}
		sent := c.wallNow()
		if a.op == "adopt" {
			tok = f.job.tok
		} else {
			tok, sent, err = c.call(ctx, f, a)
		}
		tok, err, again := t.settle(ctx, a, tok, sent, err)
		if !again {
			return tok, err
		}
	}
	return providers.Token{}, fault(providers.CodeBusy, providers.Transient, "the record keeps changing", nil)
}

// claim reads the record until the flight may act on it, having the lease, or
// needs not.
func (t *turn) claim(ctx context.Context) (action, providers.Token, error) {
	c := t.c
	for {
		if err := t.load(ctx, true); err != nil {
			return action{}, providers.Token{}, err
		}
		a, tok, err := t.judge(c.wallNow())
		if a.op == "" || t.alone || c.o.Store == nil {
			return a, tok, err
		}
		ready, err := t.ready(ctx)
		if err != nil {
			return action{}, tok, err
		}
		if ready {
			return a, tok, nil
		}
		if ctx.Err() != nil {
			return action{}, providers.Token{}, fault(providers.CodeTimeout, providers.Transient, "another replica did not finish in time", context.Cause(ctx))
		}
	}
}

// ready reports whether the flight may act on the record as read. If not, it
// has taken the lease or waited, and the record must be read again.
func (t *turn) ready(ctx context.Context) (bool, error) {
	c := t.c
	switch wait := t.foreign(c.wallNow()); {
	case !t.locked:
		if err := t.take(ctx); err != nil {
			return t.goAlone(), t.orDown(err)
		}
	case !c.holds(t.lease):
		t.release()
	case t.lease != nil && t.lease.fence < t.rec.fence && t.stale < 3:
		t.stale++
		t.release()
		t.await(ctx, pollEvery)
	case wait > 0:
		t.await(ctx, wait)
	default:
		return true, nil
	}
	return false, nil
}

func (t *turn) take(ctx context.Context) error {
	if t.c.locker == nil || t.c.ablate.noLease {
		t.locked = true
		return nil
	}
	l, err := t.lock(ctx)
	if err != nil {
		return err
	}
	if l == nil {
		t.await(ctx, leaseTTL)
		return nil
	}
	t.lease, t.locked = l, true
	return nil
}

func (t *turn) release() {
	if t.lease != nil {
		t.lease.end()
	}
	t.lease, t.locked = nil, false
}

// foreign is how long to wait for an upstream call that another flight may
// have under way although the lease is ours: the Store may have lost theirs.
func (t *turn) foreign(now time.Time) time.Duration {
	i := t.rec.intent
	if i == nil || i.ended || i.owner == t.owner || t.c.mode == providers.Shared {
		return 0
	}
	length := t.c.attempt + intentMargin
	wait := min(i.at.Add(length).Sub(now), length)
	// After an outage, whoever holds an unsaved token saves it first.
	back := time.Duration(t.c.storeFailed.Load()) + saveHeadStart - time.Since(t.c.base)
	return max(wait, back, 0)
}

const (
	// intentMargin is how far the clocks of replicas may be apart.
	intentMargin  = 2 * time.Second
	saveHeadStart = 3 * time.Second
)

// declare writes the intent to do a; false if the record has changed or the
// lease is gone.
func (t *turn) declare(ctx context.Context, a action) (bool, error) {
	if a.op == "adopt" || t.c.mode == providers.Shared || t.c.o.Store == nil || t.c.ablate.noIntent {
		return true, nil
	}
	r := t.rec
	r.intent = &intent{owner: t.owner, at: t.c.wallNow()}
	if t.lease != nil {
		r.fence = max(r.fence, t.lease.fence)
	}
	ok, err := t.c.write(ctx, t.key, &r)
	if err != nil {
		return false, t.orDown(err)
	}
	if ok {
		t.rec = r
	}
	return ok && t.c.holds(t.lease), nil
}

// orDown is err as callers see it: the Store failed and the mode does not
// allow to go on without it.
func (t *turn) orDown(err error) error {
	if t.alone {
		return nil
	}
	return t.c.down(err)
}

// down is the error of a Store that cannot be reached.
func (c *Cache) down(err error) error {
	var pe *providers.Error
	if errors.As(err, &pe) {
		return err
	}
	return &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Op: "tokencache", Description: "the token store is unavailable", RetryAfter: time.Second, Err: err}
}

// goAlone lets a Shared flight go on without the Store, and reports whether it
// may.
func (t *turn) goAlone() bool {
	if t.c.mode == providers.Shared && !t.alone {
		t.alone = true
		t.c.event(Event{Kind: "uncoordinated"})
	}
	return t.alone
}
