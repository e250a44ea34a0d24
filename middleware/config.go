package middleware

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// Config says whose tokens an [Authenticator] accepts, where it looks for them
// and how it answers. At least one of Issuers and Opaque is required.
type Config struct {
	// Issuers sign JWTs. A token belongs to the one whose Issuer is its iss.
	Issuers []Issuer
	// Opaque are verifiers of tokens that say nothing by themselves.
	Opaque []Opaque
	// Require is demanded of every token; see [Authenticator.Require] for
	// more on single routes.
	Require Rule
	// Optional lets requests without credentials pass, with nothing in their
	// context. Credentials that are presented and wrong never pass.
	Optional bool

	// Cookie, Query and Form name further places in which a token may be.
	// The Authorization header is always looked at; two tokens in one
	// request are refused. A cookie needs protection against cross-site
	// requests (net/http.CrossOriginProtection); a query ends up in logs.
	// Form is read from url-encoded bodies only (RFC 6750 section 2.2), which
	// the handler then finds in r.PostForm.
	Cookie, Query, Form string
	// Extract, if set, replaces all of these: it returns the tokens found.
	Extract func(*http.Request) []string

	// Realm is the realm of challenges; "" means "api".
	Realm string
	// Resource is this API's identifier, an https URL (RFC 9728). If set,
	// challenges point to the document that [Authenticator.Metadata] serves.
	Resource string
	// ErrorHandler answers refused requests; nil means [Error.ServeHTTP].
	ErrorHandler func(http.ResponseWriter, *http.Request, *Error)

	// Revoked reports that a token, valid otherwise, was withdrawn. It is
	// asked on every request; its error is answered 503. See [DenyList].
	Revoked func(context.Context, *Verified) (bool, error)
	// Renew, if set, renews tokens whose only fault is their age.
	Renew *Renew

	// Leeway is the clock difference allowed on exp, nbf, iat and auth_time:
	// 0 means 60 s, negative none; 5 minutes at most.
	Leeway time.Duration
	// CacheSize is how many verified tokens are remembered, so that they need
	// no second signature check: 0 means 10 000, negative none. A token and
	// its claims take 2 KiB on average at most.
	CacheSize int
	// Observer, if set, gets events: the package comment lists them. Its
	// context has the values of the request that caused the event. It must be
	// fast and safe for concurrent use.
	Observer func(context.Context, providers.Event)
	// Logger gets key sets that cannot be fetched, and at Debug every refusal;
	// never a token. Nil means slog.Default at Warn and above;
	// slog.DiscardHandler is silence.
	Logger *slog.Logger
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Issuer is one party whose JWTs are accepted, and how they are checked. Its
// keys come from exactly one of JWKSURL, Discover, Keys and Secrets, and never
// verify another issuer's tokens.
type Issuer struct {
	// Issuer is the value of iss, compared byte by byte.
	Issuer string
	// Audiences are the values of aud that mean us; one of them must be in
	// the token.
	Audiences []string
	// AnyAudience accepts tokens for everybody, or without aud, as
	// ContactsManager's are. Audiences must then be empty.
	AnyAudience bool
	// Algorithms are those accepted: RS256, RS384, RS512, PS256, PS384, PS512,
	// ES256, ES384, ES512, EdDSA, Ed25519; with Secrets HS256, HS384, HS512.
	Algorithms []string

	// JWKSURL is where the issuer publishes its keys (RFC 7517): https, or
	// http to a loopback address.
	JWKSURL string
	// Discover finds JWKSURL by OpenID Connect Discovery or RFC 8414 from
	// Issuer, which must then be such a URL.
	Discover bool
	// Keys are public keys by kid: *rsa.PublicKey, *ecdsa.PublicKey or
	// ed25519.PublicKey. The key of kid "" serves tokens of any kid or none.
	Keys map[string]crypto.PublicKey
	// Secrets are HMAC keys, tried in order: the current one first, then
	// those it replaced. The token's kid is not looked at.
	Secrets [][]byte
	// DangerouslyShortSecrets accepts Secrets shorter than the hash, which
	// RFC 7518 section 3.2 forbids because they can be guessed.
	DangerouslyShortSecrets bool

	// AccessTokenProfile demands RFC 9068: typ at+jwt, and exp, iat, jti, sub
	// and client_id. Without it, typ may be absent, JWT or at+jwt.
	AccessTokenProfile bool
	// SubjectClaim names the claim that is the subject; "" means sub.
	SubjectClaim string
	// IssuerClaim names the claim that is compared with Issuer; "" means iss.
	// Another one serves issuers whose tokens have no iss, like org_id of
	// ContactsManager's Node SDK.
	IssuerClaim string

	// RefreshEvery is how often the key set is fetched again while requests
	// come, at least 1 s. 0 means every 15 minutes, or as the answer's
	// Cache-Control says within 1 minute and 1 hour. Unknown kids and removed
	// keys are noticed as the package comment says.
	RefreshEvery time.Duration
	// HTTPClient fetches the key set; nil means one over
	// http.DefaultTransport. Redirects are never followed.
	HTTPClient *http.Client
}

// Opaque verifies tokens that are not JWTs by asking whoever issued them.
type Opaque struct {
	// Verifier answers for the tokens. An [*providers.Error] with
	// CodeInvalidToken refuses the token; any other error is answered 503.
	Verifier providers.Verifier
	// Owns tells by its form whether a token is the Verifier's. It sees
	// unverified input, and should refuse whatever may be another's: what it
	// accepts travels to the Verifier.
	Owns func(token string) bool
	// Issuer is what [Verified.Issuer] says of these tokens; it may be empty.
	Issuer string
	// CacheFor is how long a positive answer is believed, never beyond the
	// token's expiry: 0 means 30 s, negative not at all. Negative answers
	// hold for a sixth of it.
	CacheFor time.Duration
}

const (
	defaultLeeway    = time.Minute
	maxLeeway        = 5 * time.Minute
	defaultCacheSize = 10_000
	maxTokenBytes    = 16 << 10
)

func (c *Config) check() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("middleware: "+format, args...)) }
	if len(c.Issuers)+len(c.Opaque) == 0 {
		fault("Config has neither Issuers nor Opaque")
	}
	seen := map[[2]string]bool{}
	for i := range c.Issuers {
		iss := &c.Issuers[i]
		for _, err := range iss.check() {
			fault("Issuers[%d]: %w", i, err)
		}
		id := [2]string{iss.issuerClaim(), iss.Issuer}
		if seen[id] {
			fault("Issuers[%d]: Issuer %q is configured twice", i, iss.Issuer)
		}
		seen[id] = true
	}
	for i, o := range c.Opaque {
		if o.Verifier == nil {
			fault("Opaque[%d]: Verifier is nil", i)
		}
		if o.Owns == nil {
			fault("Opaque[%d]: Owns is nil", i)
		}
	}
	if err := c.Require.check(); err != nil {
		fault("Require: %w", err)
	}
	if c.Leeway > maxLeeway {
		fault("Leeway is over 5 minutes")
	}
	if !quotable(c.Realm) {
		fault("Realm has characters outside printable ASCII")
	}
	if c.Resource != "" {
		if _, err := metadataURL(c.Resource); err != nil {
			fault("Resource: %w", err)
		}
	}
	if c.Extract != nil && c.Cookie+c.Query+c.Form != "" {
		fault("Extract replaces Cookie, Query and Form: set either")
	}
	if c.Renew != nil {
		for _, err := range c.Renew.check() {
			fault("Renew: %w", err)
		}
	}
	return errors.Join(errs...)
}

func (i *Issuer) issuerClaim() string {
	if i.IssuerClaim == "" {
		return "iss"
	}
	return i.IssuerClaim
}

func (i *Issuer) check() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if i.Issuer == "" {
		fault("Issuer is empty")
	}
	switch {
	case i.AnyAudience && len(i.Audiences) > 0:
		fault("AnyAudience and Audiences contradict each other")
	case !i.AnyAudience && len(i.Audiences) == 0:
		fault("Audiences is empty (AnyAudience accepts tokens for everybody)")
	case slices.Contains(i.Audiences, ""):
		fault("an audience is empty")
	}
	sources := 0
	for _, set := range []bool{i.JWKSURL != "", i.Discover, len(i.Keys) > 0, len(i.Secrets) > 0} {
		if set {
			sources++
		}
	}
	if sources != 1 {
		fault("exactly one of JWKSURL, Discover, Keys and Secrets must be set, not %d", sources)
	}
	if i.JWKSURL != "" {
		if err := checkKeysURL("JWKSURL", i.JWKSURL); err != nil {
			errs = append(errs, err)
		}
	}
	if i.Discover {
		if _, err := upstream.CheckURL("Issuer", i.Issuer); err != nil {
			errs = append(errs, err)
		}
	}
	if i.RefreshEvery != 0 && i.RefreshEvery < time.Second {
		fault("RefreshEvery is under 1 s")
	}
	return append(errs, i.checkAlgorithms()...)
}

func (i *Issuer) checkAlgorithms() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(i.Algorithms) == 0 {
		fault("Algorithms is empty")
	}
	for _, alg := range i.Algorithms {
		known, symmetric := jws.Known(alg)
		switch {
		case !known:
			fault("algorithm %q is not known", alg)
		case symmetric && len(i.Secrets) == 0:
			fault("%s needs Secrets, and never goes with public keys", alg)
		case !symmetric && len(i.Secrets) > 0:
			fault("%s does not go with Secrets", alg)
		}
		for n, secret := range i.Secrets {
			switch {
			case len(secret) == 0:
				fault("Secrets[%d] is empty", n)
			case symmetric && !i.DangerouslyShortSecrets && jws.Fit(alg, secret) != nil:
				fault("Secrets[%d] is shorter than the hash of %s", n, alg)
			}
		}
	}
	for kid, key := range i.Keys {
		k := jws.Key{Public: key}
		if !slices.ContainsFunc(i.Algorithms, k.Fits) {
			fault("Keys[%q] is a %T that fits none of Algorithms", kid, key)
		}
	}
	return errs
}

// checkKeysURL is upstream.CheckURL, but a key set's address may have a query.
func checkKeysURL(field, raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("%s: not a URL", field)
	}
	u.RawQuery = ""
	_, err = upstream.CheckURL(field, u.String())
	return err
}
