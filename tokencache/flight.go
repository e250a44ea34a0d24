package tokencache

import (
	"context"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// want is a caller's wish, and the request it is for.
type want struct {
	record.Want
	req          *providers.Request
	owner        owner            // Refresh: the known owner of the refresh token
	token        *providers.Token // Adopt: the token to adopt
	ahead        bool             // no caller waits: the current token is still served
	failIfPurged bool             // fails if a Purge overtakes it; otherwise it asks for another token
	since        *uint64          // fails if the grant has been signed out more often than this; nil: no check
}

// shares reports whether a caller with w gets the error of an attempt for
// other.
func (w *want) shares(other *want) bool {
	return w.Kind == other.Kind && (w.Kind == record.Current || w.Kind == record.Refresh && w.Digest == other.Digest)
}

// attempt is the work on one record. Each entry has at most one under way. An
// attempt has two ends. When it is answered, its callers have their result and
// no caller joins it any more: later callers read the entry. When it is
// finished, the outcome is saved, the lease is released and the next attempt
// may work.
type attempt struct {
	c     *Cache
	id    id
	e     *entry
	want  want
	cause context.Context // the values of the caller that caused the attempt, for the Observer
	began time.Time
	after <-chan struct{} // closed when the previous attempt has finished; nil if there was none

	hold // on the record; only the attempt's own goroutine uses it

	// The following fields are guarded by entry.mu.
	call     *flight.Call[*providers.Token]
	purges   uint64 // the record's number of sign-outs when the attempt last read it; fixed once answered
	answered bool
	err      error         // the error of the answer
	overdue  bool          // answered because FetchTimeout was over
	unsaved  bool          // answered, while the Store does not have the token yet
	calling  bool          // an upstream call is under way, or its outcome is not recorded
	joined   int           // callers after the first
	finished chan struct{} // closed at the end; the next attempt of the entry waits for it
}

// do answers w: from memory, from the attempt under way, or from a new one.
//
// Tokens are passed by pointer, and arguments are small. Otherwise each of ten
// thousand waiting callers would have a larger stack.
func (c *Cache) do(ctx context.Context, k *id, w *want) (*providers.Token, error) {
	var came joined
	first := true
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := c.attend(ctx); err != nil {
			return nil, err
		}
		e, err := c.entry(k)
		if err != nil {
			return nil, err
		}
		j := c.join(ctx, k, e, w)
		if j.again {
			continue
		}
		if first {
			came, first = j, false
		}
		if w.failIfPurged && came.known && came.purges < j.purges {
			return nil, errSignedOut
		}
		if j.attempt == nil {
			return j.token, j.err
		}
		token, err := j.ticket.Wait(ctx)
		if ctx.Err() != nil && err == ctx.Err() {
			return nil, err
		}
		overtook, purges := e.overtook(j.attempt)
		switch {
		case w.failIfPurged && (overtook && came.purges <= purges || came.known && came.purges < purges):
			return nil, errSignedOut
		case overtook:
			continue
		}
		switch { // in the first two cases the answer was for another wish: try again
		case !j.own && !w.shares(&j.attempt.want):
		case !j.own && err == nil && w.Kind == record.Current && token.Version <= w.After && w.After > 0 && !j.attempt.want.Forced:
		default:
			return token, asProviderError(err)
		}
	}
}

// overtook reports whether e was signed out or evicted since a began. The
// answer may then be outdated. purges is how often e had been signed out when a
// last began. It takes no lock, because all callers of a call it at the same
// time. The fields of a that it reads do not change after the answer.
func (e *entry) overtook(a *attempt) (overtook bool, purges uint64) {
	return e.evicted.Load() || e.view.Load().purges() != a.purges, a.purges
}

// joined says how a caller continues: with an answer from memory, with a ticket
// of an attempt, or by joining again.
type joined struct {
	attempt *attempt
	ticket  flight.Ticket[*providers.Token]
	own     bool   // the attempt was started for this caller
	purges  uint64 // how often the grant had been signed out when the caller came
	known   bool   // purges is exact: the record had been read
	again   bool
	token   *providers.Token
	err     error
}

// join answers w from memory, or joins or starts an attempt. It holds the
// entry's lock, so no caller starts a second attempt.
func (c *Cache) join(ctx context.Context, k *id, e *entry, w *want) (j joined) {
	defer func() {
		if j.attempt == nil && j.err != nil && !errors.Is(j.err, errClosed) {
			c.failedFast(ctx, j.err)
		}
	}()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.evicted.Load() {
		return joined{again: true}
	}
	v := e.view.Load()
	defer func() { j.purges, j.known = v.purges(), c.replicas == nil || v.version() != 0 }()
	if w.since != nil && v.purges() != *w.since {
		return joined{err: errSignedOut}
	}
	action := c.decide(v, &w.Want)
	a := e.attempt
	unsaved := a != nil && a.unsaved
	switch {
	case (action.Step == record.Serve || action.Step == record.ServeAndRenew) && !(unsaved && w.Kind == record.Refresh):
		return joined{token: &v.Token}
	case unsaved:
		return joined{err: errUnsaved}
	case a != nil && a.overdue:
		return joined{err: errOverdue}
	case a != nil && !a.answered:
		a.joined++
		c.stats.coalesced.Add(1)
		return joined{attempt: a, ticket: c.flights.Join(k.flightKey())}
	case action.Step == record.FailFast:
		return joined{err: action.Err}
	}
	a, ticket := c.start(ctx, k, e, w)
	if a == nil {
		return joined{err: errClosed}
	}
	return joined{attempt: a, ticket: ticket, own: true}
}

// decide says what w needs of v. It is not part of join, because callers wait in
// the stack of join and the record is large, see do.
func (c *Cache) decide(v *view, w *record.Want) record.Action {
	r := v.record()
	return record.Decide(&r, w, v.age(c.now()), c.nowFor(v), &c.rules)
}

func (k *id) flightKey() string { return string(k[:]) }

// start starts an attempt, or returns nil if the cache is closed. Callers hold
// e.mu.
func (c *Cache) start(ctx context.Context, k *id, e *entry, w *want) (*attempt, flight.Ticket[*providers.Token]) {
	if !c.enter() {
		return nil, flight.Ticket[*providers.Token]{}
	}
	a := &attempt{
		c: c, id: *k, e: e, want: *w, cause: context.WithoutCancel(ctx), began: time.Now(),
		purges: e.record().Purges, finished: make(chan struct{}),
	}
	req := cloneRequest(*w.req)
	a.want.req = &req
	if w.Kind != record.Refresh {
		a.want.owner = owner{tenant: w.req.Tenant}
	}
	if e.attempt != nil {
		a.after = e.attempt.finished
	}
	e.attempt = a
	c.stats.attempts.Add(1)
	return a, c.flights.Start(k.flightKey(), a.run)
}

// run runs a from its start to its end. The work and the code that it calls may
// panic or call runtime.Goexit. The work therefore runs in a separate goroutine,
// and a is finished in any case.
func (a *attempt) run(call *flight.Call[*providers.Token]) {
	c := a.c
	defer c.leave()
	a.e.mu.Lock()
	a.call = call
	a.e.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.ctx, c.o.FetchTimeout)
	defer cancel()
	deadline := time.AfterFunc(c.o.FetchTimeout, a.expire)
	defer deadline.Stop()
	err := flight.Guard(func() { a.work(ctx) })
	if err != nil {
		c.reportPanic(err)
		a.answer(nil, asProviderError(err))
		_ = flight.Guard(a.release) // release may be the call that panicked
	}
	a.finish()
	a.report()
}

// answer gives the callers of a their result and records a failure that the
// record does not have yet. Only the first answer of an attempt counts.
func (a *attempt) answer(token *providers.Token, err error) {
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	a.answerLocked(token, err)
}

func (a *attempt) answerLocked(token *providers.Token, err error) {
	if a.answered {
		return
	}
	a.answered, a.err = true, err
	if err != nil && a.e.record().Purges == a.purges {
		a.c.openWindow(a.e, err)
	}
	a.call.Answer(token, err)
}

// openWindow makes e fail fast with err, unless it already fails fast. Callers
// hold e.mu.
func (c *Cache) openWindow(e *entry, err error) {
	pe := providers.AsError(err)
	r, now := e.record(), c.nowFor(e.view.Load())
	if r.Failure.Remaining(now) > 0 || pe.Code == providers.CodeRefreshRejected || errors.Is(err, errOverdue) {
		return
	}
	intent := r.Intent
	r = r.Fail(record.Fault{Err: pe, Jitter: c.jitter()}, "", now)
	r.Intent = intent
	c.amend(e, r)
}

// expire answers a when FetchTimeout is over, or the cache is closed. If a
// provider ignores its context, the attempt keeps the grant until the provider
// returns.
func (a *attempt) expire() {
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	if !a.answered {
		a.overdue = true
		a.c.stats.overdue.Add(1)
		a.answerLocked(nil, errOverdue)
	}
}

// finish frees the entry for the next attempt.
func (a *attempt) finish() {
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	a.answerLocked(nil, errExited)
	if a.overdue {
		a.c.stats.overdue.Add(^uint64(0))
	}
	if a.e.attempt == a {
		a.e.attempt = nil
	}
	close(a.finished)
	a.scheduleResolve()
}

// scheduleResolve retries a call whose outcome is in doubt, also if no caller
// asks: some upstreams accept a second presentation for a short time only.
// Nothing is done with an assertion unless its caller asks. Callers hold e.mu.
func (a *attempt) scheduleResolve() {
	if a.err == nil || forAssertion(a.want.req) {
		return
	}
	c, e := a.c, a.e
	inDoubt := func() (time.Duration, bool) {
		f := e.record().Failure
		return f.Remaining(c.nowFor(e.view.Load())), e.attempt == nil && !e.evicted.Load() && f != nil && f.Err.Class == providers.InDoubt && f.N <= maxResolve
	}
	wait, ok := inDoubt()
	if !ok || providers.AsError(a.err).Class != providers.InDoubt {
		return
	}
	time.AfterFunc(wait+10*time.Millisecond, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if _, ok := inDoubt(); ok {
			w := a.want
			w.ahead = true
			c.start(a.cause, &a.id, e, &w)
		}
	})
}

// maxResolve is how often a call in doubt is retried: for half a minute.
const maxResolve = 6
