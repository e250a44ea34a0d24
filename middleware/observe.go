package middleware

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
)

// These are the kinds and the Ops of the Authenticator's events. The package
// comment explains them.
const (
	kindAccepted    = "accepted"
	kindKeysFetched = "keys_fetched"
	kindKeysFailed  = "keys_failed"
	kindKeysStale   = "keys_stale"
	kindKeysBack    = "keys_back"
	kindVerdict     = "verdict"

	acceptedRemembered = "remembered"
	acceptedVerified   = "verified"
	acceptedRenewed    = "renewed"

	keysFirst   = "first"
	keysSame    = "same"
	keysChanged = "changed"
)

// counters are the values of [Authenticator.Stats]. Every good request changes
// one counter. It is spread over several cache lines, so that it is exact and
// parallel requests do not wait for each other.
type counters struct {
	remembered                     [16]paddedCounter
	verified, refused, unavailable atomic.Uint64
	renewed, renewalsFailed        atomic.Uint64
	keyFetches, keyFetchesFailed   atomic.Uint64
	renewalsFail                   atomic.Bool // the last renewal failed
	verdicts, verdictsFailed       atomic.Uint64
}

type paddedCounter struct {
	n atomic.Uint64
	_ [56]byte // the rest of a cache line
}

func (c *core) observe(ctx context.Context, e providers.Event) {
	if c.cfg.Observer == nil {
		return
	}
	e.Source = "authenticator"
	c.cfg.Observer(ctx, e)
}

// accepted counts a token that passes. op says how it was known.
func (a *Authenticator) accepted(ctx context.Context, op string) {
	if a.quiet {
		return
	}
	if op == acceptedRemembered {
		a.counters.remembered[rand.Uint32()%uint32(len(a.counters.remembered))].n.Add(1)
	} else {
		a.counters.verified.Add(1)
	}
	if a.cfg.Observer != nil {
		a.observe(ctx, providers.Event{Kind: kindAccepted, Op: op, Outcome: "ok"})
	}
}

// refused counts a request or a token that does not pass.
func (a *Authenticator) refused(ctx context.Context, e *Error) {
	if a.quiet {
		return
	}
	a.logRefused(ctx, e)
	if e.Status == http.StatusServiceUnavailable {
		a.counters.unavailable.Add(1)
		a.logUnavailable(ctx, e)
	} else {
		a.counters.refused.Add(1)
	}
	if a.cfg.Observer != nil {
		a.observe(ctx, providers.Event{Kind: kindRefused, Outcome: reasonLabel(e.Reason), N: e.Status})
	}
}

func (a *Authenticator) logRefused(ctx context.Context, e *Error) {
	if a.logger.Enabled(ctx, slog.LevelDebug) {
		a.logger.DebugContext(ctx, "request refused", "status", e.Status, "reason", e.Reason, "cause", e.Err)
	}
}

// logUnavailable logs once a minute that it is not known whether tokens are
// good. A key set that is missing logs that itself.
func (a *Authenticator) logUnavailable(ctx context.Context, e *Error) {
	if ctx.Err() == nil && !e.told && a.lines.Allow("", time.Now()) {
		a.logger.WarnContext(ctx, "tokens cannot be checked and are answered 503; further answers are logged at Debug for a minute: look at the Verifier, or at what Config.Revoked or Config.Resolve asks",
			"cause", e.Err)
	}
}

// reasonLabel returns s if it is a Reason of the kit. All Reasons that a Rule
// chose have one label, because their number has no bound.
func reasonLabel(s string) string {
	switch s {
	case "scope", "step_up":
		return s
	}
	for i := range refusals {
		if refusals[i].Reason == s {
			return s
		}
	}
	return "rule"
}

// renewal counts the call of Renew.Token that started at began.
func (a *Authenticator) renewal(ctx context.Context, began time.Time, err error) {
	e := providers.Event{Kind: kindRenewed, Outcome: outcome(err), Duration: time.Since(began)}
	if err != nil {
		a.counters.renewalsFailed.Add(1)
		e.Kind = kindRenewalFailed
		if a.counters.renewalsFail.CompareAndSwap(false, true) {
			a.logger.WarnContext(ctx, "an expired token could not be renewed, and its request is refused; further failures are logged at Debug until a renewal succeeds: check Renew.Token's provider",
				"error", err)
		} else {
			a.logger.DebugContext(ctx, "an expired token could not be renewed", "error", err)
		}
	} else {
		a.counters.renewed.Add(1)
		if a.counters.renewalsFail.CompareAndSwap(true, false) {
			a.logger.InfoContext(ctx, "expired tokens are renewed again")
		}
	}
	a.observeFlight(ctx, e)
}

// observeFlight is observe for work that several requests wait for: an Observer
// that panics does not end the work.
func (c *core) observeFlight(ctx context.Context, e providers.Event) {
	if c.cfg.Observer != nil {
		_ = flight.Guard(func() { c.observe(ctx, e) })
	}
}

// keysFetched reports the fetch of a key set that started at began. A set is
// stale from its first failed refresh on, and back after the next success.
// change says what the fetch did to the set. n is how many fetches in a row
// failed.
func (c *core) keysFetched(ctx context.Context, began time.Time, err error, change string, n int) {
	took := time.Since(began)
	c.counters.keyFetches.Add(1)
	if err != nil {
		c.counters.keyFetchesFailed.Add(1)
		c.observeFlight(ctx, providers.Event{Kind: kindKeysFailed, Outcome: outcome(err), Duration: took, N: n})
		if n == 1 && change != keysFirst {
			c.observeFlight(ctx, providers.Event{Kind: kindKeysStale})
		}
		return
	}
	c.observeFlight(ctx, providers.Event{Kind: kindKeysFetched, Op: change, Outcome: "ok", Duration: took})
	if n > 0 {
		c.observeFlight(ctx, providers.Event{Kind: kindKeysBack, N: n})
	}
}

// verdict counts the call of a Verifier that started at began. That a token is
// not valid is an answer and not a failure.
func (c *core) verdict(ctx context.Context, began time.Time, err error) {
	e := providers.Event{Kind: kindVerdict, Outcome: outcome(err), Duration: time.Since(began)}
	c.counters.verdicts.Add(1)
	var pe *providers.Error
	switch {
	case errors.As(err, &pe) && pe.Code == providers.CodeInvalidToken:
		e.Outcome = "not_valid"
	case err != nil:
		c.counters.verdictsFailed.Add(1)
	}
	c.observeFlight(ctx, e)
}
