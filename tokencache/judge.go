package tokencache

import (
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// action is what a job needs done: an upstream call, or to keep a token that
// was brought. The zero action is none.
type action struct {
	op string // "generate", "refresh", "adopt"
	rt string
}

// judge says what the flight's job needs, given the record: an action, or else
// a token or an error that can be had without one.
func (t *turn) judge(now time.Time) (a action, tok providers.Token, err error) {
	c, r, j := t.c, &t.rec, &t.f.job
	usable := r.usable(now)
	if st := t.e.cur.Load(); st != nil && st.tok.Version == r.token.Version && st.tok.AccessToken != "" {
		usable = c.usable(st) // by both clocks
	}
	switch {
	case j.kind == restore:
		return a, tok, nil
	case j.kind == adopt:
		return action{op: "adopt"}, tok, nil
	case j.kind == auto:
		if usable && (r.token.Version > j.min || j.forced && r.floored(c.o.ForcedFloor, now)) {
			return a, r.token, nil
		}
		a = c.renewal(r, now)
		if a.op == "" {
			a.op = "generate"
		}
	case j.rt == r.token.RefreshToken:
		a = action{"refresh", j.rt}
	case r.spentWithin(j.digest, c.o.Grace, now):
		if usable {
			return a, r.token, nil
		}
		a = c.renewal(r, now) // the successor has expired in its turn
	case r.version == 0 || j.ref.claimed:
		a = action{"refresh", j.rt} // not ours: the upstream decides
	}
	if a.op == "" {
		return a, tok, errRejected
	}
	if err := c.failing(r, j); err != nil {
		return action{}, tok, err
	}
	return a, tok, nil
}

// renewal spends r's own refresh token; no action if there is none alive.
func (c *Cache) renewal(r *record, now time.Time) action {
	t := &r.token
	if t.RefreshToken == "" || c.refresher == nil || !t.RefreshExpiry.IsZero() && !now.Before(t.RefreshExpiry) {
		return action{}
	}
	return action{"refresh", t.RefreshToken}
}

var errRejected error = &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: "tokencache"}
