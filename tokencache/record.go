package tokencache

import (
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// record is all that is known of one grant. A record is never changed in
// place: its methods work on a copy whose slices are their own.
type record struct {
	token providers.Token // zero if there is none; it may have expired
	ledger
}

// ledger is the part of a record that a hit does not need.
type ledger struct {
	version uint64    // highest version ever given out
	gen     uint64    // how often the record was purged
	fence   uint64    // highest fence that wrote the record
	forced  time.Time // last forced renewal
	spent   []spent   // refresh tokens replaced within the grace time
	fail    *failure  // last failure, until the next success
	intent  *intent   // upstream call that may be under way
	rev     uint64    // revision in the Store that this was read from
}

type spent struct {
	rt id
	at time.Time
}

// failure opens a window, [at, at+wait), in which the key fails fast.
type failure struct {
	err  *providers.Error
	n    int // failures in a row
	at   time.Time
	wait time.Duration
}

// intent says that owner was about to make an upstream call at a moment.
type intent struct {
	owner string
	at    time.Time
	ended bool // the call is over and its outcome unknown
}

// left is how long the window of f is still open. A clock that was set back
// closes it.
func (f *failure) left(now time.Time) time.Duration {
	if f == nil || now.Before(f.at) {
		return 0
	}
	return max(f.at.Add(f.wait).Sub(now), 0)
}

func (r *record) usable(now time.Time) bool {
	return r.token.AccessToken != "" && now.Before(hardOf(&r.token))
}

// spentWithin reports whether rt was replaced less than grace ago.
func (r *record) spentWithin(rt id, grace time.Duration, now time.Time) bool {
	for _, s := range r.spent {
		if s.rt == rt {
			return now.Sub(s.at) < grace
		}
	}
	return false
}

// floored reports whether a forced renewal was made less than floor ago.
func (r *record) floored(floor time.Duration, now time.Time) bool {
	since := now.Sub(r.forced)
	return !r.forced.IsZero() && since >= 0 && since < floor
}

// raise takes the next version: above every earlier one, also of a record
// that was lost together with its Store.
func (r *record) raise(now time.Time) {
	r.version = max(r.version+1, uint64(max(now.UnixMilli(), 1)))
}

// maxSpent bounds the list of spent tokens; the grace time bounds it first.
const maxSpent = 64

// replace makes tok the current token. gone are the refresh tokens that it
// replaces.
func (r *record) replace(tok providers.Token, gone []id, grace time.Duration, now time.Time) {
	r.raise(now)
	tok.Version = r.version
	r.token, r.fail, r.intent = tok, nil, nil
	r.spent = slices.DeleteFunc(slices.Clone(r.spent), func(s spent) bool {
		return now.Sub(s.at) >= grace || slices.Contains(gone, s.rt)
	})
	for _, rt := range gone {
		r.spent = append(r.spent, spent{rt, now})
	}
	if n := len(r.spent) - maxSpent; n > 0 {
		r.spent = r.spent[n:]
	}
}

// purge ends all that was issued so far.
func (r *record) purge(now time.Time) {
	r.raise(now)
	r.gen++
	r.token, r.spent, r.fail, r.forced = providers.Token{}, nil, nil, time.Time{}
}
