package middleware

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rule is what a route demands of a token beyond its being valid. All fields
// that are set must hold; the zero Rule demands nothing. Rules run on every
// request, also when the token is remembered.
type Rule struct {
	// AllScopes must all be granted. Scopes are read from scope or scp.
	AllScopes []string
	// AnyScope lists scopes of which one must be granted.
	AnyScope []string
	// ACR lists the authentication contexts that suffice, the token's acr
	// being one of them, and MaxAge bounds the age of auth_time. A token that
	// falls short is answered as RFC 9470 says, so that the client can send
	// its user to sign in again.
	ACR    []string
	MaxAge time.Duration
	// Check is asked last. An [*Error] is the answer; any other error means
	// 403 insufficient_scope and is not shown to the client.
	Check func(context.Context, *Verified) error
}

func (r *Rule) check() error {
	var errs []error
	for _, s := range slices.Concat(r.AllScopes, r.AnyScope) {
		if !scopeToken(s) {
			errs = append(errs, fmt.Errorf("%q is not a scope (RFC 6749 section 3.3)", s))
		}
	}
	for _, s := range r.ACR {
		if !scopeToken(s) {
			errs = append(errs, fmt.Errorf("%q cannot be an acr value in a challenge", s))
		}
	}
	if r.MaxAge < 0 {
		errs = append(errs, errors.New("MaxAge is negative"))
	}
	return errors.Join(errs...)
}

// scopeToken is RFC 6749's: visible ASCII without quote and backslash.
func scopeToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

func (a *Authenticator) obey(ctx context.Context, v *Verified, now time.Time) *Error {
	for i := range a.rules {
		r := &a.rules[i]
		switch {
		case !holdsAll(v.Scopes, r.AllScopes), len(r.AnyScope) > 0 && !slices.ContainsFunc(r.AnyScope, v.hasScope):
			return a.errors.scopes[i]
		case !a.authenticatedEnough(v, r, now):
			return a.errors.stepUp[i]
		case r.Check == nil:
			continue
		}
		if err := r.Check(ctx, v); err != nil {
			var e *Error
			if errors.As(err, &e) {
				return a.complete(e)
			}
			return a.errors.with(forbidden, err)
		}
	}
	return nil
}

func holdsAll(have, want []string) bool {
	for _, s := range want {
		if !slices.Contains(have, s) {
			return false
		}
	}
	return true
}

func (v *Verified) hasScope(s string) bool { return slices.Contains(v.Scopes, s) }

func (a *Authenticator) authenticatedEnough(v *Verified, r *Rule, now time.Time) bool {
	if len(r.ACR) > 0 && !slices.Contains(r.ACR, v.acr) {
		return false
	}
	return r.MaxAge == 0 || v.authTime != 0 && now.Sub(time.Unix(v.authTime, 0)) <= r.MaxAge+a.leeway
}

// complete gives an error of a rule's the challenge it lacks.
func (a *Authenticator) complete(e *Error) *Error { return a.errors.seal(*e) }

// scope is the scope parameter of a challenge: what a token should have had.
func (r *Rule) scope() string {
	if len(r.AllScopes) > 0 {
		return strings.Join(r.AllScopes, " ")
	}
	return strings.Join(r.AnyScope, " ")
}

func (r *Rule) stepUp() []param {
	var p []param
	if len(r.ACR) > 0 {
		p = append(p, param{"acr_values", strings.Join(r.ACR, " ")})
	}
	if r.MaxAge > 0 {
		p = append(p, param{"max_age", strconv.FormatInt(int64(r.MaxAge/time.Second), 10)})
	}
	return p
}
