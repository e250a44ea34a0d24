package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	internal "github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// grantType is a grant, named as in Config.Grant.
type grantType string

const (
	clientCredentials grantType = "client_credentials"
	refreshToken      grantType = "refresh_token"
	tokenExchange     grantType = "token_exchange"
	jwtBearer         grantType = "jwt_bearer"

	exchangeURI  = "urn:ietf:params:oauth:grant-type:token-exchange"
	jwtBearerURI = "urn:ietf:params:oauth:grant-type:jwt-bearer"

	typePrefix    = "urn:ietf:params:oauth:token-type:" // RFC 8693 section 3
	notApplicable = "N_A"                               // RFC 8693 section 2.2.1

	// unknownEnd is the lifetime of a token for an assertion without a known
	// end.
	unknownEnd = 5 * time.Minute
)

// grantOf reads Config.Grant.
func grantOf(name string) (grantType, error) {
	switch name {
	case "":
		return clientCredentials, nil
	case exchangeURI:
		return tokenExchange, nil
	case jwtBearerURI:
		return jwtBearer, nil
	case "authorization_code":
		return "", errors.New("Grant: for authorization_code use refresh_token, and Exchange for the code")
	case "password":
		return "", errors.New("Grant: password is not to be used (RFC 9700 section 2.4)")
	case "implicit", "urn:ietf:params:oauth:grant-type:device_code":
		return "", fmt.Errorf("Grant: %s needs the user", name)
	}
	// RFC 6749 appendix A.10: a name, or an absolute URI.
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._", c) >= 0:
		case strings.IndexByte(":/?#[]@!$&'()*+,;=%~", c) >= 0 && strings.Contains(name, ":"):
		default:
			return "", fmt.Errorf("Grant: %q is no grant type of RFC 6749 appendix A.10", name)
		}
	}
	return grantType(name), nil
}

// wire returns the grant_type that is sent to the server.
func (g grantType) wire() string {
	switch g {
	case tokenExchange:
		return exchangeURI
	case jwtBearer:
		return jwtBearerURI
	}
	return string(g)
}

// exchanges reports whether the grant gives a token for an assertion.
func (g grantType) exchanges() bool { return g == tokenExchange || g == jwtBearer }

// isAccessToken reports whether kind, a requested_token_type, is a token to
// present: none, an access token, or a JWT.
func isAccessToken(kind string) bool {
	return kind == "" || kind == typePrefix+"access_token" || kind == typePrefix+"jwt"
}

// issuedAsRequested reports whether issued_token_type (RFC 8693 section 2.2.1)
// is the type that was asked for. A server that leaves it out issues what was
// asked for: an access token unless the configuration says otherwise.
func (p *Provider) issuedAsRequested(issued string) bool {
	if isAccessToken(p.requested) {
		return isAccessToken(issued)
	}
	return issued == p.requested
}

// checkAssertion reports whether the caller's assertion may be presented.
func (p *Provider) checkAssertion(op string, req providers.Request) error {
	if !p.grant.exchanges() || p.claims != nil {
		if req.Assertion.Token != "" || req.Actor.Token != "" {
			return fault(op, providers.CodeInvalidField, "this grant takes no assertion of a caller")
		}
		return nil
	}
	switch {
	case req.Assertion.Token == "":
		return fault(op, providers.CodeNotSignedIn, "There is no verified token to exchange.")
	case p.grant == jwtBearer && req.Actor.Token != "":
		return fault(op, providers.CodeInvalidField, "Actor: jwt_bearer has no actor")
	case !slices.Contains(p.issuers, req.Assertion.Issuer),
		req.Actor.Token != "" && !slices.Contains(p.issuers, req.Actor.Issuer):
		return fault(op, providers.CodeInvalidToken, "tokens of this issuer are not presented to this server")
	case !vschar(req.Assertion.Token), !vschar(req.Actor.Token):
		return fault(op, providers.CodeInvalidToken, "the token has characters that cannot be sent")
	}
	return nil
}

// present puts the assertion of req into form.
func (p *Provider) present(form url.Values, req providers.Request) {
	if p.grant == jwtBearer {
		form.Set("assertion", req.Assertion.Token)
		return
	}
	for name, a := range map[string]providers.Assertion{"subject_token": req.Assertion, "actor_token": req.Actor} {
		if a.Token == "" {
			continue
		}
		kind := a.Type
		if kind == "" {
			kind = typePrefix + "access_token"
		}
		form.Set(name, a.Token)
		form.Set(name+"_type", kind)
	}
}

// capped returns t with an Expiry that is not after the end of req's
// assertions.
func capped(t providers.Token, req providers.Request) providers.Token {
	for _, a := range []providers.Assertion{req.Assertion, req.Actor} {
		if a.Token == "" {
			continue
		}
		end := a.Expiry
		if exp, ok := internal.JWTExpiry(a.Token); ok && (end.IsZero() || exp.Before(end)) {
			end = exp
		}
		if end.IsZero() {
			end = t.IssuedAt.Add(unknownEnd)
		}
		if t.Expiry.IsZero() || end.Before(t.Expiry) {
			t.Expiry = end
		}
	}
	return t
}

// opExchange is the Op of Exchange.
const opExchange = "exchange"

// Exchange spends an authorization code (RFC 6749 section 4.1.3) and returns
// the first pair of the user's grant. Give it to the token cache's Adopt.
// verifier is the code_verifier of RFC 7636, whose challenge was in the
// authorization request. redirectURI is the redirect_uri of that request, "" if
// it had none.
//
// The Grant must be "refresh_token". A code works once: on an error begin a new
// sign-in. A code that the server refuses is [providers.CodeGrantRequired]. The
// application must check before that state belongs to this browser.
func (p *Provider) Exchange(ctx context.Context, code, verifier, redirectURI string) (providers.Token, error) {
	switch {
	case p.grant != refreshToken || p.tokenURL == "":
		return providers.Token{}, unsupported(opExchange, "the provider is not configured for users' grants")
	case code == "" || !vschar(code):
		return providers.Token{}, fault(opExchange, providers.CodeInvalidField, "code: missing, or has characters that cannot be sent")
	case !validVerifier(verifier):
		return providers.Token{}, fault(opExchange, providers.CodeInvalidField, "verifier: not a code_verifier of RFC 7636 section 4.1")
	}
	form, err := p.form(opExchange, providers.Request{}, nil)
	if err != nil {
		return providers.Token{}, err
	}
	form.Set("grant_type", "authorization_code")
	form.Set("code", code)
	form.Set("code_verifier", verifier)
	if redirectURI != "" {
		form.Set("redirect_uri", redirectURI)
	}
	return p.token(ctx, request{op: opExchange, form: form, oneTime: true})
}

// validVerifier reports whether s has the form of RFC 7636 section 4.1: 43 to
// 128 unreserved characters.
func validVerifier(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0:
		default:
			return false
		}
	}
	return len(s) >= 43 && len(s) <= 128
}
