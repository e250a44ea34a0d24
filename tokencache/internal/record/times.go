package record

import (
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

const (
	maxSkew = 10 * time.Second
	maxLead = 5 * time.Minute
	// maxLife bounds a lifetime of the upstream; a longer one is a mistake.
	maxLife = 365 * 24 * time.Hour
	// maxWait bounds a Retry-After of the upstream.
	maxWait = time.Hour

	minBackoff   = 50 * time.Millisecond
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
)

// endless is the expiry of a token without an end.
var endless = time.Unix(1<<33, 0) // in the year 2242

// bound returns the end of a refresh token, or endless if that is later. A year
// of five digits cannot be stored; it comes from an end in a wrong unit.
func bound(end time.Time) time.Time {
	if end.After(endless) {
		return endless
	}
	return end
}

// ServeUntil is the time from which tok is not handed out: its expiry less a
// tenth of its life, at most ten seconds. A token without an expiry is served
// until it is refused.
func ServeUntil(tok *providers.Token) time.Time {
	if tok.Expiry.IsZero() {
		return endless
	}
	life := tok.Expiry.Sub(tok.IssuedAt)
	return tok.Expiry.Add(-min(maxSkew, life/10))
}

// RenewFrom is the time from which r's token is renewed while it is still
// served. It is between a fifth and three tenths of the token's life before
// ServeUntil, at most 5 to 7.5 minutes. jitter in [0, 1) chooses it. Replicas
// have different jitters, so that one of them renews and the others adopt.
//
// In Exclusive mode a renewal ends the token that is being served. RenewFrom is
// then ServeUntil. So it is for a token that is bound to an assertion.
func RenewFrom(r *Record, mode providers.Mode, jitter float64) time.Time {
	tok := &r.Token
	until := ServeUntil(tok)
	if mode == providers.Exclusive || r.Bound || tok.Expiry.IsZero() {
		return until
	}
	lead := min(tok.Expiry.Sub(tok.IssuedAt)/5, maxLead)
	return until.Add(-lead - time.Duration(jitter*float64(lead/2)))
}

// backoff is how long a grant fails fast after its n-th failure in a row, n ≥
// 1.
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

// unknownAssertion is how long a token for an assertion without a known end is
// kept.
const unknownAssertion = 5 * time.Minute

// Bind makes tok end with the assertions of req, its actor's too, and removes
// its refresh token: work for a caller ends with the caller's own credential.
// keep is false if one of them has ended.
func Bind(tok providers.Token, req *providers.Request, now time.Time) (bound providers.Token, keep bool) {
	tok.RefreshToken, tok.RefreshExpiry, keep = "", time.Time{}, true
	for _, a := range []*providers.Assertion{&req.Assertion, &req.Actor} {
		if a.Token == "" {
			continue
		}
		end := a.Expiry
		if end.IsZero() {
			end = now.Add(unknownAssertion)
		}
		if tok.Expiry.IsZero() || end.Before(tok.Expiry) {
			tok.Expiry = end
		}
		keep = keep && now.Before(end)
	}
	return tok, keep
}

// Normalize makes tok fit to keep: its times are set and plausible. The token
// came at now from a call that began at sent. A token with a refresh token and
// no expiry gets lifetime. If everyToken is set, so does a token with neither.
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
	tok.RefreshExpiry = bound(tok.RefreshExpiry)
	if tok.TokenType == "" {
		tok.TokenType = "Bearer"
	}
	tok.IssuedAt, tok.Expiry = tok.IssuedAt.Round(0), tok.Expiry.Round(0)
	return tok
}
