package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	internal "github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// Verify asks the introspection endpoint about accessToken (RFC 7662). A token
// that is not active, or that the server does not call a Bearer token, is
// [providers.CodeInvalidToken]. [Provider.CanVerify] tells whether there is an
// introspection endpoint.
func (p *Provider) Verify(ctx context.Context, accessToken string) (providers.Verified, error) {
	const op = "verify"
	if p.introspectionURL == "" {
		return providers.Verified{}, unsupported(op, "no introspection endpoint is configured")
	}
	if accessToken == "" {
		return providers.Verified{}, fault(op, providers.CodeInvalidToken, "")
	}
	form := url.Values{"token": {accessToken}, "token_type_hint": {"access_token"}}
	res, m, err := p.post(ctx, request{op: op, url: p.introspectionURL, form: form})
	if err != nil {
		return providers.Verified{}, err
	}
	var active *bool
	if err := json.Unmarshal(m["active"], &active); err != nil || active == nil {
		return providers.Verified{}, res.Bad(errors.New("answer does not say whether the token is active"))
	}
	if !*active {
		return providers.Verified{}, res.Fail(providers.CodeInvalidToken, providers.Permanent)
	}
	// A refresh token is active too, and servers may ignore the hint. Hydra
	// calls it a Bearer token and marks it by token_use. oidc-provider only
	// leaves out token_type.
	for _, name := range []string{"token_use", "token_type", "typ"} {
		if strings.Contains(strings.ToLower(m.text(name)), "refresh") {
			e := res.Fail(providers.CodeInvalidToken, providers.Permanent)
			e.Description = "the server says that it is a refresh token"
			return providers.Verified{}, e
		}
	}
	if kind := m.text("token_type"); !p.bearer(kind) && (kind != "" || !p.untyped) {
		if kind == "" {
			p.warnUntyped(ctx)
		}
		e := res.Fail(providers.CodeInvalidToken, providers.Permanent)
		e.Description = "the server does not say that it is a Bearer token"
		return providers.Verified{}, e
	}
	exp, err := internal.ParseTime(m["exp"])
	if err != nil {
		return providers.Verified{}, res.Bad(errors.New("exp is not a time"))
	}
	if !exp.IsZero() {
		exp = exp.Add(-res.Skew())
	}
	return providers.Verified{Subject: m.text("sub"), Scopes: m.scopes(), Expiry: exp, Claims: res.Body}, nil
}

// warnUntyped logs once a minute that a server leaves out token_type, which is
// optional (RFC 7662 section 2.2). The log explains why good tokens are
// refused.
func (p *Provider) warnUntyped(ctx context.Context) {
	if !p.lines.Allow("untyped", p.now()) {
		return
	}
	p.logger.WarnContext(ctx, "oauth: the introspection endpoint does not say token_type, and a token was refused: if it answers so for access tokens alone, set DangerouslyUntypedTokens")
}

// Revoke ends t at the revocation endpoint (RFC 7009): first its refresh token,
// then its access token, whatever became of the first. A token that has ended
// already is no error (RFC 7009 section 2.2), also at servers that answer
// invalid_token, invalid_grant or token_expired. A server that cannot revoke
// access tokens is no error. If both fail, the error is that of the refresh
// token and wraps the other.
func (p *Provider) Revoke(ctx context.Context, t providers.Token) error {
	const op = "revoke"
	if p.revocationURL == "" {
		return unsupported(op, "no revocation endpoint is configured")
	}
	var failed *providers.Error
	for _, v := range []struct{ hint, token string }{{"refresh_token", t.RefreshToken}, {"access_token", t.AccessToken}} {
		if v.token == "" {
			continue
		}
		form := url.Values{"token": {v.token}, "token_type_hint": {v.hint}}
		_, _, err := p.post(ctx, request{op: op, url: p.revocationURL, form: form})
		e := providers.AsError(err)
		switch {
		case e == nil, hasEnded(e, v.hint):
		case failed == nil:
			failed = e
		default:
			failed.Err = errors.Join(failed.Err, e)
		}
	}
	if failed == nil {
		return nil
	}
	return failed
}

// hasEnded reports whether e, the answer to a revocation, says that the token
// has ended before, or that it is an access token and ends by itself. An
// invalid_grant that is not Permanent is about our own assertion.
func hasEnded(e *providers.Error, hint string) bool {
	var said *serverError
	if !errors.As(e, &said) || e.Class != providers.Permanent || e.Status >= 300 && e.Status <= 399 {
		return false
	}
	switch said.code {
	case "invalid_token", "invalid_grant", "token_expired":
		return true
	case "unsupported_token_type":
		return hint == "access_token"
	}
	return false
}

func unsupported(op, description string) error {
	e := fault(op, providers.CodeInternal, description)
	e.Err = errors.ErrUnsupported
	return e
}

// Decode is part of the wire of package handlers. It ignores the caller's body:
// the handler's Authorize says whose token is wanted. With client_credentials
// the token is the backend's own, which a browser should not get.
func (p *Provider) Decode(url.Values, map[string]json.RawMessage) (providers.Request, error) {
	return providers.Request{}, nil
}

// Encode returns t as a token response (RFC 6749 section 5.1).
func (p *Provider) Encode(_ providers.Request, t providers.Token) any {
	out := struct {
		AccessToken  string `json:"access_token"`
		TokenType    string `json:"token_type"`
		ExpiresIn    *int64 `json:"expires_in,omitempty"`
		RefreshToken string `json:"refresh_token,omitempty"`
		Scope        string `json:"scope,omitempty"`
	}{AccessToken: t.AccessToken, TokenType: t.TokenType, RefreshToken: t.RefreshToken, Scope: strings.Join(t.Scopes, " ")}
	if !t.Expiry.IsZero() {
		left := int64(max(t.Expiry.Sub(p.now()), 0) / time.Second)
		out.ExpiresIn = &left
	}
	return out
}
