package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
)

// tellExpired is how long after its end a token is still worth a signature
// check, so that the answer may say that it expired: that is said of authentic
// tokens only.
const tellExpired = 24 * time.Hour

var errAmbiguous = errors.New("a claim's name differs from a field's in case only")

type issuer struct {
	Issuer
	keys *keySet
}

// verify runs the whole pipeline. With an authentic token whose only fault is
// its age it returns both.
func (a *Authenticator) verify(ctx context.Context, token string) (*Verified, *Error) {
	if len(token) > maxTokenBytes {
		return nil, a.errors.plain[tooLong]
	}
	now := a.now()
	v, err := a.remembered(ctx, token, now)
	if err == nil && v == nil {
		v, err = a.authenticate(ctx, token, now)
	}
	if err != nil {
		return nil, err
	}
	if !v.Expiry.IsZero() && !now.Before(v.Expiry.Add(a.leeway)) {
		if err := a.permit(ctx, v, now); err != nil || a.renewals == nil || !a.renewals.within(v, now) {
			v = nil
		}
		return v, a.errors.plain[expired]
	}
	if err := a.permit(ctx, v, now); err != nil {
		return nil, err
	}
	return v, nil
}

// permit is what is asked on every request, however well the token is known.
func (a *Authenticator) permit(ctx context.Context, v *Verified, now time.Time) *Error {
	if a.cfg.Revoked != nil {
		switch gone, err := a.cfg.Revoked(ctx, v); {
		case err != nil:
			return a.errors.with(unavailable, err)
		case gone:
			return a.errors.plain[revoked]
		}
	}
	return a.obey(ctx, v, now)
}

// remembered looks the token up among those already verified. The key it was
// verified with must still be there.
func (a *Authenticator) remembered(ctx context.Context, token string, now time.Time) (*Verified, *Error) {
	e := a.cache.get(token)
	if e == nil {
		return nil, nil
	}
	if keys := e.issuer.keys; !keys.fresh(now) {
		if _, err := keys.usable(ctx); err != nil {
			return nil, a.keyError(err)
		}
	}
	if e.issuer.keys.generation() != e.generation {
		a.cache.drop(token, e)
		return nil, nil
	}
	return e.verified, nil
}

// authenticate verifies a token that is not remembered.
func (a *Authenticator) authenticate(ctx context.Context, token string, now time.Time) (*Verified, *Error) {
	for _, o := range a.opaque {
		if b64token(token) && o.cfg.Owns(token) {
			v, why, err := o.verify(ctx, token)
			if why != 0 {
				return nil, a.errors.with(why, err)
			}
			return v, nil
		}
	}
	t, err := jws.Parse(token)
	if err != nil {
		return nil, a.parseError(err)
	}
	var buf [24]jws.Member
	members, err := jws.Claims(t.Payload, buf[:0])
	if err != nil {
		return nil, a.errors.plain[malformed]
	}
	iss := a.issuerOf(members)
	if iss == nil {
		return nil, a.errors.plain[badIssuer]
	}
	if why := iss.header(&t); why != 0 {
		return nil, a.errors.plain[why]
	}
	v, why := iss.claims(members, a.leeway, now)
	if why != 0 {
		return nil, a.errors.plain[why]
	}
	offline := false
	if late := now.Sub(v.Expiry) - a.leeway; late >= 0 {
		if late > tellExpired && (a.renewals == nil || !a.renewals.within(v, now)) {
			return nil, a.errors.plain[stale]
		}
		offline = true // no fetch for a token that cannot pass
	}
	generation, err := iss.signature(ctx, &t, offline)
	if err != nil {
		return nil, a.keyError(err)
	}
	if jws.Get(members, "cnf") != "" {
		return nil, a.errors.plain[bound]
	}
	v.token, v.input, v.Claims = token, t.Input, json.RawMessage(t.Payload)
	a.cache.put(token, &entry{v, iss, generation})
	return v, nil
}

func (a *Authenticator) parseError(err error) *Error {
	why := malformed
	switch {
	case errors.Is(err, jws.ErrCritical):
		why = badCritical
	case errors.Is(err, jws.ErrAlgorithm):
		why = badAlgorithm
	case errors.Is(err, jws.ErrType):
		why = badType
	}
	return a.errors.plain[why]
}

func (a *Authenticator) keyError(err error) *Error {
	switch {
	case errors.Is(err, errUnknownKey):
		return a.errors.plain[unknownKey]
	case errors.Is(err, jws.ErrSignature):
		return a.errors.plain[badSignature]
	}
	e := a.errors.with(unavailable, err)
	var w *waitError
	if errors.As(err, &w) {
		e.RetryAfter = max(w.wait, e.RetryAfter)
	}
	return e
}

// issuerOf finds the issuer by exact comparison.
func (c *core) issuerOf(members []jws.Member) *issuer {
	value := jws.Get(members, "iss")
	iss, ok := jws.Text(value)
	if i := c.byIss[iss]; ok && i != nil {
		return i
	}
	if value != "" && !ok {
		return nil
	}
	for _, i := range c.byClaim {
		if name, ok := jws.Text(jws.Get(members, i.IssuerClaim)); ok && name == i.Issuer.Issuer {
			return i
		}
	}
	return nil
}

// header checks what the issuer has a say in. reason 0 is none.
func (i *issuer) header(t *jws.Token) reason {
	if !slices.Contains(i.Algorithms, t.Algorithm) {
		return badAlgorithm
	}
	switch t.Type {
	case "at+jwt":
		return 0
	case "", "jwt":
		if !i.AccessTokenProfile {
			return 0
		}
	}
	return badType
}

// claims checks the registered claims but exp's being past, and copies what is
// of use out of members.
func (i *issuer) claims(members []jws.Member, leeway time.Duration, now time.Time) (*Verified, reason) {
	get := func(name string) string { return jws.Get(members, name) }
	exp, ok := numericDate(get("exp"))
	if !ok {
		return nil, badClaims
	}
	v := &Verified{Issuer: i.Issuer.Issuer, Expiry: time.Unix(exp, 0)}
	for _, name := range [...]string{"nbf", "iat"} {
		value := get(name)
		if value == "" {
			continue
		}
		sec, ok := numericDate(value)
		if !ok {
			return nil, badClaims
		}
		if at := time.Unix(sec, 0); at.After(now.Add(leeway)) {
			return nil, notYet
		} else if name == "iat" {
			v.IssuedAt = at
		}
	}
	if why := i.audience(get("aud")); why != 0 {
		return nil, why
	}
	if events := get("events"); events != "" {
		return nil, badType // a security event or logout token (RFC 8417)
	}
	subject := i.SubjectClaim
	if subject == "" {
		subject = "sub"
	}
	for _, c := range [...]struct {
		name string
		to   *string
	}{{subject, &v.Subject}, {"jti", &v.ID}} {
		if value := get(c.name); value != "" {
			if *c.to, ok = jws.Text(value); !ok {
				return nil, badClaims
			}
		}
	}
	if v.Scopes, ok = scopes(get); !ok {
		return nil, badClaims
	}
	if client, _ := jws.Text(get("client_id")); i.AccessTokenProfile &&
		(client == "" || v.Subject == "" || v.ID == "" || v.IssuedAt.IsZero()) {
		return nil, badClaims
	}
	v.signIn(get)
	return v, 0
}

// audience demands a string or an array of strings, one of them ours.
func (i *issuer) audience(value string) reason {
	if value == "" && i.AnyAudience {
		return 0
	}
	list, ok := jws.Texts(value)
	if !ok {
		return badAudience
	}
	for _, aud := range list {
		if slices.Contains(i.Audiences, aud) {
			return 0
		}
	}
	if i.AnyAudience {
		return 0
	}
	return badAudience
}

// signIn reads what RFC 9470 looks at.
func (v *Verified) signIn(get func(string) string) {
	v.acr, _ = jws.Text(get("acr"))
	v.authTime, _ = numericDate(get("auth_time"))
}

// scopes reads scope (RFC 8693 section 4.2) or scp, as a string or an array.
func scopes(get func(string) string) ([]string, bool) {
	for _, name := range [...]string{"scope", "scp"} {
		value := get(name)
		if value == "" || value == "null" {
			continue
		}
		if s, ok := jws.Text(value); ok {
			return strings.Fields(s), true
		}
		return jws.Texts(value)
	}
	return nil, true
}

// signature finds a key that verifies t.
func (i *issuer) signature(ctx context.Context, t *jws.Token, offline bool) (generation uint64, err error) {
	keys, generation, err := i.keys.find(ctx, t, offline)
	if err != nil {
		return 0, err
	}
	for n := range keys {
		if t.Verify(keys[n].Public) == nil {
			return generation, nil
		}
	}
	return 0, jws.ErrSignature
}
