package tokencache

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// turn is a flight's hold on a record.
type turn struct {
	c   *Cache
	e   *entry
	f   *flight
	rec record
}

// action is the upstream call that a job needs; adopt needs none.
type action struct {
	op string // "generate", "refresh", "adopt"
	rt string
}

// maxTurns bounds how often a flight starts over because its record changed.
const maxTurns = 16

// fly does f's job. It returns only when the provider has.
func (c *Cache) fly(ctx context.Context, e *entry, f *flight) (providers.Token, error) {
	t := &turn{c: c, e: e, f: f}
	for range maxTurns {
		t.load()
		a, tok, err := c.judge(&t.rec, &f.job, c.now())
		if a.op == "" {
			return tok, err
		}
		sent := c.now()
		if a.op == "adopt" {
			tok = f.job.tok
		} else {
			tok, sent, err = c.call(ctx, f, a)
		}
		tok, err, again := t.settle(a, tok, sent, err)
		if !again {
			return tok, err
		}
	}
	return providers.Token{}, fault(providers.CodeBusy, providers.Transient, "the record keeps changing", nil)
}

// judge says what j needs, given r: an upstream call, or else a token or an
// error that can be had without one.
func (c *Cache) judge(r *record, j *job, now time.Time) (action, providers.Token, error) {
	cur, usable := r.token, r.usable(now)
	generates := true
	switch {
	case j.kind == adopt:
		return action{op: "adopt"}, providers.Token{}, nil
	case j.kind == auto:
		if usable && (cur.Version > j.min || j.forced && r.floored(c.o.ForcedFloor, now)) {
			return action{}, cur, nil
		}
	case j.rt == cur.RefreshToken:
		generates = false
	case r.spentWithin(j.digest, c.o.Grace, now):
		if usable {
			return action{}, cur, nil
		}
		generates = false
	case r.version == 0 || j.ref.claimed:
		if err := c.failing(r, j); err != nil {
			return action{}, providers.Token{}, err
		}
		return action{op: "refresh", rt: j.rt}, providers.Token{}, nil
	default:
		return action{}, providers.Token{}, errRejected
	}
	if err := c.failing(r, j); err != nil {
		return action{}, providers.Token{}, err
	}
	alive := cur.RefreshExpiry.IsZero() || now.Before(cur.RefreshExpiry)
	if cur.RefreshToken != "" && alive && c.refresher != nil {
		return action{op: "refresh", rt: cur.RefreshToken}, providers.Token{}, nil
	}
	if !generates {
		return action{}, providers.Token{}, errRejected
	}
	return action{op: "generate"}, providers.Token{}, nil
}

var errRejected error = &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: "tokencache"}

// settle records the outcome of a. again asks for another turn.
func (t *turn) settle(a action, tok providers.Token, sent time.Time, err error) (_ providers.Token, _ error, again bool) {
	c, now := t.c, t.c.now()
	r := t.rec
	if err == nil {
		if tok.AccessToken == "" {
			err = c.bad(a, "the provider returned an empty token")
		} else {
			tok = normalize(tok, sent, now, c.o.DefaultLifetime)
		}
	}
	if err != nil {
		return t.fail(a, r, providers.AsError(err), now)
	}
	wasUsable := t.rec.usable(now)
	var gone []id
	for _, rt := range []string{t.rec.token.RefreshToken, a.rt} {
		if rt != "" && rt != tok.RefreshToken {
			gone = append(gone, c.digest("rt", rt))
		}
	}
	r.replace(tok, gone, c.o.Grace, now)
	if t.f.job.forced && wasUsable {
		r.forced = now
	}
	if !r.usable(now) {
		// Its refresh token may be the only good one: kept, not served.
		err = c.bad(action{}, "the provider returned an expired token")
		r.fail = nextFailure(t.rec.fail, providers.AsError(err), now)
		tok = providers.Token{}
	} else {
		tok = r.token
	}
	if a.rt != "" {
		c.index.put(c.digest("rt", a.rt), ref{id: t.e.id, tenant: t.f.job.ref.tenant, anon: t.f.job.ref.anon})
	}
	if r.token.RefreshToken != "" {
		c.index.put(c.digest("rt", r.token.RefreshToken), ref{id: t.e.id, tenant: t.f.job.ref.tenant, anon: t.f.job.ref.anon})
	}
	if !t.save(r) {
		if err := c.revoke(t.f.ctx, r.token); err != nil {
			c.o.Logger.Warn("tokencache: a token that a purge overtook was not revoked", "error", providers.AsError(err))
		}
		return providers.Token{}, errPurged, false
	}
	return tok, err, false
}

// fail records that a failed.
func (t *turn) fail(a action, r record, err *providers.Error, now time.Time) (_ providers.Token, _ error, again bool) {
	if err.Class == providers.GrantDead && a.op == "refresh" {
		if r.token.RefreshToken == a.rt {
			r.token.RefreshToken = ""
			if t.c.mode == providers.Exclusive {
				r.token = providers.Token{} // the pair dies together
			}
		}
		t.c.index.put(t.c.digest("rt", a.rt), ref{id: t.e.id, tenant: t.f.job.ref.tenant, anon: t.f.job.ref.anon})
		t.save(r)
		if t.f.job.kind == auto {
			return providers.Token{}, nil, true
		}
		return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: err.Op, Status: err.Status, Err: err}, false
	}
	r.fail = nextFailure(r.fail, err, now)
	t.save(r)
	return providers.Token{}, err, false
}

func (c *Cache) bad(a action, text string) error {
	class := providers.Transient
	if a.op == "refresh" {
		class = providers.InDoubt
	}
	return fault(providers.CodeBadResponse, class, text, nil)
}

var errPurged error = &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: "tokencache", Description: "signed out meanwhile"}

func (t *turn) load() {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	t.rec = t.e.snapshot()
}

// save installs r; false if a purge came first.
func (t *turn) save(r record) bool {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	if now := t.e.snapshot(); now.gen != t.f.gen {
		t.f.stale = true
		return false
	}
	t.c.install(t.e, r)
	return true
}
