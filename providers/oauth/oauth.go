package oauth

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

const (
	clientCredentials = "client_credentials"
	refreshToken      = "refresh_token"
)

// Config describes one client at one authorization server.
type Config struct {
	// TokenURL is the token endpoint (RFC 6749 section 3.2); https, or http
	// to a loopback address.
	TokenURL string
	// ClientID is the client's identifier.
	ClientID string
	// Grant is "client_credentials", the default, for the client's own
	// tokens, or "refresh_token" for tokens of users.
	Grant string
	// AuthMethod is how the client authenticates, by its registered name:
	// "client_secret_basic", the default with a secret, "client_secret_post",
	// "private_key_jwt", the default with a key, or "none", which sends the
	// ClientID alone (public clients, and mutual TLS by HTTPClient).
	AuthMethod string
	// Secret is the client secret. SecretFunc, in its place, is asked on
	// every call, so that a secret can change without a restart.
	Secret     string                                `json:"-"`
	SecretFunc func(context.Context) (string, error) `json:"-"`
	// Key signs the assertions of private_key_jwt (RFC 7523 section 2.2).
	Key Key
	// AssertionAudience is their aud; TokenURL if empty.
	AssertionAudience string
	// Scopes are asked for unless the request names its own.
	Scopes []string
	// Audience names the parties the token will be presented to, unless the
	// request names its own. They are sent as AudienceParam: "audience" if
	// empty, "resource" for RFC 8707.
	Audience      []string
	AudienceParam string
	// Params are further parameters of token requests, such as client_id for
	// servers that want it beside an assertion. They cannot stand for those
	// that the kit sends itself.
	Params url.Values
	// IntrospectionURL is the endpoint of RFC 7662, which Verify needs.
	IntrospectionURL string
	// DangerouslyUntypedTokens has Verify accept an active token whose
	// token_type the server does not tell. At some servers a refresh token is
	// one, and would then pass as an access token.
	DangerouslyUntypedTokens bool
	// RevocationURL is the endpoint of RFC 7009, which Revoke needs.
	RevocationURL string
	// HTTPClient makes the calls; nil for one over http.DefaultTransport.
	// Its redirect policy and cookies are not used.
	HTTPClient *http.Client
	// Now is the wall clock; nil for time.Now.
	Now func() time.Time
}

// Format writes no member, whatever the verb: Secret is one of them.
func (Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "oauth.Config(redacted)") }

// Key is a private key with which a client authenticates.
type Key struct {
	// ID is the kid of the assertions; no kid if empty.
	ID string
	// Algorithm is one of RS256, RS384, RS512, PS256, PS384, PS512, ES256,
	// ES384, ES512 and EdDSA. If empty it follows from the key: RS256, the
	// one of the curve, or EdDSA.
	Algorithm string
	// PEM is the key as PKCS#1, PKCS#8 or SEC1, unencrypted. Signer stands
	// in its place for keys elsewhere, such as in a KMS.
	PEM    []byte        `json:"-"`
	Signer crypto.Signer `json:"-"`
}

func (k Key) set() bool { return len(k.PEM) > 0 || k.Signer != nil }

// Format writes the key's ID, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "oauth.Key(%s, redacted)", k.ID) }

// Provider takes tokens from an RFC 6749 token endpoint. [New] makes it. It is
// a [providers.Refresher], [providers.Verifier] and [providers.Revoker].
type Provider struct {
	client           *upstream.Client
	now              func() time.Time
	auth             authenticate
	signs            bool // auth signs assertions
	grant            string
	tokenURL         string
	introspectionURL string
	untyped          bool
	revocationURL    string
	scopes           []string
	params           url.Values
	audience         string // the parameter's name
}

var (
	_ providers.Refresher = (*Provider)(nil)
	_ providers.Verifier  = (*Provider)(nil)
	_ providers.Revoker   = (*Provider)(nil)
	_ providers.Keyer     = (*Provider)(nil)
	_ providers.Moder     = (*Provider)(nil)
)

// Mode is [providers.Rotating] for the refresh_token grant, which is right for
// servers that do not rotate too (RFC 9700 section 4.14.2), and
// [providers.Shared] for client_credentials.
func (p *Provider) Mode() providers.Mode {
	if p.grant == refreshToken {
		return providers.Rotating
	}
	return providers.Shared
}

// Key is [providers.Request.Key] of a request that the grant type allows.
func (p *Provider) Key(req providers.Request) (string, error) {
	if err := p.check("key", req); err != nil {
		return "", err
	}
	return req.Key()
}

// Generate asks for the client's own token (RFC 6749 section 4.4). With the
// refresh_token grant it always fails with [providers.CodeGrantRequired]: only
// the user can give a new grant.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	const op = "generate"
	if err := p.check(op, req); err != nil {
		return providers.Token{}, err
	}
	if p.grant != clientCredentials {
		return providers.Token{}, fault(op, providers.CodeGrantRequired, "The user has given no grant, or it has ended.")
	}
	scopes := req.Scopes
	if len(scopes) == 0 {
		scopes = p.scopes
	}
	form, err := p.form(op, req, scopes)
	if err != nil {
		return providers.Token{}, err
	}
	form.Set("grant_type", clientCredentials)
	return p.token(ctx, op, form, "")
}

// Refresh spends refresh (RFC 6749 section 6), which says by itself whose it
// is. If the answer has no new refresh token the result repeats refresh.
func (p *Provider) Refresh(ctx context.Context, req providers.Request, refresh string) (providers.Token, error) {
	const op = "refresh"
	if req.Tenant != "" {
		return providers.Token{}, fault(op, providers.CodeTenantNotAllowed, "no tenants are configured")
	}
	if p.grant != refreshToken {
		return providers.Token{}, unsupported(op, "the provider is not configured for refresh tokens")
	}
	if refresh == "" {
		return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead,
			Op: opName(op), Description: "there is no refresh token"}
	}
	form, err := p.form(op, req, req.Scopes)
	if err != nil {
		return providers.Token{}, err
	}
	form.Set("grant_type", refreshToken)
	form.Set("refresh_token", refresh)
	return p.token(ctx, op, form, refresh)
}

// check tells requests apart that the grant type cannot honour.
func (p *Provider) check(op string, req providers.Request) error {
	switch {
	case req.Tenant != "":
		return fault(op, providers.CodeTenantNotAllowed, "no tenants are configured")
	case p.grant == clientCredentials && req.Subject != "":
		return fault(op, providers.CodeInvalidField, "the client's own token is not for a user")
	case p.grant == refreshToken && req.Subject == "":
		return fault(op, providers.CodeIdentityRequired, "")
	}
	return nil
}

func fault(op string, code providers.Code, description string) *providers.Error {
	return &providers.Error{Code: code, Class: providers.Permanent, Op: opName(op), Description: description}
}

func opName(op string) string { return "oauth: " + op }
