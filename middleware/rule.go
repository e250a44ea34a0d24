package middleware

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
)

// Rule is what a route demands of a valid token. All fields that are set must
// hold; the zero Rule demands nothing. Rules are checked for every request,
// also if the token is remembered.
type Rule struct {
	// AllScopes lists scopes that must all be granted, in scope or scp.
	AllScopes []string
	// AnyScope lists scopes of which one must be granted.
	AnyScope []string
	// Audiences lists values of which one must be in [Verified.Audience], for
	// routes that accept only some of an Issuer's Audiences. A token without
	// one is answered 401.
	Audiences []string
	// Claims demands claims by JSON Pointer (RFC 6901), such as
	// "/realm_access/roles" or "/token_use". The claim must be one of the
	// values, or an array of strings that contains one. Any other token is
	// answered 403.
	Claims map[string][]string
	// ACR lists the accepted authentication contexts: the token's acr must be
	// one of them. MaxAge bounds the age of auth_time. A token that does not
	// meet them is answered as RFC 9470 says, so that the client can send its
	// user to sign in again.
	ACR    []string
	MaxAge time.Duration
	// Check is called last. An [*Error] is the answer. Any other error means
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
	if slices.Contains(r.Audiences, "") {
		errs = append(errs, errors.New("an audience is empty"))
	}
	for _, pointer := range slices.Sorted(maps.Keys(r.Claims)) {
		if _, err := jws.ParsePointer(pointer); err != nil {
			errs = append(errs, fmt.Errorf("Claims[%q]: %w", pointer, err))
		}
		if len(r.Claims[pointer]) == 0 {
			errs = append(errs, fmt.Errorf("Claims[%q]: no values", pointer))
		}
	}
	if r.MaxAge < 0 {
		errs = append(errs, errors.New("MaxAge is negative"))
	}
	return errors.Join(errs...)
}

// scopeToken reports whether s is RFC 6749's scope-token: visible ASCII without
// quote and backslash.
func scopeToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// rule is a compiled Rule.
type rule struct {
	Rule
	claims []claimRule
}

type claimRule struct {
	name    string
	pointer jws.Pointer
	values  []string
}

// clone returns a copy that shares no list with r.
func (r Rule) clone() Rule {
	r.AllScopes, r.AnyScope, r.Audiences, r.ACR = slices.Clone(r.AllScopes), slices.Clone(r.AnyScope), slices.Clone(r.Audiences), slices.Clone(r.ACR)
	r.Claims = maps.Clone(r.Claims)
	for name, values := range r.Claims {
		r.Claims[name] = slices.Clone(values)
	}
	return r
}

// newRule compiles r, which has been checked.
func newRule(r Rule) *rule {
	out := &rule{Rule: r.clone()}
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		pointer, _ := jws.ParsePointer(name)
		out.claims = append(out.claims, claimRule{name, pointer, out.Claims[name]})
	}
	return out
}

// kind checks Audiences and Claims. Another sign-in of the same user would not
// change them.
func (r *rule) kind(v *Verified) (reason, error) {
	if len(r.Audiences) > 0 && !slices.ContainsFunc(r.Audiences, func(s string) bool { return slices.Contains(v.Audience, s) }) {
		return badAudience, &fault{"the audience", strings.Join(v.Audience, ", "), "one of " + strings.Join(r.Audiences, ", ")}
	}
	for i := range r.claims {
		if err := r.claims[i].holds(string(v.Claims)); err != nil {
			return forbidden, err
		}
	}
	return noFault, nil
}

func (c *claimRule) holds(claims string) error {
	rule := "one of " + strings.Join(c.values, ", ")
	if claims == "" {
		return claimFault(c.name, "", rule)
	}
	value, err := c.pointer.Find(claims)
	if err != nil {
		return fmt.Errorf("claim %s: %w", c.name, err)
	}
	found := false
	if ok := jws.EachText(value, func(s string) { found = found || slices.Contains(c.values, s) }); !ok || !found {
		return claimFault(c.name, value, rule)
	}
	return nil
}

// obey checks the rules in their order, first those of the entry.
func (a *Authenticator) obey(ctx context.Context, v *Verified, now time.Time) *Error {
	if v.entry != nil {
		if err := a.obeyOne(ctx, v.entry.require, v, now); err != nil {
			return err
		}
	}
	for _, r := range a.rules {
		if why, err := r.kind(v); why == badAudience {
			return a.errors.with(badAudience, err)
		} else if why != noFault {
			return a.errors.with(forbidden, err)
		}
		if err := a.obeyOne(ctx, r, v, now); err != nil {
			return err
		}
	}
	return nil
}

// obeyOne checks the part of r that [rule.kind] does not.
func (a *Authenticator) obeyOne(ctx context.Context, r *rule, v *Verified, now time.Time) *Error {
	switch {
	case !holdsAll(v.Scopes, r.AllScopes):
		return a.errors.scope(r, &fault{"the scope", strings.Join(v.Scopes, " "), "all of " + strings.Join(r.AllScopes, " ")})
	case len(r.AnyScope) > 0 && !slices.ContainsFunc(r.AnyScope, v.hasScope):
		return a.errors.scope(r, &fault{"the scope", strings.Join(v.Scopes, " "), "one of " + strings.Join(r.AnyScope, " ")})
	case len(r.ACR) > 0 && !slices.Contains(r.ACR, v.acr):
		return a.errors.stepUp(r, claimFault("acr", v.acr, "one of "+strings.Join(r.ACR, " ")))
	case r.MaxAge > 0 && (v.authTime == 0 || now.Sub(time.Unix(v.authTime, 0)) > r.MaxAge+a.leeway):
		return a.errors.stepUp(r, claimFault("auth_time", strconv.FormatInt(v.authTime, 10), "at most "+r.MaxAge.String()+" ago"))
	case r.Check == nil:
		return nil
	}
	err := r.Check(ctx, v)
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return a.errors.seal(*e) // it may lack a challenge
	}
	return a.errors.with(forbidden, err)
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

// scope returns the scope parameter of a challenge: the scopes that a token
// needs.
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
