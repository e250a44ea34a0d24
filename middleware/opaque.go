package middleware

import (
	"context"
	"errors"
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
		Positive: cfg.CacheFor, Negative: cfg.CacheFor / 6,
		Max: opaqueVerdicts, Timeout: opaqueTimeout, Now: now,
	}), observe}
}

// verify asks the token's owner. reason 0 is none.
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
		Subject: got.Subject, Issuer: o.cfg.Issuer, Scopes: got.Scopes, Expiry: got.Expiry,
		Claims: got.Claims, input: token, token: token,
	}
	if len(got.Claims) == 0 {
		return v, 0, nil
	}
	members, err := jws.ParseObject(string(got.Claims), nil)
	if err != nil {
		return nil, unavailable, err
	}
	get := func(name string) string { return jws.Get(members, name) }
	if get("cnf") != "" {
		return nil, bound, nil
	}
	v.ID, _ = jws.Text(get("jti"))
	if iat, ok := numericDate(get("iat")); ok {
		v.IssuedAt = time.Unix(iat, 0)
	}
	v.signIn(get)
	return v, 0, nil
}
