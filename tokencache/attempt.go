package tokencache

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// hold is an attempt's access to its record.
type hold struct {
	key    string        // the record's, in the Store
	name   string        // the attempt's, among all replicas; "" without a Store
	record record.Record // as last read
	rev    uint64        // of record in the Store
	lease  *lease        // nil: not taken, or the Store has no leases
	leased bool          // the lease is taken, or the Store has no leases
	fenced int           // how often a later lease had written the record
	watch  watch
	slot   bool // one of MaxFlights is taken
	alone  bool // Shared: the attempt continues without the Store
	foreign
	confirmed  bool   // no replica has newer tokens than the Store
	rollCalled bool   // the other replicas were asked for newer tokens
	op         string // the last upstream call
}

// foreign is another attempt's intent, and how long this attempt waits for it.
type foreign struct {
	intent record.Intent
	until  time.Duration // on the monotonic clock
}

// maxRounds bounds how often an attempt starts over because its record changed.
const maxRounds = 16

// work does the steps of a: acquire the record, decide, write the intent, call,
// record the outcome. It returns only after the provider has returned.
func (a *attempt) work(ctx context.Context) {
	defer a.release()
	if a.after != nil {
		select {
		case <-a.after:
		case <-ctx.Done():
			a.expire()
			return
		}
	}
	a.c.event(a.cause, providers.Event{Kind: "flight_started"})
	if a.c.replicas != nil {
		a.name = rand.Text()
		a.key = a.c.replicas.recordKey(&a.id)
	}
	for range maxRounds {
		action, err := a.acquire(ctx)
		if err == nil && a.settled(action) {
			return
		}
		written := false
		if err == nil {
			written, err = a.writeIntent(ctx, action)
		}
		switch {
		case err != nil && ctx.Err() != nil:
			a.expire() // its timer ends at the same time as ctx
			return
		case err != nil:
			a.answer(nil, err)
			return
		case !written:
			continue
		}
		a.setCalling(true)
		if a.recordOutcome(ctx, action, a.perform(action)) {
			return
		}
		a.setCalling(false)
	}
	a.answer(nil, fault(providers.CodeBusy, providers.Transient, "the record keeps changing", nil))
}

// setCalling records whether a has an upstream call under way.
func (a *attempt) setCalling(calling bool) {
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	a.calling = calling
}

// answerWith answers a with a copy of token.
func (a *attempt) answerWith(token providers.Token) { a.answer(&token, nil) }

// settled answers a if action needs no more work.
func (a *attempt) settled(action record.Action) bool {
	switch action.Step {
	case record.Serve, record.ServeAndRenew, record.Done:
		a.answerWith(a.record.Token)
	case record.FailFast:
		a.answer(nil, action.Err)
	case record.Reject:
		a.answer(nil, errRejected)
	default:
		return false
	}
	return true
}

// acquire reads the record and returns what to do with it. If that changes the
// grant, a then holds the record: a has its lease and a slot for the call, and
// no other attempt's call is under way.
func (a *attempt) acquire(ctx context.Context) (record.Action, error) {
	for {
		if err := a.load(ctx, true); err != nil {
			return record.Action{}, err
		}
		action := a.decide()
		if !action.Upstream() && action.Step != record.Install {
			return action, nil
		}
		ready, err := a.prepare(ctx, action)
		switch {
		case err != nil:
			return record.Action{}, err
		case ready:
			return action, nil
		case ctx.Err() != nil:
			return record.Action{}, errOverdue
		}
	}
}

func (a *attempt) decide() record.Action {
	v := a.e.view.Load()
	w := &a.want
	w.Unknown = w.owner.claimed
	age := record.Over
	if v != nil && sameToken(&v.Token, &a.record.Token) {
		age = v.age(a.c.now())
	} else if a.record.Usable(a.c.wallNow()) {
		age = record.Fresh
	}
	return record.Decide(&a.record, &w.Want, age, a.c.nowFor(v), &a.c.rules)
}

// prepare reports whether a may act on the record as read. If not, prepare has
// done one step towards that or has waited, and the record must be read again.
func (a *attempt) prepare(ctx context.Context, action record.Action) (bool, error) {
	if a.c.replicas != nil && !a.alone {
		if ready, err := a.prepareStored(ctx, action); !ready || err != nil {
			return false, err
		}
	}
	if !action.Upstream() || a.slot {
		return true, nil
	}
	waited, err := a.takeSlot(ctx)
	return !waited, err
}

// takeSlot waits for one of the MaxFlights slots. If waited is true, the record
// may have changed during the wait.
func (a *attempt) takeSlot(ctx context.Context) (waited bool, err error) {
	select {
	case a.c.slots <- struct{}{}:
		a.slot = true
		return false, nil
	default:
	}
	select {
	case a.c.slots <- struct{}{}:
		a.slot = true
		return true, nil
	case <-ctx.Done():
		return true, ctx.Err()
	}
}

func (a *attempt) freeSlot() {
	if a.slot {
		a.slot = false
		<-a.c.slots
	}
}

// release gives back the lease and the slot.
func (a *attempt) release() {
	a.freeSlot()
	a.releaseLease()
}

func (a *attempt) releaseLease() {
	if a.lease != nil {
		a.lease.end()
	}
	a.lease, a.leased = nil, false
}

// load reads the record. If begin is true, the attempt counts as started now:
// only a later Purge overtakes it.
func (a *attempt) load(ctx context.Context, begin bool) error {
	if a.c.replicas != nil && !a.alone {
		err := a.loadStored(ctx, begin)
		if err == nil || !a.goAlone() {
			return err
		}
	}
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	a.record = a.e.record()
	if begin && !a.answered {
		a.purges = a.record.Purges
	}
	return nil
}

// goAlone reports whether a may continue without the Store after a call of the
// Store failed. Only a Shared attempt may.
func (a *attempt) goAlone() bool {
	if a.c.rules.Mode == providers.Shared && !a.alone {
		a.alone = true
		a.c.event(a.cause, providers.Event{Kind: "uncoordinated"})
	}
	return a.alone
}

// outcome is what an upstream call returned.
type outcome struct {
	token providers.Token
	sent  time.Time
	err   error
}

// perform does action: it calls the upstream, or returns the token to install.
func (a *attempt) perform(action record.Action) outcome {
	c := a.c
	if action.Step == record.Install {
		return outcome{token: *a.want.token, sent: c.wallNow()}
	}
	a.op = "generate"
	if action.Step == record.CallRefresh {
		a.op = "refresh"
	}
	c.stats.calls.Add(1)
	// The context is not derived from that of the attempt: the call has its
	// whole time even if acquiring the record took long.
	ctx, cancel := context.WithTimeout(c.ctx, c.callLimit)
	defer cancel()
	o := outcome{sent: c.wallNow()}
	if panicked := flight.Guard(func() {
		if action.Step == record.CallRefresh {
			o.token, o.err = c.refresher.Refresh(ctx, *a.want.req, action.RefreshToken)
		} else {
			o.token, o.err = c.p.Generate(ctx, *a.want.req)
		}
	}); panicked != nil {
		c.reportPanic(panicked)
		o.token, o.err = providers.Token{}, asProviderError(panicked)
	}
	a.freeSlot()
	if action.Step == record.CallRefresh && a.knowsGrant() {
		c.deaths.asked(c.since())
	}
	o.err = explain(classify(action, o.err))
	return o
}

// explain adds, for logs, why a grant may be missing.
func explain(err error) error {
	pe, ok := err.(*providers.Error)
	if !ok || pe.Code != providers.CodeGrantRequired || pe.Err != nil {
		return err
	}
	e := *pe
	e.Err = errAnotherGrant
	return &e
}

// classify returns err as the cache understands it. If the provider gives no
// class, the outcome of a refresh is in doubt.
func classify(action record.Action, err error) error {
	if err == nil {
		return nil
	}
	var pe *providers.Error
	if errors.As(err, &pe) && !errors.Is(err, errProvider) {
		return err
	}
	e := *providers.AsError(err)
	if action.Step == record.CallRefresh {
		e.Class = providers.InDoubt
	}
	return &e
}
