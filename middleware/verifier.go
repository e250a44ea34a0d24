package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
	"github.com/bearerkit/bearerkit/providers"
)

// tellExpired is how long after its end a token is still worth a signature
// check, so that the answer may say that it expired: that is said of authentic
// tokens only.
const tellExpired = 24 * time.Hour

// maxRetryAfter bounds what clients are told to wait.
const maxRetryAfter = 5 * time.Minute

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
	how := acceptedRemembered
	v, err := a.remembered(ctx, token, now)
	if err == nil && v == nil {
		how = acceptedVerified
		v, err = a.authenticate(ctx, token, now)
	}
	if err != nil {
		return nil, err
	}
	if a.late(v, now) {
		if a.renewals == nil || !a.renewals.within(v, now) || a.permit(ctx, v, now) != nil {
			v = nil
		}
		return v, a.errors.plain[expired]
	}
	if err := a.permit(ctx, v, now); err != nil {
		return nil, err
	}
	a.accepted(ctx, how)
	return v, nil
}

func (c *core) late(v *Verified, now time.Time) bool {
	return !v.Expiry.IsZero() && !now.Before(v.Expiry.Add(c.leeway))
}

// permit is what is asked on every request, however well the token is known.
func (a *Authenticator) permit(ctx context.Context, v *Verified, now time.Time) *Error {
	if a.cfg.Revoked != nil {
		switch gone, err := a.cfg.Revoked(ctx, v); {
		case err != nil:
			return a.cannotTell(err)
		case gone:
			return a.errors.plain[revoked]
		}
	}
	return a.obey(ctx, v, now)
}

// remembered looks the token up among those already verified. The key it was
// verified with must still be there.
func (a *Authenticator) remembered(ctx context.Context, token string, now time.Time) (*Verified, *Error) {
	v := a.cache.get(token)
	if v == nil {
		return nil, nil
	}
	if !v.keys.fresh(now) && !a.late(v, now) {
		if _, err := v.keys.usable(ctx); err != nil {
			return nil, a.keyError(err)
		}
	}
	if v.keys.generation() != v.generation {
		a.cache.drop(token, v)
		return nil, nil
	}
	return v, nil
}

// authenticate verifies a token that is not remembered.
func (a *Authenticator) authenticate(ctx context.Context, token string, now time.Time) (*Verified, *Error) {
	for _, o := range a.opaque {
		if b64token(token) && o.cfg.Owns(token) {
			v, why, err := o.verify(ctx, token)
			switch why {
			case 0:
				return v, nil
			case unavailable:
				return nil, a.cannotTell(err)
			}
			return nil, a.errors.with(why, err)
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
	offline := a.late(v, now) // no fetch for a token that cannot pass
	if offline && now.Sub(v.Expiry) > tellExpired && (a.renewals == nil || !a.renewals.within(v, now)) {
		return nil, a.errors.plain[stale]
	}
	v.generation, err = iss.signature(ctx, &t, offline)
	switch {
	case err == nil:
	case offline && !errors.Is(err, jws.ErrSignature):
		return nil, a.errors.plain[stale]
	default:
		return nil, a.keyError(err)
	}
	v.token, v.input, v.Claims, v.keys = token, t.Input, json.RawMessage(t.Payload), iss.keys
	a.cache.put(token, v)
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
	return a.cannotTell(err)
}

// cannotTell is the answer when whoever knows does not answer.
func (a *Authenticator) cannotTell(err error) *Error {
	e := a.errors.with(unavailable, err)
	var keys *waitError
	var upstream *providers.Error
	switch {
	case errors.As(err, &keys):
		e.RetryAfter = max(e.RetryAfter, keys.wait)
	case errors.As(err, &upstream):
		e.RetryAfter = min(max(e.RetryAfter, upstream.RetryAfter), maxRetryAfter)
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

// signature finds a key that verifies t.
func (i *issuer) signature(ctx context.Context, t *jws.Token, offline bool) (generation uint64, err error) {
	keys, generation, err := i.keys.find(ctx, t, offline)
	if err != nil || anyVerifies(keys, t) {
		return generation, err
	}
	if offline || !i.keys.current.Load().unnamed(t) {
		return 0, jws.ErrSignature
	}
	keys, generation, err = i.keys.refetch(ctx, t, i.keys.flights.Load())
	if errors.Is(err, errUnknownKey) || err == nil && !anyVerifies(keys, t) {
		err = jws.ErrSignature
	}
	return generation, err
}

func anyVerifies(keys []jws.Key, t *jws.Token) bool {
	for n := range keys {
		if t.Verify(keys[n].Public) == nil {
			return true
		}
	}
	return false
}
