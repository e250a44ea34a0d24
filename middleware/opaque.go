package middleware

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
	"github.com/bearerkit/bearerkit/internal/verdict"
	"github.com/bearerkit/bearerkit/providers"
)

const (
	defaultCacheFor = 30 * time.Second
	opaqueVerdicts  = 10_000
	opaqueTimeout   = 10 * time.Second
)

type opaque struct {
	cfg      Opaque
	verdicts *verdict.Cache
	observe  func(ctx context.Context, began time.Time, err error)
}

func newOpaque(cfg Opaque, now func() time.Time, observe func(context.Context, time.Time, error)) *opaque {
	switch {
	case cfg.CacheFor == 0:
		cfg.CacheFor = defaultCacheFor
	case cfg.CacheFor < 0:
		cfg.CacheFor = 0
	}
	return &opaque{cfg, verdict.New(verdict.Config{
		Positive: cfg.CacheFor, Negative: cfg.CacheFor / 6, Max: opaqueVerdicts,
		Timeout: opaqueTimeout, AtOnce: cfg.AtOnce, Now: now,
	}), observe}
}

// verify asks the server that issued the token.
func (o *opaque) verify(ctx context.Context, token string) (*Verified, reason, error) {
	caller := ctx
	got, err := o.verdicts.Verify(ctx, token, func(ctx context.Context) (providers.Verified, error) {
		began := time.Now()
		v, err := o.cfg.Verifier.Verify(ctx, token)
		o.observe(context.WithoutCancel(caller), began, err)
		return v, err
	})
	var e *providers.Error
	switch {
	case errors.As(err, &e) && e.Code == providers.CodeInvalidToken:
		return nil, badOpaque, err
	case err != nil:
		return nil, unavailable, err
	}
	v := &Verified{
		Issuer: o.cfg.Issuer, Scopes: slices.Clip(got.Scopes), Expiry: got.Expiry,
		Claims: slices.Clip(got.Claims), token: token,
	}
	var members []jws.Member
	if len(got.Claims) > 0 {
		if members, err = jws.ParseObject(string(got.Claims), nil); err != nil {
			return nil, unavailable, err
		}
	}
	why, err := o.accept(v, got.Subject, members)
	if why != noFault {
		return nil, why, err
	}
	return v, noFault, nil
}

// accept checks the answer and copies what v needs.
func (o *opaque) accept(v *Verified, subject string, members []jws.Member) (reason, error) {
	get := func(name string) string { return jws.Get(members, name) }
	if value := get("cnf"); value != "" && value != "null" {
		return bound, claimFault("cnf", value, "absent: a bearer does not prove that it has the key (RFC 7800)")
	}
	if value := get("iss"); value != "" && value != "null" {
		if iss, ok := jws.Text(value); !ok || iss != o.cfg.Issuer {
			return badIssuer, claimFault("iss", value, "the Issuer of the Opaque entry, "+quoted(o.cfg.Issuer))
		}
	}
	ours := o.cfg.AnyAudience
	value := get("aud")
	ok := jws.EachText(value, func(aud string) {
		ours = ours || slices.Contains(o.cfg.Audiences, aud)
		v.Audience = append(v.Audience, aud)
	})
	v.Audience = slices.Clip(v.Audience)
	switch {
	case !ours:
		return badAudience, claimFault("aud", value, "one of "+strings.Join(o.cfg.Audiences, ", "))
	case !ok && value != "" && value != "null":
		return badAudience, claimFault("aud", value, "a string or an array of strings")
	}
	if name := o.cfg.SubjectClaim; name != "" {
		if subject, ok = jws.Text(get(name)); !ok {
			return badSubject, claimFault(name, get(name), "a string")
		}
	}
	if !v.takeSubject(subject, o.cfg.Subjects) {
		return badSubject, &fault{"the subject", subject, "no text in the form of another issuer's subject"}
	}
	v.ID, _ = jws.Text(get("jti"))
	if iat, ok := numericDate(get("iat")); ok {
		v.IssuedAt = time.Unix(iat, 0)
	}
	r := registeredOf(members)
	if name, value := r.halfText(); name != "" {
		return badOpaque, claimFault(name, value, wholeText)
	}
	v.client = r.ofClient()
	if !v.signIn(r.acr, r.authTime) {
		return badOpaque, claimFault("acr", r.acr, wholeText)
	}
	return noFault, nil
}
