package tokencache

import (
	"context"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// want is what a caller wants, and for which request.
type want struct {
	record.Want
	req          *providers.Request
	owner        owner            // Refresh: what is known of the refresh token
	token        *providers.Token // Adopt: the token brought
	ahead        bool             // nobody waits: the current token is still served
	failIfPurged bool             // fails if a Purge overtakes it, instead of asking for another token
	since        *uint64          // fails unless the grant has been signed out as often; nil: not looked at
}

// shares reports whether a caller with w takes the error of an attempt for
// other for its own.
func (w *want) shares(other *want) bool {
	return w.Kind == other.Kind && (w.Kind == record.Current || w.Kind == record.Refresh && w.Digest == other.Digest)
}

// attempt is the work on one record: at most one is under way for each entry.
// It has two ends. When it is answered, its callers have their result and
// nobody joins any more: later callers read the entry. When it is finished, the
// outcome is saved, the lease is released and the entry is free for the next
// attempt.
type attempt struct {
	c     *Cache
	e     *entry
	want  want
	cause context.Context // the values of the caller that caused the attempt, for the Observer
	began time.Time
	after <-chan struct{} // closed when the attempt before has finished; nil if there was none

	hold // on the record; only the attempt's own goroutine uses it

	// Guarded by entry.mu.
	call      *flight.Call[*providers.Token]
	purges    uint64 // the entry's when the attempt last read the record
	answered  bool
	err       error         // the answer's
	overdue   bool          // answered because FetchTimeout was over
	unsaved   bool          // answered, while the Store does not have the token yet
	calling   bool          // an upstream call is under way, or its outcome is not recorded
	joined    int           // callers besides the first
	finished  chan struct{} // closed at the end; the next attempt of the entry waits for it
	overtaken bool          // a Purge came before the answer
}

// do gets w its answer: from memory, from the attempt under way, or from a new
// one.
//
// Tokens are passed by pointer, and what is passed is small: of ten thousand
// callers that wait, each would have its stack grown for a copy.
func (c *Cache) do(ctx context.Context, k *id, w *want) (*providers.Token, error) {
	var came joined
	first := true
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := c.entry(k)
		if err != nil {
			return nil, err
		}
		j := c.join(ctx, e, w)
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
		switch { // the first two are answers to other callers' wishes: once more
		case !j.own && !w.shares(&j.attempt.want):
		case !j.own && err == nil && w.Kind == record.Current && token.Version <= w.After && w.After > 0 && !j.attempt.want.Forced:
		default:
			return token, asProviderError(err)
		}
	}
}

// overtook reports whether e was signed out, or went, since a began: its
// answer may be from before. purges is how often e had been signed out when a
// last began. It takes no lock, for all callers of a come here at once; what it
// reads of a does not change after the answer.
func (e *entry) overtook(a *attempt) (overtook bool, purges uint64) {
	return e.evicted.Load() || a.overtaken || e.view.Load().purges() != a.purges, a.purges
}

// joined is how a caller goes on: with an answer from memory, with a ticket of
// an attempt, or once more.
type joined struct {
	attempt *attempt
	ticket  flight.Ticket[*providers.Token]
	own     bool   // the attempt was begun for this caller
	purges  uint64 // how often the grant had been signed out when the caller came
	known   bool   // purges is certain: the record had been read
	again   bool
	token   *providers.Token
	err     error
}

// join answers w from memory or joins or begins an attempt. Joining or
// beginning is exact, since it happens under the entry's lock.
func (c *Cache) join(ctx context.Context, e *entry, w *want) (j joined) {
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
	r := v.known()
	defer func() { j.purges, j.known = r.Purges, c.shared == nil || r.Version != 0 }()
	if w.since != nil && r.Purges != *w.since {
		return joined{err: errSignedOut}
	}
	action := record.Decide(r, &w.Want, v.age(c.now()), c.nowFor(v), &c.rules)
	a := e.attempt
	unsaved := a != nil && a.unsaved
	switch {
	case (action.Step == record.Serve || action.Step == record.ServeAndRenew) && !(unsaved && w.Kind == record.Refresh):
		return joined{token: &r.Token}
	case unsaved:
		return joined{err: errUnsaved}
	case a != nil && a.overdue:
		return joined{err: errOverdue}
	case a != nil && !a.answered:
		a.joined++
		c.stats.coalesced.Add(1)
		return joined{attempt: a, ticket: c.flights.Join(e.flightKey())}
	case action.Step == record.FailFast:
		return joined{err: action.Err}
	}
	a, ticket := c.start(ctx, e, w)
	if a == nil {
		return joined{err: errClosed}
	}
	return joined{attempt: a, ticket: ticket, own: true}
}

func (e *entry) flightKey() string { return string(e.id[:]) }

// start begins an attempt, or returns nil if the cache is closed. Callers hold
// e.mu.
func (c *Cache) start(ctx context.Context, e *entry, w *want) (*attempt, flight.Ticket[*providers.Token]) {
	if !c.enter() {
		return nil, flight.Ticket[*providers.Token]{}
	}
	a := &attempt{
		c: c, e: e, want: *w, cause: context.WithoutCancel(ctx), began: time.Now(),
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
	return a, c.flights.Start(e.flightKey(), a.run)
}

// run is the whole life of a. The work, and whatever it calls, may panic or
// call runtime.Goexit: it runs in a goroutine of its own, and a ends in order.
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
		_ = flight.Guard(a.release) // its own release may be what panicked
	}
	a.finish()
	_ = flight.Guard(a.report)
}

// answer gives the callers of a their result and records a failure that is not
// in the record yet. Only the first answer of an attempt counts.
func (a *attempt) answer(token *providers.Token, err error) {
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	a.answerLocked(token, err)
}

// answerPurged answers a that the grant was signed out meanwhile. A caller that
// came before that fails, and one that came later begins an attempt of its own.
func (a *attempt) answerPurged() {
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	a.overtaken = a.overtaken || !a.answered
	a.answerLocked(nil, errPurged)
}

func (a *attempt) answerLocked(token *providers.Token, err error) {
	if a.answered {
		return
	}
	a.answered, a.err = true, err
	a.overtaken = a.overtaken || a.e.record().Purges != a.purges
	if err != nil && !a.overtaken {
		a.c.openWindow(a.e, err)
	}
	a.call.Answer(token, err)
}

// openWindow makes e fail fast with err, unless a window is open already.
// Callers hold e.mu.
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

// expire answers a when FetchTimeout is over. A provider that ignores its
// context keeps the attempt, and so the grant, until it returns.
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

// scheduleResolve tries again what is in doubt, although nobody asks: the
// upstream may forgive a second presentation for a short while only. Callers
// hold e.mu.
func (a *attempt) scheduleResolve() {
	c, e := a.c, a.e
	inDoubt := func() (time.Duration, bool) {
		f := e.record().Failure
		return f.Remaining(c.nowFor(e.view.Load())), e.attempt == nil && !e.evicted.Load() && f != nil && f.Err.Class == providers.InDoubt && f.N <= maxResolve
	}
	wait, ok := inDoubt()
	if !ok || a.err == nil || providers.AsError(a.err).Class != providers.InDoubt {
		return
	}
	time.AfterFunc(wait+10*time.Millisecond, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if _, ok := inDoubt(); ok {
			w := a.want
			w.ahead = true
			c.start(a.cause, e, &w)
		}
	})
}

// maxResolve is how often a call in doubt is tried again: for half a minute.
const maxResolve = 6
