package record

import (
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// Kind is what a caller wants from a record.
type Kind uint8

// These are the kinds of a Want.
const (
	Current Kind = iota // the current token
	Refresh             // the pair that replaces a refresh token
	Adopt               // a token from elsewhere becomes the current one
	Read                // this process reads the record in the Store
)

// Want is a caller's wish.
type Want struct {
	Kind Kind
	// After is the version that was refused: the answer must have a higher one.
	// 0 accepts every token.
	After uint64
	// Forced asks for a renewal although the current token may still be valid.
	Forced bool
	// RefreshToken is the presented refresh token, and Digest its name.
	RefreshToken string
	Digest       Digest
	// Unknown says that no known record had RefreshToken: only the upstream can
	// tell whether it is valid.
	Unknown bool
	// RefreshRefused says that this attempt's refresh was refused, possibly
	// because of our own key. A Current then generates.
	RefreshRefused bool
}

// Rules are constant during the life of a cache.
type Rules struct {
	Mode        providers.Mode
	CanRefresh  bool // the provider is a Refresher
	Grace       time.Duration
	ForcedFloor time.Duration
}

// Step is the next step of a caller or an attempt.
type Step uint8

// These are the steps of an Action.
const (
	Serve         Step = iota // hand out the current token
	ServeAndRenew             // hand it out, and renew it in the background
	FailFast                  // answer with the last failure
	Reject                    // refuse the presented refresh token
	CallRefresh               // spend Action.RefreshToken upstream
	CallGenerate              // ask the upstream for a new token
	Install                   // make the given token the current one
	Done                      // nothing
)

// Action is a Step with its arguments.
type Action struct {
	Step         Step
	RefreshToken string           // of CallRefresh
	Err          *providers.Error // of FailFast; RetryAfter is the rest of the time
}

// Upstream reports whether a calls the upstream.
func (a Action) Upstream() bool { return a.Step == CallRefresh || a.Step == CallGenerate }

// Age says whether the access token may be served, on both clocks.
type Age uint8

// These are the ages of a token.
const (
	Over  Age = iota // must not be served
	Stale            // is served and renewed
	Fresh
)

// Decide returns what w needs from r at now. A look into memory and an attempt
// that has read the Store both use it.
func Decide(r *Record, w *Want, age Age, now time.Time, rules *Rules) Action {
	switch w.Kind {
	case Read:
		return Action{Step: Done}
	case Adopt:
		return Action{Step: Install}
	case Refresh:
		return decideRefresh(r, w, age, now, rules)
	}
	if age != Over && (r.Token.Version > w.After || w.Forced && r.Floored(rules.ForcedFloor, now)) {
		if age == Stale && !w.Forced && r.Failure.Remaining(now) == 0 {
			return Action{Step: ServeAndRenew}
		}
		return Action{Step: Serve}
	}
	if a := failFast(r, now); a.Err != nil {
		return a
	}
	return renewal(r, now, rules, !w.RefreshRefused, CallGenerate)
}

func decideRefresh(r *Record, w *Want, age Age, now time.Time, rules *Rules) Action {
	a := Action{Step: Reject}
	switch {
	case w.RefreshToken == r.Token.RefreshToken:
		a = Action{Step: CallRefresh, RefreshToken: w.RefreshToken}
	case r.SpentWithin(w.Digest, rules.Grace, now):
		if age != Over {
			return Action{Step: Serve}
		}
		a = renewal(r, now, rules, true, Reject) // the successor has expired too
	case slices.Contains(r.Ended, w.Digest):
	case w.Unknown || r.Version == 0:
		a = Action{Step: CallRefresh, RefreshToken: w.RefreshToken}
	}
	if a.Step == CallRefresh {
		if fast := failFast(r, now); fast.Err != nil {
			return fast
		}
	}
	return a
}

// renewal spends r's refresh token, or does otherwise if it cannot.
func renewal(r *Record, now time.Time, rules *Rules, refresh bool, otherwise Step) Action {
	if refresh && rules.CanRefresh && r.CanRefresh(now) {
		return Action{Step: CallRefresh, RefreshToken: r.Token.RefreshToken}
	}
	return Action{Step: otherwise}
}

func failFast(r *Record, now time.Time) Action {
	left := r.Failure.Remaining(now)
	if left == 0 {
		return Action{}
	}
	err := *r.Failure.Err
	err.RetryAfter = left
	return Action{Step: FailFast, Err: &err}
}
