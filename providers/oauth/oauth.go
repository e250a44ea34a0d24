package oauth

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// Config describes one client at one authorization server.
type Config struct {
	// TokenURL is the token endpoint (RFC 6749 section 3.2); https, or http
	// to a loopback address. A Provider that only introspects or revokes
	// needs none.
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
	//   - "jwt_bearer" (RFC 7523 section 2.1): the same, the token being the
	//     assertion; or tokens for an assertion that Key signs, see Claims.
	//   - Any other grant_type, whose parameters are Params: the client's own
	//     tokens.
	Grant string
	// Issuers are those whose tokens token_exchange and jwt_bearer present to
	// the server, as [providers.Assertion].Issuer names them. Required there:
	// a token of any other issuer is never sent.
	Issuers []string
	// Claims, if not nil, has jwt_bearer sign its own assertion with Key: iss
	// is ClientID, aud AssertionAudience, sub the request's Subject if it has
	// one, and scope its scopes, beside exp, iat, jti and the Claims. JSON
	// values only. The client then needs no AuthMethod.
	Claims map[string]any
	// AuthMethod is how the client authenticates, by its registered name:
	// "client_secret_basic", the default with a secret, "client_secret_post",
	// "private_key_jwt", the default with a key or an assertion, or "none",
	// which sends the ClientID alone (public clients, and mutual TLS by
	// HTTPClient). "client_secret_basic_unencoded" is client_secret_basic
	// without the form-encoding of RFC 6749 section 2.3.1, for servers that
	// do not decode.
	AuthMethod string
	// Secret is the client secret: printable ASCII (RFC 6749 appendix A.2).
	// SecretFunc, in its place, is asked on every call, so that a secret can
	// change without a restart.
	Secret     string                                `json:"-"`
	SecretFunc func(context.Context) (string, error) `json:"-"`
	// Key signs the assertions of private_key_jwt (RFC 7523 section 2.2).
	Key Key
	// AssertionFunc yields, and AssertionFile holds, a client assertion that
	// somebody else signed (RFC 7521 section 4.2), such as a projected
	// Kubernetes token. Either is read again for each attempt; one trailing
	// line break of the file is dropped. AssertionAudience is then required:
	// an assertion with another aud, or one that has expired, is not sent.
	AssertionFunc func(context.Context) (string, error) `json:"-"`
	AssertionFile string
	// AssertionAudience is the aud of the assertions; TokenURL if empty.
	AssertionAudience string
	// AssertionLifetime is the time from iat to exp of the assertions that Key
	// signs: whole seconds, up to an hour; 0 for two minutes. Servers refuse
	// what lives longer than they allow, often five minutes.
	AssertionLifetime time.Duration
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
	// TokenTypes are further values of token_type that mean a Bearer token,
	// in any case, such as "BearerToken" or "bot". DPoP, mac and N_A cannot be
	// among them.
	TokenTypes []string
	// Classify tells what an answer of the token endpoint means where the
	// built-in rules do not: a dead refresh token by another name, for
	// example, is [providers.GrantDead]. It sees every answer, the good ones
	// with their tokens too, and returns nil for "as usual". What it returns
	// gets Op, Status and RetryAfter if it has none. A new refresh token in
	// the answer is kept whatever it returns, but for GrantDead.
	Classify func(status int, header http.Header, body []byte) *providers.Error `json:"-"`
	// IntrospectionURL is the endpoint of RFC 7662, which Verify needs.
	IntrospectionURL string
	// DangerouslyUntypedTokens has Verify accept an active token whose
	// token_type the server does not tell. At some servers a refresh token is
	// one, and would then pass as an access token.
	DangerouslyUntypedTokens bool
	// RevocationURL is the endpoint of RFC 7009, which Revoke needs.
	RevocationURL string
	// DangerouslyPlainHTTP lists hosts, each an exact host:port, whose endpoints
	// may be reached over http, for a network that protects itself: the client's
	// secret and the tokens travel in the clear.
	DangerouslyPlainHTTP []string
	// HTTPClient makes the calls; nil for one of the Provider's own, see
	// [upstream.New]. Its redirect policy and cookies are not used.
	HTTPClient *http.Client
	// Logger gets a Warn about a clock that is wrong, and about an introspection
	// endpoint that does not say token_type; nil for slog.Default().
	Logger *slog.Logger `json:"-"`
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
	// Certificate is the key's X.509 certificate in PEM. If set, assertions
	// carry its thumbprint as x5t#S256 (RFC 7515 section 4.1.8).
	Certificate []byte
	// PEM is the key as PKCS#1, PKCS#8 or SEC1, unencrypted. Signer stands
	// in its place for keys elsewhere, such as in a KMS.
	// A call waits for a Signer no longer than its context, and no more than
	// 16 signatures of one key are waited for at once.
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
	warned           *atomic.Pointer[time.Time] // when a missing token_type was last logged
	revocationURL    string
	scopes           []string
	params           url.Values
	audience         string // the parameter's name
	tokenTypes       []string
	classify         func(status int, header http.Header, body []byte) *providers.Error
	keyPrefix        string // tells this client of this server
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
// [providers.Shared] for all others.
func (p *Provider) Mode() providers.Mode {
	if p.grant == refreshToken {
		return providers.Rotating
	}
	return providers.Shared
}

// Key is [providers.Request.Key] of a request that the grant type allows. With
// token_exchange and jwt_bearer the client and its endpoint are in front; the
// token cache adds a digest of the assertion.
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
// assertion has no refresh token and ends no later than the assertion; one that
// does not say its end counts for five minutes.
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
		form.Del("scope") // it is a claim
		form.Set("assertion", assertion)
	case p.grant.exchanges():
		p.present(form, req)
	}
	t, err := p.token(ctx, request{op: op, form: form})
	if err != nil {
		return providers.Token{}, err
	}
	return capped(t, req), nil
}

// Refresh spends refresh (RFC 6749 section 6), which says by itself whose it
// is. If the answer has no new refresh token the result repeats refresh.
func (p *Provider) Refresh(ctx context.Context, req providers.Request, refresh string) (providers.Token, error) {
	const op = "refresh"
	if req.Tenant != "" {
		return providers.Token{}, fault(op, providers.CodeTenantNotAllowed, "no tenants are configured")
	}
	if p.grant != refreshToken || p.tokenURL == "" {
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

// further reports that req asks for more than the configuration always does.
func (p *Provider) further(req providers.Request) bool {
	for _, name := range []string{p.audience, "audience", "resource", "claims"} {
		if req.Params[name] != nil {
			return true
		}
	}
	return len(req.Scopes) > 0 || req.Audience != ""
}

// check tells requests apart that the grant type cannot honour.
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
	}
	return p.checkAssertion(op, req)
}

func fault(op string, code providers.Code, description string) *providers.Error {
	return &providers.Error{Code: code, Class: providers.Permanent, Op: opName(op), Description: description}
}

func opName(op string) string { return "oauth: " + op }
