package middleware

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
	"github.com/bearerkit/bearerkit/internal/verdict"
	"github.com/bearerkit/bearerkit/providers"
)

// tellExpired is how long after a token's end its signature is still checked,
// so that the answer may say that it expired. The answer says so of authentic
// tokens only.
const tellExpired = 24 * time.Hour

// maxRetryAfter is the longest time that a client is asked to wait.
const maxRetryAfter = 5 * time.Minute

// verify makes all checks. If an authentic token is only too old, it returns
// both the claims and an error.
func (a *Authenticator) verify(ctx context.Context, token string) (*Verified, *Error) {
	if len(token) > a.maxBytes {
		return nil, a.errors.with(tooLong, errTooLong)
	}
	now := a.clock.Wall()
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
		err := a.errors.with(expired, &fault{"claim exp", v.Expiry.UTC().Format(time.RFC3339), "in the future"})
		if a.renewals == nil || !a.renewals.within(v, now) || a.permit(ctx, v, now) != nil {
			v = nil
		}
		return v, err
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

// renewable is how long after its end a token may be renewed.
func (c *core) renewable() time.Duration {
	if c.renewals == nil {
		return 0
	}
	return c.renewals.cfg.Window
}

// permit makes the checks of every request, also for a remembered token.
func (a *Authenticator) permit(ctx context.Context, v *Verified, now time.Time) *Error {
	if a.cfg.Revoked != nil {
		switch gone, err := a.cfg.Revoked(ctx, v); {
		case err != nil:
			return a.cannotTell(err)
		case gone:
			return a.errors.with(revoked, errRevoked)
		}
	}
	return a.obey(ctx, v, now)
}

// remembered looks the token up among the verified ones. Its entry and the key
// that verified it must still be in use.
func (a *Authenticator) remembered(ctx context.Context, token string, now time.Time) (*Verified, *Error) {
	v := a.cache.get(token)
	if v == nil {
		return nil, nil
	}
	if v.resolved {
		if stands, err := a.stands(ctx, v, now); !stands {
			a.cache.drop(token, v)
			return nil, err
		}
	}
	if v.keys.fetch != nil && !v.keys.fresh(a.clock.At(now)) {
		if _, err := v.keys.usable(ctx); err != nil {
			if a.late(v, now) {
				return nil, a.errors.with(stale, err)
			}
			return nil, a.keyError(err)
		}
	}
	if v.keys.generation() != v.generation || v.unissued && a.sharedKey(v) {
		a.cache.drop(token, v)
		return nil, nil
	}
	return v, nil
}

// stands reports whether v's entry is still the one that Resolve returns.
func (a *Authenticator) stands(ctx context.Context, v *Verified, now time.Time) (bool, *Error) {
	late := a.late(v, now)
	if late && !a.asksFor(v, now) {
		return a.resolver.current(v.Issuer) == v.entry, nil
	}
	e, err := a.resolver.entry(ctx, v.Issuer)
	switch {
	case err != nil && late:
		return false, a.errors.with(stale, err)
	case err != nil:
		return false, a.resolveError(err)
	}
	return e == v.entry, nil
}

// asksFor reports whether Resolve may be called for v, which has expired: it
// may be renewed, and Resolve accepted its issuer before.
func (a *Authenticator) asksFor(v *Verified, now time.Time) bool {
	return a.renewals != nil && a.renewals.within(v, now) && a.resolver.knows(v.Issuer)
}

// option is an entry that a token may belong to, and the claims in that case.
type option struct {
	entry *entry
	says  *Verified
	seen  *snapshot // see keySet.verify
	asked uint64
}

// authenticate verifies a token that is not remembered.
func (a *Authenticator) authenticate(ctx context.Context, token string, now time.Time) (*Verified, *Error) {
	for _, o := range a.opaque {
		if b64token(token) && o.cfg.Owns(token) {
			v, why, err := o.verify(ctx, token)
			switch why {
			case noFault:
				v.renewable = a.renewable()
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
		return nil, a.errors.with(malformed, err)
	}
	v, why, err := forNow(members, a.leeway, now)
	if why != noFault {
		return nil, a.errors.with(why, err)
	}
	v.token, v.Claims, v.renewable = token, t.Bytes, a.renewable()
	offline := a.late(v, now) // the keys must be as fresh as for a valid token, and nothing else is fetched
	entries, refused := a.entriesFor(ctx, v, &t, members, now)
	if refused != nil {
		return nil, refused
	}
	var few [2]option
	options, refused := a.options(few[:0], entries, v, &t, members)
	if refused != nil {
		return nil, refused
	}
	if offline && now.Sub(v.Expiry) > tellExpired && (a.renewals == nil || !a.renewals.within(v, now)) {
		return nil, a.errors.with(stale, &fault{"claim exp", v.Expiry.UTC().Format(time.RFC3339), "in the future"})
	}
	q := search{token: t, offline: offline}
	if !v.unissued {
		q.iss = v.Issuer
	}
	q.tid, _ = jws.Text(jws.Get(members, "tid"))
	v, err = a.signature(ctx, &q, options)
	switch {
	case err == nil:
		a.cache.put(token, v)
		return v, nil
	case offline && !errors.Is(err, jws.ErrSignature):
		return nil, a.errors.with(stale, err)
	}
	return nil, a.keyError(err)
}

// entriesFor finds the entries that the token may belong to, by exact
// comparison of iss, and stores the issuer in v.
func (a *Authenticator) entriesFor(ctx context.Context, v *Verified, t *jws.Token, members []jws.Member, now time.Time) ([]*entry, *Error) {
	value := jws.Get(members, "iss")
	if value == "" {
		if len(a.unissued) == 0 {
			return nil, a.errors.with(badIssuer, claimFault("iss", "", "that of a configured Issuer"))
		}
		v.unissued = true
		return a.unissued, nil
	}
	iss, ok := jws.Text(value)
	if !ok || iss == "" {
		return nil, a.errors.with(badIssuer, claimFault("iss", value, "a string that is not empty"))
	}
	v.Issuer = iss
	entries := a.byIss[iss]
	if len(a.templates) > 0 {
		tid, _ := jws.Text(jws.Get(members, "tid"))
		for _, e := range a.templates {
			if tenant, _ := e.tenantIn(iss); tenant == tid && e.hasTenant(iss) {
				entries = append(entries[:len(entries):len(entries)], e)
			}
		}
	}
	if len(entries) > 0 || a.resolver == nil {
		if len(entries) == 0 {
			return nil, a.errors.with(badIssuer, a.foreign(iss, value, jws.Get(members, "tid")))
		}
		return entries, nil
	}
	v.resolved = true
	if known, _ := jws.Known(t.Algorithm); !known {
		return nil, a.errors.with(badAlgorithm, &fault{"header alg", t.Algorithm, "one that is known"})
	}
	if slices.Contains(otherTypes, t.Type) {
		return nil, a.errors.with(badType, &fault{"header typ", t.Type, "that of an access token"})
	}
	late := a.late(v, now)
	if late && !a.asksFor(v, now) {
		if e := a.resolver.current(iss); e != nil {
			return []*entry{e}, nil
		}
		return nil, a.errors.with(stale, claimFault("exp", jws.Get(members, "exp"), "in the future"))
	}
	e, err := a.resolver.entry(ctx, iss)
	switch {
	case err != nil && late:
		return nil, a.errors.with(stale, err)
	case err != nil:
		return nil, a.resolveError(err)
	}
	return []*entry{e}, nil
}

// foreign says why no entry has iss. value and tid are JSON texts.
func (c *core) foreign(iss, value, tid string) error {
	for _, e := range c.templates {
		tenant, ok := e.tenantIn(iss)
		if text, _ := jws.Text(tid); ok && text != tenant {
			return claimFault("tid", tid, "the tenant in iss, "+tenant)
		} else if ok {
			return claimFault("iss", value, "that of one of Tenants")
		}
	}
	return claimFault("iss", value, "that of a configured Issuer")
}

func (a *Authenticator) resolveError(err error) *Error {
	if errors.Is(err, errRefusedIssuer) {
		return a.errors.with(badIssuer, err)
	}
	return a.cannotTell(err)
}

// options returns those of entries whose checks, except for the signature, the
// token passes. If there is none, it returns the refusal of the last entry that
// accepts the token's algorithm.
func (a *Authenticator) options(list []option, entries []*entry, v *Verified, t *jws.Token, members []jws.Member) ([]option, *Error) {
	why, cause := noFault, error(nil)
	for _, e := range entries {
		says := v
		if len(entries) > 1 {
			says = new(Verified)
			*says = *v
		}
		says.entry, says.keys = e, e.keys
		if says.unissued {
			says.Issuer = e.Issuer.Issuer
		}
		r, err := e.header(t)
		if r == noFault {
			r, err = e.accept(says, members)
		}
		switch {
		case r == noFault:
			list = append(list, option{entry: e, says: says})
		case why == noFault || r != badAlgorithm:
			why, cause = r, err
		}
	}
	if len(list) == 0 {
		return nil, a.errors.with(why, cause)
	}
	return list, nil
}

// signature finds the option whose key verifies the token. It first tries the
// options whose keys are in memory, so that the outage of one issuer's keys
// delays no token of another. Only then does it fetch the keys of the others.
func (a *Authenticator) signature(ctx context.Context, q *search, options []option) (*Verified, error) {
	if len(options) > 1 {
		first := 0
		for n := range options {
			if options[n].entry.keys.loaded() {
				options[first], options[n] = options[n], options[first]
				first++
			}
		}
	}
	var errs []error
	for n := range options {
		o := &options[n]
		r, seen, asked, err := o.entry.keys.verify(ctx, q)
		o.seen, o.asked = seen, asked
		if err == nil && seen == nil {
			return a.verified(o, r)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	for n := range options {
		o := &options[n]
		if o.seen == nil || q.named {
			continue
		}
		r, err := o.entry.keys.refetch(ctx, q, o.seen, o.asked)
		if err == nil {
			return a.verified(o, r)
		}
		errs = append(errs, err)
	}
	return nil, mostOpen(errs)
}

// mostOpen returns the error that leaves most open: first that the answer is
// not known, then a bad signature, then an unknown key.
func mostOpen(errs []error) (worst error) {
	rank := func(err error) int {
		switch {
		case errors.Is(err, errUnknownKey):
			return 1
		case errors.Is(err, jws.ErrSignature):
			return 2
		}
		return 3
	}
	for _, err := range errs {
		if worst == nil || rank(err) >= rank(worst) {
			worst = err
		}
	}
	return worst
}

func (a *Authenticator) verified(o *option, r result) (*Verified, error) {
	v := o.says
	v.generation = r.generation
	if v.unissued {
		thumbprint := r.key.Thumbprint()
		v.thumbprint = &thumbprint
		if a.sharedKey(v) {
			return nil, errSharedKey
		}
	}
	return v, nil
}

// sharedKey reports whether another entry has the key that verified a token
// without iss. The token may then be of that issuer. It uses the present sets,
// because sets change.
func (c *core) sharedKey(v *Verified) (shared bool) {
	look := func(e *entry) { shared = shared || e != v.entry && e.keys.has(*v.thumbprint) }
	for _, e := range c.entries {
		look(e)
	}
	if c.resolver != nil {
		c.resolver.each(look)
	}
	return shared
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
	return a.errors.with(why, err)
}

func (a *Authenticator) keyError(err error) *Error {
	switch {
	case errors.Is(err, errUnknownKey), errors.Is(err, errSharedKey):
		return a.errors.with(unknownKey, err)
	case errors.Is(err, jws.ErrSignature):
		return a.errors.with(badSignature, err)
	}
	e := a.cannotTell(err)
	e.told = true // by the key set
	return e
}

// cannotTell is the answer if the server that knows does not answer.
func (a *Authenticator) cannotTell(err error) *Error {
	e := a.errors.with(unavailable, err)
	var keys *waitError
	var upstream *providers.Error
	switch {
	case errors.Is(err, verdict.ErrBusy):
	case errors.As(err, &keys):
		e.RetryAfter = max(e.RetryAfter, keys.wait)
	case errors.As(err, &upstream):
		e.RetryAfter = min(max(e.RetryAfter, upstream.RetryAfter), maxRetryAfter)
	}
	return e
}
