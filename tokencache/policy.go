package tokencache

import (
	"math/rand/v2"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

const (
	maxSkew = 10 * time.Second
	maxLead = 5 * time.Minute
	// maxLife caps what an upstream says of a lifetime; beyond it lie mistakes.
	maxLife = 365 * 24 * time.Hour
	// maxWait caps what an upstream says in Retry-After.
	maxWait = time.Hour

	minBackoff   = 50 * time.Millisecond
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
)

// hardOf is the moment from which tok is not handed out any more.
func hardOf(tok *providers.Token) time.Time {
	life := tok.Expiry.Sub(tok.IssuedAt)
	return tok.Expiry.Add(-min(maxSkew, life/10))
}

// softOf draws the moment from which tok is renewed while it is still served.
// Replicas draw differently, so that one of them renews and the others adopt.
func softOf(tok *providers.Token, mode providers.Mode) time.Time {
	hard := hardOf(tok)
	if mode == providers.Exclusive {
		return hard // a renewal would end the token that is being served
	}
	lead := min(tok.Expiry.Sub(tok.IssuedAt)/5, maxLead)
	return hard.Add(-lead - time.Duration(rand.Float64()*float64(lead/2)))
}

// backoff is how long a key fails fast after its n-th failure in a row, n ≥ 1.
func backoff(e *providers.Error, n int) time.Duration {
	switch {
	case e.RetryAfter > 0:
		return min(e.RetryAfter, maxWait)
	case e.Class == providers.Permanent, e.Class == providers.GrantDead:
		return lastBackoff
	}
	d := min(firstBackoff<<min(n-1, 10), lastBackoff)
	return d - time.Duration(rand.Float64()*float64(d/4))
}

// normalize makes tok, received at now for a call begun at sent, fit to keep:
// it has both times, and they are believable.
func normalize(tok providers.Token, sent, now time.Time, lifetime time.Duration) providers.Token {
	if tok.IssuedAt.IsZero() || tok.IssuedAt.After(now) {
		tok.IssuedAt = sent
	}
	if tok.Expiry.IsZero() {
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

// closeGrace is what a cancelled flight gets to return.
const closeGrace = time.Second
