// Package record holds what is known of one grant and the rules by which it
// changes. All functions depend on their arguments only: there is no clock, no
// lock and no I/O. A Record is never changed in place. A method that changes
// one returns a copy that shares no slices.
package record

import (
	"reflect"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// Digest names a refresh token. It is the first half of a SHA-256.
type Digest [16]byte

// Record is all that is known of one grant.
type Record struct {
	// Token is the current token. It may have expired. It is zero if there is
	// none, and it may be a refresh token alone.
	Token providers.Token
	Details
}

// Details is what is known of a grant besides its current token.
type Details struct {
	// Version is the highest version that a token ever had.
	Version uint64
	// Purges rises with each sign-out. It is 0 if the grant was never signed out.
	Purges uint64
	// Fence is the highest fence of a lease that wrote the record.
	Fence uint64
	// Forced is the time of the last forced renewal; zero if there was none.
	Forced time.Time
	// Spent are the refresh tokens that were replaced, the oldest first.
	Spent []Spent
	// Failure is the last failure until the next success; nil if none.
	Failure *Failure
	// Intent is an upstream call that may be under way; nil if none.
	Intent *Intent
	// Salvages counts the answers in a row with a new refresh token and no
	// usable access token.
	Salvages int
	// Brought says that the grant came by Adopt or Refresh. The provider may
	// not be able to generate it again.
	Brought bool
	// Bound says that the token was issued for an assertion. It is not renewed
	// before its end.
	Bound bool
	// Ends is when the last token that a sign-out ended would have expired;
	// zero if the grant was not signed out.
	Ends time.Time
	// Ended are refresh tokens that a sign-out ended, the oldest first.
	Ended []Digest
	// Tenant is the tenant of the grant's requests. Anonymous says that a
	// refresh token names the record and not a user. Both are in the index of
	// refresh tokens.
	Tenant    string
	Anonymous bool
}

// Spent is a refresh token that was replaced.
type Spent struct {
	Token Digest
	At    time.Time
}

// Failure makes the grant fail fast from At until At+Wait.
type Failure struct {
	Err  *providers.Error
	N    int // failures in a row
	At   time.Time
	Wait time.Duration
}

// Intent says that Owner was about to make an upstream call at the time At.
type Intent struct {
	Owner string
	At    time.Time
	Ended bool // the call is over and its outcome is unknown
}

// MaxSpent bounds the spent refresh tokens that a record remembers. 360 are
// enough for a day if tokens live four minutes.
const MaxSpent = 360

// KeepSpent is the longest time that a spent refresh token is remembered.
const KeepSpent = 24 * time.Hour

// Empty reports whether r holds no token.
func (r *Record) Empty() bool { return r.Token.AccessToken == "" && r.Token.RefreshToken == "" }

// HoldsTokenAlone reports whether r's Version is its token's and all else of
// its Details is zero.
func (r *Record) HoldsTokenAlone() bool {
	d := r.Details
	d.Version -= r.Token.Version
	return reflect.ValueOf(&d).Elem().IsZero()
}

// Usable reports whether the access token may be served at now.
func (r *Record) Usable(now time.Time) bool {
	return r.Token.AccessToken != "" && now.Before(ServeUntil(&r.Token))
}

// Remaining is how much longer the grant fails fast at now. It is 0 if the
// clock was set back.
func (f *Failure) Remaining(now time.Time) time.Duration {
	if f == nil || now.Before(f.At) {
		return 0
	}
	return max(f.At.Add(f.Wait).Sub(now), 0)
}

// SpentWithin reports whether token was replaced less than grace before or
// after now. It checks both directions, because replicas' clocks differ and a
// clock may have been set back.
func (r *Record) SpentWithin(token Digest, grace time.Duration, now time.Time) bool {
	i := slices.IndexFunc(r.Spent, func(s Spent) bool { return s.Token == token })
	return i >= 0 && now.Sub(r.Spent[i].At).Abs() < grace
}

// Floored reports whether a renewal was forced less than floor before now.
func (r *Record) Floored(floor time.Duration, now time.Time) bool {
	return !r.Forced.IsZero() && now.Sub(r.Forced).Abs() < floor
}

// CanRefresh reports whether r's refresh token may be valid at now.
func (r *Record) CanRefresh(now time.Time) bool {
	t := &r.Token
	return t.RefreshToken != "" && (t.RefreshExpiry.IsZero() || now.Before(t.RefreshExpiry))
}

// nextVersion is higher than every earlier version, also than those of a record
// that was lost together with its Store.
func (r *Record) nextVersion(now time.Time) uint64 {
	return max(r.Version+1, uint64(max(now.UnixMilli(), 1)))
}

// Success is the result of an upstream call or an adoption.
type Success struct {
	Token    providers.Token
	Version  uint64   // the version that Token already has; 0: take the next one
	Replaced []Digest // the refresh tokens that Token replaces
	Forced   bool     // a renewal of a token that was still usable
	Brought  bool     // it came by Adopt or Refresh

	Bound     bool // issued for an assertion
	Tenant    string
	Anonymous bool
}

// Succeed makes s.Token the current token.
func (r Record) Succeed(s Success, now time.Time) Record {
	if s.Version != 0 && s.Version >= r.Version {
		r.Version = s.Version
	} else {
		r.Version = r.nextVersion(now)
	}
	s.Token.Version = r.Version
	r.Token, r.Failure, r.Intent, r.Salvages = s.Token, nil, nil, 0
	r.Brought, r.Bound, r.Tenant, r.Anonymous = s.Brought, s.Bound, s.Tenant, s.Anonymous
	if s.Forced {
		r.Forced = now
	}
	return r.spend(s.Replaced, now)
}

// spend adds replaced to the spent refresh tokens.
func (r Record) spend(replaced []Digest, now time.Time) Record {
	r.Spent = slices.DeleteFunc(slices.Clone(r.Spent), func(s Spent) bool {
		return now.Sub(s.At).Abs() >= KeepSpent || slices.Contains(replaced, s.Token)
	})
	for _, token := range replaced {
		r.Spent = append(r.Spent, Spent{token, now})
	}
	r.Spent = r.Spent[max(0, len(r.Spent)-MaxSpent):]
	return r
}

// maxSalvages is the number of salvages in a row after which the grant fails
// fast for keepSalvaged.
const (
	maxSalvages  = 3
	keepSalvaged = 24 * time.Hour
)

// Salvage keeps the refresh token of an answer that is otherwise unusable. It
// also keeps the access token of r, unless a new pair ended it. After three in
// a row the grant fails fast for a day, so that the refresh token does not
// rotate without end.
func (r Record) Salvage(s Success, mode providers.Mode, f Fault, now time.Time) Record {
	r.Salvages++
	failure := r.Failure.next(f, now)
	if r.Salvages >= maxSalvages {
		failure.Wait = keepSalvaged
	}
	r.Version = r.nextVersion(now)
	if mode == providers.Exclusive || r.Token.AccessToken == "" {
		r.Token = providers.Token{IssuedAt: now, Expiry: now}
	}
	r.Token.RefreshToken, r.Token.RefreshExpiry, r.Token.Version = s.Token.RefreshToken, bound(s.Token.RefreshExpiry), r.Version
	r.Failure, r.Intent, r.Brought = failure, nil, r.Brought || s.Brought
	r.Tenant, r.Anonymous = s.Tenant, s.Anonymous
	return r.spend(s.Replaced, now)
}

// SalvagedTooOften reports whether the last allowed salvage was made.
func (r *Record) SalvagedTooOften() bool { return r.Salvages >= maxSalvages }

// Fault is an error and a number in [0, 1) that varies how long the grant fails
// fast.
type Fault struct {
	Err    *providers.Error
	Jitter float64
}

// Fail records f, which ended the call of owner. The refresh token is kept: f
// says nothing about it.
func (r Record) Fail(f Fault, owner string, now time.Time) Record {
	err := f.Err
	r.Failure = r.Failure.next(f, now)
	if left := ServeUntil(&r.Token).Sub(now); left > 0 && err.RetryAfter == 0 && r.Token.AccessToken != "" {
		// Callers wait once the token has ended, so the time to fail fast ends
		// before.
		r.Failure.Wait = min(r.Failure.Wait, max(left/2, minBackoff))
	}
	if r.Intent != nil && err.Class == providers.InDoubt {
		r.Intent = &Intent{Owner: owner, At: r.Intent.At, Ended: true}
	} else {
		r.Intent = nil
	}
	return r
}

// Die records that the upstream refused refreshToken finally. In Exclusive mode
// the access token ends too.
func (r Record) Die(refreshToken string, mode providers.Mode) Record {
	r.Intent = nil
	switch {
	case r.Token.RefreshToken != refreshToken:
	case mode == providers.Exclusive:
		r.Token, r.Brought = providers.Token{}, false
	default:
		r.Token.RefreshToken, r.Brought = "", false
	}
	return r
}

// maxEnded bounds the ended refresh tokens that a record remembers.
const maxEnded = 8

// Purge ends all earlier tokens. current is the digest of the refresh token, if
// r has one. lifetime is the life of a token without an expiry.
func (r Record) Purge(current Digest, now time.Time, lifetime time.Duration) Record {
	var ended []Digest
	for _, s := range r.Spent[max(0, len(r.Spent)-2):] {
		ended = append(ended, s.Token)
	}
	if r.Token.RefreshToken != "" {
		ended = append(ended, current)
	}
	ends := now.Add(KeepSpent)
	for _, end := range []time.Time{r.Ends, r.Token.Expiry, r.end(now, lifetime)} {
		if end.After(ends) {
			ends = end
		}
	}
	return Record{Details: Details{
		Version: r.nextVersion(now), Purges: r.Purges + 1, Fence: r.Fence, Intent: r.Intent, Ends: ends,
		Ended: JoinEnded(r.Ended, ended), Tenant: r.Tenant, Anonymous: r.Anonymous,
	}}
}

// JoinEnded returns the ended refresh tokens of two records of one grant.
func JoinEnded(a, b []Digest) []Digest {
	joined := slices.DeleteFunc(slices.Clone(a), func(d Digest) bool { return slices.Contains(b, d) })
	joined = append(joined, b...)
	return joined[max(0, len(joined)-maxEnded):]
}

// end returns when the last token of r ends.
func (r *Record) end(now time.Time, lifetime time.Duration) time.Time {
	t := &r.Token
	switch {
	case t.RefreshToken != "" && !t.RefreshExpiry.IsZero():
		return t.RefreshExpiry
	case t.RefreshToken != "", t.AccessToken != "" && t.Expiry.IsZero():
		return now.Add(lifetime)
	}
	return t.Expiry
}

// next returns the failure after f, which may be nil.
func (f *Failure) next(fault Fault, now time.Time) *Failure {
	n := 1
	if f != nil {
		n = f.N + 1
	}
	return &Failure{Err: fault.Err, N: n, At: now, Wait: backoff(fault, n)}
}
