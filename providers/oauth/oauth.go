package oauth

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/bearerkit/bearerkit/internal/warnlog"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// Config describes one client at one authorization server.
type Config struct {
	// TokenURL is the token endpoint (RFC 6749 section 3.2): https, or http to
	// a loopback address. It may be empty in a Provider that only introspects
	// or revokes.
	TokenURL string
	// ClientID is the client's identifier.
	ClientID string
	// Grant is what tokens are given for:
	//
	//   - "client_credentials", the default: the client's own tokens.
	//   - "refresh_token": tokens of users who gave a grant.
	//   - "token_exchange" (RFC 8693): tokens on behalf of the caller whose
	//     token is [providers.Request].Assertion. Params may have
	//     requested_token_type.
	//   - "jwt_bearer" (RFC 7523 section 2.1): the same, with the caller's
	//     token as the assertion; or tokens for an assertion that Key signs,
	//     see Claims.
	//   - Any other grant_type: the client's own tokens. Its parameters are
	//     Params.
	Grant string
	// Issuers are the issuers whose tokens token_exchange and jwt_bearer
	// present to the server, as in [providers.Assertion].Issuer. These two
	// grants require it unless Claims is set. A token of any other issuer is
	// never sent.
	Issuers []string
	// Claims, if not nil, makes jwt_bearer sign its own assertion with Key. The
	// assertion has iss (ClientID), aud (AssertionAudience), sub (the request's
	// Subject, if it has one), scope (its scopes), exp, iat and jti, and the
	// Claims. JSON values only. The client then needs no AuthMethod.
	Claims map[string]any
	// AuthMethod is how the client authenticates, by its registered name:
	//
	//   - "client_secret_basic", the default with a secret.
	//   - "client_secret_post".
	//   - "private_key_jwt", the default with a key or an assertion.
	//   - "none", which sends ClientID alone: for public clients, and for
	//     mutual TLS by HTTPClient.
	//   - "client_secret_basic_unencoded", which is client_secret_basic without
	//     the form-encoding of RFC 6749 section 2.3.1: for servers that do not
	//     decode.
	AuthMethod string
	// Secret is the client secret: printable ASCII (RFC 6749 appendix A.2).
	// SecretFunc replaces it and is called for every call, so that a secret can
	// change without a restart.
	Secret     string                                `json:"-"`
	SecretFunc func(context.Context) (string, error) `json:"-"`
	// Key signs the assertions of private_key_jwt (RFC 7523 section 2.2).
	Key Key
	// AssertionFunc returns, and AssertionFile holds, a client assertion of
	// another signer (RFC 7521 section 4.2), such as a projected Kubernetes
	// token. It is read for each attempt. One trailing line break of the file
	// is dropped. AssertionAudience is then required. An assertion with another
	// aud, or one that has expired, is not sent.
	AssertionFunc func(context.Context) (string, error) `json:"-"`
	AssertionFile string
	// AssertionAudience is the aud of the assertions; "" means TokenURL.
	AssertionAudience string
	// AssertionLifetime is the time from iat to exp of the assertions that Key
	// signs: whole seconds, up to an hour; 0 means two minutes. Servers refuse
	// a longer lifetime than they allow, often more than five minutes.
	AssertionLifetime time.Duration
	// Scopes are requested unless the request has its own.
	Scopes []string
	// Audience names the parties to which the token will be presented, unless
	// the request names its own. AudienceParam is the parameter in which they
	// are sent: "" means "audience"; RFC 8707 uses "resource".
	Audience      []string
	AudienceParam string
	// Params are further parameters of token requests, such as client_id for
	// servers that expect it beside an assertion. They cannot replace the
	// parameters that the kit sends.
	Params url.Values
	// TokenTypes are further values of token_type that mean a Bearer token,
	// such as "BearerToken" or "bot". Case does not count. DPoP, mac and N_A
	// are not allowed.
	TokenTypes []string
	// Classify tells what an answer of the token endpoint means if the built-in
	// rules do not cover it. For example, it returns [providers.GrantDead] for
	// a server's own name of a dead refresh token. It sees every answer,
	// including successful ones with their tokens. It returns nil to keep the
	// built-in meaning. Its result gets Op, Status and RetryAfter if they are
	// not set. A new refresh token in the answer is kept unless the Class is
	// GrantDead.
	Classify func(status int, header http.Header, body []byte) *providers.Error `json:"-"`
	// IntrospectionURL is the endpoint of RFC 7662. Verify needs it.
	IntrospectionURL string
	// DangerouslyUntypedTokens makes Verify accept an active token without a
	// token_type. At some servers a refresh token is such a token, and would
	// then pass as an access token.
	DangerouslyUntypedTokens bool
	// RevocationURL is the endpoint of RFC 7009. Revoke needs it.
	RevocationURL string
	// DangerouslyPlainHTTP lists hosts, each an exact host:port, whose
	// endpoints may be reached over http, for a network that is protected in
	// another way. The client's secret and the tokens then travel unencrypted.
	DangerouslyPlainHTTP []string
	// HTTPClient makes the calls. Its redirect policy and cookies are not used.
	// nil means a client of the Provider, see [upstream.New].
	HTTPClient *http.Client
	// Logger gets a Warn about a clock that is wrong, and about an
	// introspection endpoint that leaves out token_type; nil means
	// slog.Default().
	Logger *slog.Logger `json:"-"`
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Format writes a fixed text for every verb, so that no field is printed.
func (Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "oauth.Config(redacted)") }

// Key is a private key with which a client authenticates.
type Key struct {
	// ID is the kid of the assertions; "" means no kid.
	ID string
	// Algorithm is one of RS256, RS384, RS512, PS256, PS384, PS512, ES256,
	// ES384, ES512 and EdDSA. "" means RS256 for an RSA key, the algorithm of
	// the curve for an ECDSA key, and EdDSA for an Ed25519 key.
	Algorithm string
	// Certificate is the X.509 certificate of the key in PEM. If it is set,
	// assertions carry its thumbprint as x5t#S256 (RFC 7515 section 4.1.8).
	Certificate []byte
	// PEM is the private key as PKCS#1, PKCS#8 or SEC1, unencrypted. Signer
	// replaces it for a key that is elsewhere, such as in a KMS. A call waits
	// for a Signer no longer than its context. At most 16 signatures of one key
	// are in progress at once.
	PEM    []byte        `json:"-"`
	Signer crypto.Signer `json:"-"`
}

func (k Key) set() bool { return len(k.PEM) > 0 || k.Signer != nil }

// Format writes ID and never the key, for every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "oauth.Key(%s, redacted)", k.ID) }

// Provider takes tokens from an RFC 6749 token endpoint. [New] makes it. It is
// a [providers.OptionalRefresher], [providers.Verifier] and [providers.Revoker].
type Provider struct {
	client           *upstream.Client
	now              func() time.Time
	logger           *slog.Logger
	auth             authenticate
	signs            bool // auth, or the grant, signs assertions
	grant            grantType
	claims           claimsFunc // nil unless the grant signs its own assertion
	issuers          []string
	requested        string // requested_token_type
	tokenURL         string
	introspectionURL string
	untyped          bool
	lines            *warnlog.Rare // of the log
	revocationURL    string
	scopes           []string
	params           url.Values
	audience         string // the parameter's name
	tokenTypes       []string
	classify         func(status int, header http.Header, body []byte) *providers.Error
	keyPrefix        string // a digest of what names this client and this server
}

// Format writes a fixed text for every verb, so that Params are not printed: a
// grant's own secret may be among them.
func (Provider) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "oauth.Provider(redacted)") }

var (
	_ providers.OptionalRefresher = (*Provider)(nil)
	_ providers.Verifier          = (*Provider)(nil)
	_ providers.Revoker           = (*Provider)(nil)
	_ providers.Keyer             = (*Provider)(nil)
	_ providers.Moder             = (*Provider)(nil)
)

// CanRefresh implements [providers.OptionalRefresher]: the grant is
// refresh_token, and a token endpoint is configured.
func (p *Provider) CanRefresh() bool { return p.grant == refreshToken && p.tokenURL != "" }

// CanVerify reports whether an introspection endpoint is configured, which
// [Provider.Verify] needs.
func (p *Provider) CanVerify() bool { return p.introspectionURL != "" }

// Mode is [providers.Rotating] for the refresh_token grant and
// [providers.Shared] for all others. Rotating is right for servers that do not
// rotate, too (RFC 9700 section 4.14.2).
func (p *Provider) Mode() providers.Mode {
	if p.grant == refreshToken {
		return providers.Rotating
	}
	return providers.Shared
}

// Key is [providers.Request.Key] of req. A request that the grant type does not
// allow is an error. With token_exchange and jwt_bearer the key begins with a
// digest of the client, its endpoint, scopes and Params. The token cache adds a
// digest of the assertion.
func (p *Provider) Key(req providers.Request) (string, error) {
	if err := p.check("key", req); err != nil {
		return "", err
	}
	var buf [256]byte
	key, err := req.AppendKey(append(buf[:0], p.keyPrefix...))
	if err != nil {
		return "", err
	}
	return string(key), nil
}

// Generate asks for a token: for the client itself (RFC 6749 section 4.4) or,
// with token_exchange and jwt_bearer, for the assertion of req. A token for an
// assertion has no refresh token and ends no later than the assertion. If the
// assertion does not tell its end, the token ends after five minutes.
//
// With the refresh_token grant Generate always fails with
// [providers.CodeGrantRequired]: only the user can give a new grant.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	const op = "generate"
	if err := p.check(op, req); err != nil {
		return providers.Token{}, err
	}
	switch {
	case p.tokenURL == "":
		return providers.Token{}, unsupported(op, "no token endpoint is configured")
	case p.grant == refreshToken:
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
	form.Set("grant_type", p.grant.wire())
	switch {
	case p.claims != nil:
		assertion, err := p.claims(ctx, req.Subject, form.Get("scope"))
		if err != nil {
			return providers.Token{}, credentialError(ctx, op, err)
		}
		form.Del("scope") // the assertion has it as a claim
		form.Set("assertion", assertion)
	case p.grant.exchanges():
		p.present(form, req)
	}
	t, err := p.token(ctx, request{op: op, form: form, person: p.claims == nil || req.Subject != ""})
	if err != nil {
		return providers.Token{}, err
	}
	return capped(t, req), nil
}

// Refresh spends refresh (RFC 6749 section 6). The server knows the user from
// refresh itself. If the answer has no new refresh token, the result repeats
// refresh.
func (p *Provider) Refresh(ctx context.Context, req providers.Request, refresh string) (providers.Token, error) {
	const op = "refresh"
	if req.Tenant != "" {
		return providers.Token{}, fault(op, providers.CodeTenantNotAllowed, "no tenants are configured")
	}
	if !p.CanRefresh() {
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
	form.Set("grant_type", string(refreshToken))
	form.Set("refresh_token", refresh)
	return p.token(ctx, request{op: op, form: form, presented: refresh, further: p.further(req)})
}

// further reports whether req asks for more than the configuration does.
func (p *Provider) further(req providers.Request) bool {
	for _, name := range []string{p.audience, "audience", "resource", "claims"} {
		if req.Params[name] != nil {
			return true
		}
	}
	return len(req.Scopes) > 0 || req.Audience != ""
}

// check refuses a request that the grant type cannot fulfil.
func (p *Provider) check(op string, req providers.Request) error {
	switch {
	case req.Tenant != "":
		return fault(op, providers.CodeTenantNotAllowed, "no tenants are configured")
	case len(req.Identifiers) > 0:
		return fault(op, providers.CodeInvalidField, "Identifiers: none are known")
	case p.grant == refreshToken && req.Subject == "":
		return fault(op, providers.CodeIdentityRequired, "")
	case p.grant != refreshToken && !p.grant.exchanges() && req.Subject != "":
		return fault(op, providers.CodeInvalidField, "the client's own token is not for a user")
	case p.claims != nil: // the Subject is sent to the server
		if err := wire.UserID(req.Subject); err != nil {
			return err
		}
	}
	return p.checkAssertion(op, req)
}

func fault(op string, code providers.Code, description string) *providers.Error {
	return &providers.Error{Code: code, Class: providers.Permanent, Op: opName(op), Description: description}
}

func opName(op string) string { return "oauth: " + op }
