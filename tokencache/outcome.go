package tokencache

import (
	"context"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// settle records the outcome of a. again asks for another turn.
func (t *turn) settle(ctx context.Context, a action, tok providers.Token, sent time.Time, err error) (_ providers.Token, _ error, again bool) {
	c, now := t.c, t.c.wallNow()
	adopted := a.op == "adopt"
	if err == nil && tok.AccessToken == "" && !adopted {
		err = bad(a, "the provider returned an empty token")
	}
	if err != nil {
		return t.fail(ctx, a, providers.AsError(err))
	}
	tok = normalize(tok, sent, now, c.o.DefaultLifetime)
	forced := t.f.job.forced && t.rec.usable(now)
	superseded := t.rec.usable(now) && c.mode == providers.Exclusive
	var expired error
	if !now.Before(hardOf(&tok)) && !adopted {
		// Its refresh token may be the only good one: kept, but not served.
		expired = bad(action{}, "the provider returned an expired token")
	}
	version := uint64(0)
	apply := func(r *record) {
		gone := t.gone(r.token.RefreshToken, a.rt, tok.RefreshToken)
		failed, last := r.fail, r.version
		r.replace(tok, gone, c.o.Grace, now)
		if version >= last && version != 0 { // the token has its version already
			r.version, r.token.Version = version, version
		}
		version = r.version
		if forced {
			r.forced = now
		}
		if expired != nil {
			r.fail = nextFailure(failed, providers.AsError(expired), now)
		}
	}
	switch how, err := t.keep(ctx, a, tok.RefreshToken, apply); {
	case err != nil:
		return providers.Token{}, err, false
	case how == purged:
		t.discard(ctx, tok)
		if adopted {
			return providers.Token{}, errPurged, false
		}
		return providers.Token{}, nil, true
	case how == overtaken:
		return providers.Token{}, nil, true
	case expired != nil:
		return providers.Token{}, expired, false
	}
	if superseded {
		c.announce(ctx, t.e.id, t.rec.version)
	}
	return t.rec.token, nil, false
}

// gone are the digests of the refresh tokens that next replaces.
func (t *turn) gone(cur, presented, next string) []id {
	var gone []id
	for _, rt := range slices.Compact([]string{cur, presented}) {
		if rt != "" && rt != next {
			gone = append(gone, t.c.digest("rt", rt))
		}
	}
	return gone
}

// discard revokes a token that a purge overtook.
func (t *turn) discard(ctx context.Context, tok providers.Token) {
	if err := t.c.revoke(ctx, tok); err != nil {
		t.c.o.Logger.Warn("tokencache: a token that a purge overtook was not revoked", "error", providers.AsError(err))
	}
}

// fail records that a failed.
func (t *turn) fail(ctx context.Context, a action, err *providers.Error) (_ providers.Token, _ error, again bool) {
	c := t.c
	dead := err.Class == providers.GrantDead && a.op == "refresh"
	how, saveErr := t.save(ctx, func(r *record) {
		switch {
		case !dead:
			r.fail = nextFailure(r.fail, err, c.wallNow())
			if left := hardOf(&r.token).Sub(r.fail.at); left > 0 && err.RetryAfter == 0 {
				r.fail.wait = min(r.fail.wait, max(left/2, minBackoff)) // the token will be over, and callers then wait
			}
			if r.intent != nil && err.Class == providers.InDoubt {
				r.intent = &intent{owner: t.owner, at: r.intent.at, ended: true}
				return
			}
		case r.token.RefreshToken == a.rt && c.mode == providers.Exclusive:
			r.token = providers.Token{} // the pair dies together
		case r.token.RefreshToken == a.rt:
			r.token.RefreshToken = ""
		}
		r.intent = nil
	})
	switch {
	case saveErr == nil && how != kept:
		return providers.Token{}, nil, true // somebody was faster; their token is not ours to end
	case !dead:
		return providers.Token{}, err, false
	case saveErr != nil:
		return providers.Token{}, t.orDown(saveErr), false
	}
	if err := t.index(ctx, true, a.rt); err != nil {
		c.o.Logger.Warn("tokencache: a dead refresh token was not marked", "error", err)
	}
	if t.f.job.kind == auto {
		return providers.Token{}, nil, true // acts for its own grant: generates once
	}
	return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: err.Op, Status: err.Status, Err: err}, false
}

func bad(a action, text string) error {
	class := providers.Transient
	if a.op == "refresh" {
		class = providers.InDoubt
	}
	return fault(providers.CodeBadResponse, class, text, nil)
}

var errPurged error = &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: "tokencache", Description: "signed out meanwhile"}

// outcome of a save.
type outcome int

const (
	kept      outcome = iota
	overtaken         // another flight has stored a newer token
	purged            // the record was signed out meanwhile
)

// save applies a change to the record and stores it, as long as nobody else
// has moved it on since it was claimed.
func (t *turn) save(ctx context.Context, apply func(*record)) (outcome, error) {
	base := t.rec
	for range maxTurns {
		r := t.rec
		apply(&r)
		ok := true
		if t.c.o.Store != nil && !t.alone {
			var err error
			if ok, err = t.c.write(ctx, t.key, &r); err != nil && !t.goAlone() {
				return kept, err
			}
		}
		if ok || t.alone {
			return t.commit(r), nil
		}
		if err := t.load(ctx, false); err != nil {
			return kept, err
		}
		if t.rec.gen != base.gen {
			return purged, nil
		}
		if t.rec.token.Version > base.token.Version {
			return overtaken, nil
		}
	}
	return kept, fault(providers.CodeInternal, providers.Transient, "the token store refuses every write", nil)
}

// commit makes a stored record the process's own.
func (t *turn) commit(r record) outcome {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	if t.e.snapshot().gen != t.f.gen {
		return purged
	}
	t.rec = r
	t.c.install(t.e, r)
	return kept
}

// keep stores a new token and the ways to it, however long that takes: until
// then the access token is served, and its refresh token not presented.
func (t *turn) keep(ctx context.Context, a action, next string, apply func(*record)) (outcome, error) {
	try := func(ctx context.Context) (outcome, error) {
		if err := t.index(ctx, false, a.rt, next); err != nil && !t.goAlone() {
			return kept, err
		}
		return t.save(ctx, apply)
	}
	how, err := try(ctx)
	if err == nil {
		return how, nil
	}
	t.unsaved(apply)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		select {
		case <-t.c.ctx.Done():
			t.c.o.Logger.Error("tokencache: closed with an unsaved token; its grant may be lost")
			return kept, t.c.down(err)
		case <-time.After(wait):
		}
		if how, err = try(t.c.ctx); err == nil {
			return how, nil
		}
	}
}

// unsaved serves what apply makes, but for its refresh token, before it is
// stored.
func (t *turn) unsaved(apply func(*record)) {
	r := t.rec
	apply(&r)
	r.token.RefreshToken = ""
	t.c.event(Event{Kind: "unsaved"})
	t.c.o.Logger.Warn("tokencache: a token could not be stored yet")
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	t.f.saving = true
	if t.e.snapshot().gen == t.f.gen {
		t.c.install(t.e, r)
	}
	if t.f.job.kind == auto && r.usable(t.c.wallNow()) {
		t.c.publishLocked(t.e, t.f, r.token, nil)
	} else {
		t.c.publishLocked(t.e, t.f, providers.Token{}, errUnsaved)
	}
}
