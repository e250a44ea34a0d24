package tokencache

import (
	"cmp"
	"context"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// recordOutcome writes the result of the call and answers a. It returns false
// if a must read the record again.
func (a *attempt) recordOutcome(ctx context.Context, action record.Action, o outcome) (done bool) {
	if ctx.Err() != nil { // the callers have been answered, and the outcome still counts
		late, cancel := context.WithTimeout(a.c.ctx, a.c.callLimit)
		defer cancel()
		ctx = late
	}
	if o.err == nil && o.token.AccessToken == "" && action.Step != record.Install {
		o.err = badResponse(action, "the provider returned an empty token")
	}
	if o.err != nil {
		salvaged := o.token.RefreshToken != "" && action.Step == record.CallRefresh && o.token.RefreshToken != action.RefreshToken
		if salvaged {
			return a.recordSalvage(ctx, action, o)
		}
		return a.recordFailure(ctx, action, providers.AsError(o.err))
	}
	return a.recordToken(ctx, action, o)
}

func (a *attempt) recordToken(ctx context.Context, action record.Action, o outcome) (done bool) {
	c, now := a.c, a.c.wallNow()
	bound := forAssertion(a.want.req)
	if bound {
		token, keep := record.Bind(o.token, a.want.req, now)
		if !keep { // the callers that wait get it, and it is not kept
			o.token.RefreshToken = ""
			a.answerWith(o.token)
			return true
		}
		o.token = token
	}
	token := record.Normalize(o.token, o.sent, now, cmp.Or(c.o.DefaultLifetime, 5*time.Minute), c.o.DefaultLifetime > 0)
	if action.Step != record.Install && !now.Before(record.ServeUntil(&token)) {
		// Its refresh token may be the only valid one, so it is kept but not
		// served.
		o.err = badResponse(record.Action{}, "the provider returned an expired token")
		return a.recordSalvage(ctx, action, o)
	}
	usable, before := a.record.Usable(now), a.record.Spent
	success := record.Success{
		Token: token, Forced: a.want.Forced && usable, Brought: a.brings(action), Bound: bound,
		Tenant: a.want.owner.tenant, Anonymous: a.want.owner.anonymous,
	}
	superseded := usable && c.rules.Mode == providers.Exclusive
	change := func(r record.Record) record.Record {
		success.Replaced = a.replaced(r.Token.RefreshToken, action.RefreshToken, token.RefreshToken)
		r = r.Succeed(success, now)
		success.Version = r.Version // a retry keeps the version
		return r
	}
	switch result, err := a.persist(ctx, token, change); {
	case err != nil:
		a.answer(nil, err)
		return true
	case result == overtakenByPurge:
		a.discard(ctx, token)
		a.answer(nil, errPurged)
		return true
	case result == overtakenByToken:
		return false
	}
	a.answerWith(a.record.Token)
	a.indexSpent(ctx, before)
	if superseded && c.replicas != nil {
		c.replicas.announceLater(notice{ID: a.id[:], Version: a.record.Version})
	}
	return true
}

// brings reports whether the grant that action changes came by Adopt or
// Refresh.
func (a *attempt) brings(action record.Action) bool {
	switch action.Step {
	case record.Install:
		return true
	case record.CallRefresh:
		return a.record.Brought || !a.knowsGrant()
	}
	return false
}

// recordSalvage keeps the refresh token of an answer without a usable access
// token, and answers with the error.
func (a *attempt) recordSalvage(ctx context.Context, action record.Action, o outcome) (done bool) {
	c, now := a.c, a.c.wallNow()
	pe := *providers.AsError(o.err)
	if pe.Class == providers.InDoubt {
		pe.Class = providers.Transient // the outcome is known: the token is replaced
	}
	if o.token.RefreshToken == "" {
		return a.recordFailure(ctx, action, &pe)
	}
	before := a.record.Spent
	change := func(r record.Record) record.Record {
		s := record.Success{
			Token: o.token, Brought: a.brings(action), Tenant: a.want.owner.tenant, Anonymous: a.want.owner.anonymous,
			Replaced: a.replaced(r.Token.RefreshToken, action.RefreshToken, o.token.RefreshToken),
		}
		return r.Salvage(s, c.rules.Mode, record.Fault{Err: &pe, Jitter: c.jitter()}, now)
	}
	switch result, err := a.persist(ctx, o.token, change); {
	case err != nil:
		a.answer(nil, err)
		return true
	case result != persisted:
		return false
	}
	if a.record.SalvagedTooOften() {
		c.logError("tokencache: the provider answers with refresh tokens and no access token that can be used; the grant is left alone for a day", "look whether the upstream's API changed", "error", &pe)
	}
	a.answer(nil, &pe)
	a.indexSpent(ctx, before)
	return true
}

// recordFailure writes that the call failed.
func (a *attempt) recordFailure(ctx context.Context, action record.Action, pe *providers.Error) (done bool) {
	c := a.c
	refused := action.Step == record.CallRefresh && pe.Code == providers.CodeRefreshRejected && pe.Class == providers.Permanent
	if refused && a.want.Kind == record.Current && !a.want.RefreshRefused {
		// The upstream may have refused our own key and not the refresh token.
		// A new token shows which.
		a.want.RefreshRefused = true
		return false
	}
	dead := pe.Class == providers.GrantDead && action.Step == record.CallRefresh
	if dead && a.knowsGrant() && c.deaths.suspicious(c.since()) {
		c.logError("tokencache: most refresh tokens of this provider were refused within a minute; that is taken for a fault of our configuration, and the grants are kept", "look for a changed client or endpoint", "error", pe)
		e := *pe
		e.Class, pe, dead = providers.Permanent, &e, false
	}
	result, err := a.save(ctx, func(r record.Record) record.Record {
		if dead {
			return r.Die(action.RefreshToken, c.rules.Mode)
		}
		return r.Fail(record.Fault{Err: pe, Jitter: c.jitter()}, a.name, c.nowFor(a.e.view.Load()))
	})
	switch {
	case err == nil && result == overtakenByPurge:
		a.answer(nil, errPurged)
		return true
	case err == nil && result != persisted:
		return false // another attempt was faster; its token is not ours to end
	case !dead:
		a.answer(nil, pe)
		return true
	case err != nil:
		a.answer(nil, storeError(err))
		return true
	}
	a.markDead(ctx, action.RefreshToken)
	if a.want.Kind == record.Current {
		return false // the caller has its own grant, so it generates once
	}
	a.answer(nil, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: pe.Op, Status: pe.Status, Err: pe})
	return true
}

// knowsGrant reports whether the cache had the refresh token before. Any other
// text may have been presented by any caller.
func (a *attempt) knowsGrant() bool { return !a.want.owner.claimed && a.record.Version != 0 }

// discard revokes a token that a purge overtook.
func (a *attempt) discard(ctx context.Context, token providers.Token) {
	if err := a.c.revoke(ctx, token); err != nil {
		a.c.warn("tokencache: a token that a sign-out overtook was not revoked; no caller has it, and it is valid until its end", "revoke it at the upstream if it must not", "error", providers.AsError(err))
	}
}

// result is how a save ended.
type result int

const (
	persisted        result = iota
	overtakenByToken        // another attempt has stored a newer token
	overtakenByPurge        // the grant was signed out meanwhile
)

// save applies change to the record and stores it, unless another attempt has
// changed the record since it was acquired.
func (a *attempt) save(ctx context.Context, change func(record.Record) record.Record) (result, error) {
	base := a.record
	for range maxRounds {
		r := change(a.record)
		written := true
		if a.c.replicas != nil && !a.alone {
			var err error
			if written, err = a.write(ctx, &r); err != nil && !a.goAlone() {
				return persisted, err
			}
		}
		if written || a.alone {
			return a.commit(r), nil
		}
		if err := a.load(ctx, false); err != nil {
			return persisted, err
		}
		switch {
		case a.record.Purges != base.Purges:
			return overtakenByPurge, nil
		case a.record.Token.Version > base.Token.Version:
			return overtakenByToken, nil
		}
	}
	return persisted, fault(providers.CodeInternal, providers.Transient, "the token store refuses every write", nil)
}

// commit makes a stored record the one that this process knows.
func (a *attempt) commit(r record.Record) result {
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	if a.e.record().Purges != a.purges {
		return overtakenByPurge
	}
	a.record = r
	if a.alone {
		a.c.amend(a.e, r)
	} else {
		a.c.install(a.e, r)
	}
	return persisted
}

// persist stores a new token and its index entry, however long that takes.
// Until then the access token is served, and its refresh token is not
// presented.
func (a *attempt) persist(ctx context.Context, next providers.Token, change func(record.Record) record.Record) (result, error) {
	once := func(ctx context.Context) (result, error) {
		if err := a.c.indexToken(ctx, next, a.owns()); err != nil && !a.goAlone() {
			return persisted, err
		}
		return a.save(ctx, change)
	}
	how, err := once(ctx)
	if err == nil {
		return how, nil
	}
	a.serveUnsaved(change)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		select {
		case <-a.c.ctx.Done():
			a.c.o.Logger.Error("tokencache: closed with a token that the store does not have; its grant may be lost", "do", "nothing: its user may have to sign in again")
			return persisted, storeError(err)
		case <-time.After(wait):
		}
		if how, err = once(a.c.ctx); err == nil {
			return how, nil
		}
	}
}

// serveUnsaved serves the result of change before it is stored, without its
// refresh token.
func (a *attempt) serveUnsaved(change func(record.Record) record.Record) {
	c := a.c
	c.event(a.cause, providers.Event{Kind: "unsaved"})
	c.warn("tokencache: a token could not be stored; it is served from memory, and storing it is tried again. If this process ends before, its grant may be lost", "bring the store back before this process ends")
	r := change(a.record)
	r.Token.RefreshToken = ""
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	a.unsaved = true
	if a.e.record().Purges == a.purges {
		c.install(a.e, r)
	}
	if a.want.Kind == record.Current && r.Usable(c.wallNow()) {
		a.answerLocked(&r.Token, nil)
	} else {
		a.answerLocked(nil, errUnsaved)
	}
}

// replaced returns the digests of the refresh tokens that next replaces.
func (a *attempt) replaced(current, presented, next string) []record.Digest {
	var digests []record.Digest
	for _, token := range []string{current, presented} {
		if token != "" && token != next && (len(digests) == 0 || current != presented) {
			digests = append(digests, a.c.tokenDigest(token))
		}
	}
	return digests
}
