package record

import (
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// Kind is what a caller asks of a record.
type Kind uint8

// The kinds of a Want.
const (
	Current Kind = iota // the current token
	Refresh             // the pair that replaces a refresh token
	Adopt               // that a token from elsewhere become the current one
	Read                // that this process know what the Store holds
)

// Want is a caller's wish.
type Want struct {
	Kind Kind
	// After is the version that was refused: only a higher one will do. 0
	// accepts every token.
	After uint64
	// Forced asks for a renewal although the current token may have life left.
	Forced bool
	// RefreshToken is the presented one, and Digest its name.
	RefreshToken string
	Digest       Digest
	// Unknown tells that RefreshToken was not issued to this record as far as
	// anybody knows: only the upstream can tell what it is worth.
	Unknown bool
	// RefreshRefused tells that this attempt's refresh was refused in a way
	// that may be about our own key: a Current then generates.
	RefreshRefused bool
}

// Rules are what does not change in the life of a cache.
type Rules struct {
	Mode        providers.Mode
	CanRefresh  bool // the provider is a Refresher
	Grace       time.Duration
	ForcedFloor time.Duration
}

// Step is what is to be done.
type Step uint8

// The steps of an Action.
const (
	Serve         Step = iota // hand the current token out
	ServeAndRenew             // hand it out, and renew it in the background
	FailFast                  // answer with the error of the open window
	Reject                    // refuse the presented refresh token
	CallRefresh               // spend Action.RefreshToken upstream
	CallGenerate              // ask the upstream for a new token
	Install                   // make the brought token the current one
	Done                      // nothing
)

// Action is a Step with what it needs.
type Action struct {
	Step         Step
	RefreshToken string           // of CallRefresh
	Err          *providers.Error // of FailFast, with the rest of the window
}

// Upstream reports whether a is a call of the upstream.
func (a Action) Upstream() bool { return a.Step == CallRefresh || a.Step == CallGenerate }

// Age is how the access token stands at both clocks.
type Age uint8

// The ages of a token.
const (
	Over  Age = iota // not to be served
	Stale            // to be served and renewed
	Fresh
)

// Decide says what w needs of r at now. It is the one place where that is
// decided, for a look at memory and for an attempt that has read the Store.
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

// renewal spends r's own refresh token, or else does what otherwise says.
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
