package middleware

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
)

// entry is a compiled Issuer: its checks and its keys, which apply together.
type entry struct {
	Issuer
	keys    *keySet
	types   []string // accepted, as [mediaType] writes them
	require *rule
	names   []string // of claims that the configuration names
}

var defaultTypes = []string{"", "jwt", "at+jwt"}

// newEntry compiles cfg, which has been checked.
func newEntry(cfg Issuer) *entry {
	cfg = cfg.clone()
	e := &entry{Issuer: cfg, types: defaultTypes, require: newRule(cfg.Require)}
	switch {
	case cfg.AccessTokenProfile:
		e.types = []string{"at+jwt"}
	case cfg.Types != nil:
		e.types = nil
		for _, t := range cfg.Types {
			e.types = append(e.types, mediaType(t))
		}
	}
	for _, name := range []string{cfg.SubjectClaim, cfg.AudienceClaim} {
		if name != "" {
			e.names = append(e.names, name)
		}
	}
	return e
}

// header checks the parts of the header that depend on the entry.
func (e *entry) header(t *jws.Token) (reason, error) {
	switch {
	case !slices.Contains(e.Algorithms, t.Algorithm):
		return badAlgorithm, &fault{"header alg", t.Algorithm, "one of " + strings.Join(e.Algorithms, ", ")}
	case !slices.Contains(e.types, t.Type):
		return badType, &fault{"header typ", t.Type, "one of " + strings.Join(e.types, ", ")}
	}
	return noFault, nil
}

// accept checks the claims that depend on the entry, and copies them into v.
func (e *entry) accept(v *Verified, members []jws.Member) (reason, error) {
	get := func(name string) string { return jws.Get(members, name) }
	for _, name := range e.names {
		if jws.Alike(members, name) {
			return badClaims, &fault{"the name of a claim", "", "none that looks like " + name}
		}
	}
	if why, err := e.audience(v, get); why != noFault {
		return why, err
	}
	if why, err := e.subject(v, get); why != noFault {
		return why, err
	}
	if e.AccessTokenProfile {
		client, _ := jws.Text(get("client_id"))
		for _, c := range [...]struct {
			name string
			has  bool
		}{{"client_id", client != ""}, {e.subjectClaim(), v.Subject != ""}, {"jti", v.ID != ""}, {"iat", !v.IssuedAt.IsZero()}} {
			if !c.has {
				return badClaims, claimFault(c.name, get(c.name), "there (RFC 9068 section 2.2)")
			}
		}
	}
	switch why, err := e.require.kind(v); why {
	case noFault:
		return noFault, nil
	case badAudience:
		return badAudience, err
	default:
		return badClaims, err
	}
}

// audience demands a string or an array of strings, one of which means this
// API.
func (e *entry) audience(v *Verified, get func(string) string) (reason, error) {
	name := e.audienceClaim()
	value := get(name)
	if value == "" && e.AnyAudience {
		return noFault, nil
	}
	ours := e.AnyAudience
	v.Audience = v.fewAudiences[:0]
	ok := jws.EachText(value, func(aud string) {
		ours = ours || slices.Contains(e.Audiences, aud)
		v.Audience = append(v.Audience, aud)
	})
	v.Audience = slices.Clip(v.Audience) // who appends gets a copy
	switch {
	case !ok:
		return badAudience, claimFault(name, value, "a string or an array of strings")
	case !ours:
		return badAudience, claimFault(name, value, "one of "+strings.Join(e.Audiences, ", "))
	}
	return noFault, nil
}

func (e *entry) subject(v *Verified, get func(string) string) (reason, error) {
	name := e.subjectClaim()
	value := get(name)
	if value == "" {
		v.qualified = e.Subjects == Qualified
		return noFault, nil
	}
	text, ok := jws.Text(value)
	switch {
	case ok && e.IntegerSubject && !decimal(text):
		return badClaims, claimFault(name, value, "an integer or its decimal text")
	case ok:
	case e.IntegerSubject && decimal(value):
		text = value
	case name != "sub" && decimal(value):
		return badClaims, claimFault(name, value, "a string (IntegerSubject accepts integers)")
	default:
		return badClaims, claimFault(name, value, "a string")
	}
	if !v.takeSubject(text, e.Subjects) {
		return badSubject, claimFault(name, value, "no text in the form of another issuer's subject")
	}
	return noFault, nil
}

// decimal reports whether s is a canonical integer that is not negative.
func decimal(s string) bool {
	if s == "" || len(s) > 20 || len(s) > 1 && s[0] == '0' {
		return false
	}
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil && s[0] != '+'
}

// forNow checks the claims that depend on no entry, except that exp has passed.
func forNow(members []jws.Member, leeway time.Duration, now time.Time) (*Verified, reason, error) {
	r := registeredOf(members)
	exp, ok := numericDate(r.exp)
	if !ok {
		return nil, badClaims, claimFault("exp", r.exp, dateRule)
	}
	v := &Verified{Expiry: time.Unix(exp, 0)}
	if r.nbf != "" {
		if _, why, err := past("nbf", r.nbf, leeway, now); why != noFault {
			return nil, why, err
		}
	}
	if r.iat != "" {
		at, why, err := past("iat", r.iat, leeway, now)
		if why != noFault {
			return nil, why, err
		}
		v.IssuedAt = at
	}
	switch {
	case r.events != "":
		return nil, badType, claimFault("events", r.events, "absent: this is a security event or logout token (RFC 8417)")
	case r.cnf != "":
		return nil, bound, claimFault("cnf", r.cnf, "absent: a bearer does not prove that it has the key (RFC 7800)")
	}
	if r.jti != "" {
		if v.ID, ok = jws.Text(r.jti); !ok {
			return nil, badClaims, claimFault("jti", r.jti, "a string")
		}
	}
	if name, value := v.takeScopes(r.scope, r.scp); name != "" {
		return nil, badClaims, claimFault(name, value, "a string or an array of strings")
	}
	if name, value := r.halfText(); name != "" {
		return nil, badClaims, claimFault(name, value, wholeText)
	}
	if !v.signIn(r.acr, r.authTime) {
		return nil, badClaims, claimFault("acr", r.acr, wholeText)
	}
	v.client = r.ofClient()
	return v, noFault, nil
}

// past reads a date that must not be in the future.
func past(name, value string, leeway time.Duration, now time.Time) (at time.Time, why reason, err error) {
	sec, ok := numericDate(value)
	if !ok {
		return at, badClaims, claimFault(name, value, dateRule)
	}
	if at = time.Unix(sec, 0); at.After(now.Add(leeway)) {
		return at, notYet, claimFault(name, value, "in the past")
	}
	return at, noFault, nil
}

const wholeText = "a text of whole characters"

const dateRule = "a number of seconds from 0 to the year 9999 (RFC 7519 section 2)"

// signIn reads the claims that RFC 9470 uses.
func (v *Verified) signIn(acr, authTime string) (ok bool) {
	v.acr, ok = jws.Text(acr)
	v.authTime, _ = numericDate(authTime)
	return ok || !jws.IsString(acr)
}
