package record

import (
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

const (
	maxSkew = 10 * time.Second
	maxLead = 5 * time.Minute
	// maxLife caps what an upstream says of a lifetime; more is a mistake.
	maxLife = 365 * 24 * time.Hour
	// maxWait caps what an upstream says in Retry-After.
	maxWait = time.Hour

	minBackoff   = 50 * time.Millisecond
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
)

// endless is when a token without an end is not served any more.
var endless = time.Unix(1<<33, 0) // in the year 2242

// ServeUntil is the moment from which tok is not handed out any more: its
// expiry less a tenth of its life, ten seconds at most. A token without an
// expiry is served until it is refused.
func ServeUntil(tok *providers.Token) time.Time {
	if tok.Expiry.IsZero() {
		return endless
	}
	life := tok.Expiry.Sub(tok.IssuedAt)
	return tok.Expiry.Add(-min(maxSkew, life/10))
}

// RenewFrom is the moment from which r's token is renewed while it is still
// served. It lies between a fifth and three tenths of the token's life before
// ServeUntil, 5 to 7.5 minutes at most, as jitter in [0, 1) draws it: replicas
// draw differently, so that one of them renews and the others adopt. RenewFrom
// is ServeUntil in Exclusive mode, where a renewal would end the token that is
// being served, and for a token that is bound to an assertion.
func RenewFrom(r *Record, mode providers.Mode, jitter float64) time.Time {
	tok := &r.Token
	until := ServeUntil(tok)
	if mode == providers.Exclusive || r.Bound || tok.Expiry.IsZero() {
		return until
	}
	lead := min(tok.Expiry.Sub(tok.IssuedAt)/5, maxLead)
	return until.Add(-lead - time.Duration(jitter*float64(lead/2)))
}

// backoff is for how long a grant fails fast after its n-th failure in a row,
// n ≥ 1.
func backoff(f Fault, n int) time.Duration {
	switch {
	case f.Err.RetryAfter > 0:
		return min(f.Err.RetryAfter, maxWait)
	case f.Err.Class == providers.Permanent, f.Err.Class == providers.GrantDead:
		return lastBackoff
	}
	d := min(firstBackoff<<min(n-1, 10), lastBackoff)
	return d - time.Duration(f.Jitter*float64(d/4))
}

// unknownAssertion is how long a token is kept that was got for an assertion
// whose end is not known.
const unknownAssertion = 5 * time.Minute

// Bind makes tok end with the assertion that it was got for, and leaves out its
// refresh token: what is done for a caller ends with the caller's own
// credential. keep is false if the assertion is over already.
func Bind(tok providers.Token, a providers.Assertion, now time.Time) (bound providers.Token, keep bool) {
	end := a.Expiry
	if end.IsZero() {
		end = now.Add(unknownAssertion)
	}
	tok.RefreshToken, tok.RefreshExpiry = "", time.Time{}
	if tok.Expiry.IsZero() || end.Before(tok.Expiry) {
		tok.Expiry = end
	}
	return tok, now.Before(end)
}

// Normalize makes tok fit to keep: its times are set and believable. The
// token came at now from a call begun at sent. A token that has a refresh
// token and no expiry gets lifetime; so does one that has neither if
// everyToken is set.
func Normalize(tok providers.Token, sent, now time.Time, lifetime time.Duration, everyToken bool) providers.Token {
	if tok.IssuedAt.IsZero() || tok.IssuedAt.After(now) {
		tok.IssuedAt = sent
	}
	if tok.Expiry.IsZero() && (tok.RefreshToken != "" || everyToken) {
		tok.Expiry = tok.IssuedAt.Add(lifetime)
	}
	if latest := now.Add(maxLife); tok.Expiry.After(latest) {
		tok.Expiry = latest
	}
	if tok.TokenType == "" {
		tok.TokenType = "Bearer"
	}
	tok.IssuedAt, tok.Expiry = tok.IssuedAt.Round(0), tok.Expiry.Round(0)
	return tok
}
