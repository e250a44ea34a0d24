package middleware

import (
	"crypto"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
	"github.com/bearerkit/bearerkit/internal/plainhttp"
	"github.com/bearerkit/bearerkit/internal/upstream"
)

// Issuer is one party whose JWTs are accepted, and how they are checked. Its
// keys come from exactly one of JWKSURL, Discover, Keys and Secrets. They never
// verify another issuer's tokens. An ordinary issuer needs Issuer, Audiences,
// Algorithms and Discover. docs/identity-providers.md has the other fields by
// provider.
type Issuer struct {
	// Issuer is the value of iss, compared byte by byte. If it contains
	// "{tenantid}", it is the template of Microsoft Entra's tenants: the
	// token's tid, a lower-case GUID, takes that place, and Tenants lists the
	// accepted tenants.
	Issuer string
	// Tenants are the tenants of a template, or AnyTenant alone.
	Tenants []string
	// WithoutIssuer also accepts tokens that have no iss. No other entry may
	// have a key that verifies them.
	WithoutIssuer bool

	// Audiences are the values of aud that mean this API. A token must have one
	// of them.
	Audiences []string
	// AnyAudience accepts tokens with any aud, or without aud, such as
	// ContactsManager's. Audiences must then be empty.
	AnyAudience bool
	// AudienceClaim names the claim that is compared with Audiences; "" means
	// aud. Another claim, such as Cognito's client_id, says who asked for the
	// token and not for whom it is. A mark of an access token must then be
	// demanded too: typ at+jwt, or /token_use or /typ in Require.Claims.
	AudienceClaim string

	// Algorithms are the accepted algorithms: RS256, RS384, RS512, PS256,
	// PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519; with Secrets HS256,
	// HS384, HS512.
	Algorithms []string
	// Types are the accepted values of typ, in any case and with or without
	// "application/"; "" stands for no typ. nil means no typ, JWT and at+jwt.
	Types []string
	// AccessTokenProfile demands RFC 9068: typ at+jwt, and exp, iat, jti, sub
	// and client_id.
	AccessTokenProfile bool
	// Require is demanded of this entry's tokens. A token that does not meet
	// its Claims or Audiences does not belong to this entry and is answered
	// 401.
	Require Rule

	// SubjectClaim names the claim that is the subject; "" means sub.
	SubjectClaim string
	// IntegerSubject says that SubjectClaim may be an integer. It cannot be sub
	// then. The subject is its decimal text.
	IntegerSubject bool
	// Subjects says whether the subjects are Own or Qualified. It is required
	// if there is more than one source of tokens, or more than one tenant.
	Subjects Subjects

	// JWKSURL is where the issuer publishes its keys (RFC 7517): https, or
	// http to a loopback address.
	JWKSURL string
	// Discover finds JWKSURL from Issuer, by OpenID Connect Discovery or RFC
	// 8414. Issuer must then be an https URL. For a template it reads the
	// document of the tenant "common".
	Discover bool
	// Keys are public keys by kid: *rsa.PublicKey, *ecdsa.PublicKey or
	// ed25519.PublicKey. The key of kid "" is for tokens with any other kid, or
	// none.
	Keys map[string]crypto.PublicKey
	// Secrets are HMAC keys, tried in order: first the current one, then
	// earlier ones. The token's kid is not used.
	Secrets [][]byte
	// DangerouslyShortSecrets accepts Secrets shorter than the hash. RFC 7518
	// section 3.2 forbids these because they can be guessed.
	DangerouslyShortSecrets bool
	// KeyUses are the accepted values of a JWK's use, such as SPIFFE's
	// jwt-svid; "" stands for no use. nil means sig and no use.
	KeyUses []string
	// RefreshEvery is how often the key set is fetched again while requests
	// come, at least 1 s. 0 means what max-age in the answer's Cache-Control
	// says, at least 1 minute and at most 1 hour, or 15 minutes if there is no
	// max-age or if it is 0. The package comment says how unknown kids and
	// removed keys are noticed.
	RefreshEvery time.Duration
	// HTTPClient fetches the key set; nil means a client with
	// http.DefaultTransport. Redirects are never followed.
	HTTPClient *http.Client
	// DangerouslyPlainHTTP lists hosts, each an exact host:port, that may be
	// reached over http, for a network that is protected in another way. An
	// address that was discovered over https must itself be https.
	DangerouslyPlainHTTP []string
}

// AnyTenant, alone in Issuer.Tenants, accepts every tenant of a template. Any
// person can create a tenant.
const AnyTenant = "*"

const tenantParam = jws.TenantParam

// clone returns a copy that shares nothing that can change with i. Otherwise an
// answer of Resolve that is changed in place would look like the one before.
func (i Issuer) clone() Issuer {
	i.Tenants, i.Audiences, i.Algorithms = slices.Clone(i.Tenants), slices.Clone(i.Audiences), slices.Clone(i.Algorithms)
	i.Types, i.KeyUses, i.DangerouslyPlainHTTP = slices.Clone(i.Types), slices.Clone(i.KeyUses), slices.Clone(i.DangerouslyPlainHTTP)
	i.Require, i.Keys, i.Secrets = i.Require.clone(), maps.Clone(i.Keys), slices.Clone(i.Secrets)
	for n := range i.Secrets {
		i.Secrets[n] = slices.Clone(i.Secrets[n])
	}
	return i
}

func (i *Issuer) template() bool { return strings.Contains(i.Issuer, tenantParam) }

func (i *Issuer) manyTenants() bool {
	return i.template() && (len(i.Tenants) != 1 || i.Tenants[0] == AnyTenant)
}

// tenantIn returns the tenant with which i's template is filled in iss.
func (i *Issuer) tenantIn(iss string) (tenant string, ok bool) {
	before, after, template := strings.Cut(i.Issuer, tenantParam)
	if !template || len(iss) < len(before)+len(after) || !strings.HasPrefix(iss, before) || !strings.HasSuffix(iss, after) {
		return "", false
	}
	tenant = iss[len(before) : len(iss)-len(after)]
	return tenant, lowerGUID(tenant)
}

// hasTenant reports whether iss is that of an accepted tenant of i's template.
func (i *Issuer) hasTenant(iss string) bool {
	tenant, ok := i.tenantIn(iss)
	return ok && (slices.Contains(i.Tenants, tenant) || slices.Contains(i.Tenants, AnyTenant))
}

func (i *Issuer) subjectClaim() string {
	if i.SubjectClaim == "" {
		return "sub"
	}
	return i.SubjectClaim
}

func (i *Issuer) audienceClaim() string {
	if i.AudienceClaim == "" {
		return "aud"
	}
	return i.AudienceClaim
}

func (i *Issuer) check() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if i.Issuer == "" {
		fault("Issuer is empty")
	}
	if err := checkAudiences(i.Audiences, i.AnyAudience); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, i.checkSources()...)
	errs = append(errs, i.checkTenants()...)
	errs = append(errs, i.checkTypes()...)
	if err := i.Require.check(); err != nil {
		fault("Require: %w", err)
	}
	if i.AudienceClaim != "" && i.AudienceClaim != "aud" && !i.marksAccessTokens() {
		fault("AudienceClaim says who asked, so that ID tokens have it too: demand typ at+jwt, or /token_use or /typ in Require.Claims (RFC 8725 section 3.12)")
	}
	if i.IntegerSubject && i.subjectClaim() == "sub" {
		fault("IntegerSubject needs a SubjectClaim: sub is a string (RFC 7519 section 4.1.2)")
	}
	errs = append(errs, i.Subjects.check()...)
	return append(errs, i.checkAlgorithms()...)
}

func checkAudiences(audiences []string, any bool) error {
	switch {
	case any && len(audiences) > 0:
		return errors.New("AnyAudience and Audiences contradict each other")
	case !any && len(audiences) == 0:
		return errors.New("Audiences is empty (AnyAudience accepts tokens for everybody)")
	case slices.Contains(audiences, ""):
		return errors.New("an audience is empty")
	}
	return nil
}

func (i *Issuer) checkSources() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
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
		if err := checkAddress("JWKSURL", i.JWKSURL, i.DangerouslyPlainHTTP); err != nil {
			errs = append(errs, err)
		}
	}
	if i.Discover {
		err := checkAddress("Issuer", i.Issuer, i.DangerouslyPlainHTTP)
		if err == nil && strings.Contains(i.Issuer, "?") {
			err = errors.New("Issuer: userinfo, query and fragment are not allowed")
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if err := plainhttp.Check("DangerouslyPlainHTTP", i.DangerouslyPlainHTTP); err != nil {
		errs = append(errs, err)
	}
	if i.RefreshEvery != 0 && i.RefreshEvery < time.Second {
		fault("RefreshEvery is under 1 s")
	}
	if slices.Contains(i.KeyUses, "enc") {
		fault("KeyUses: keys for encryption verify no signatures")
	}
	return errs
}

// unverified are claims that the administrator of any tenant can set to any
// value.
var unverified = []string{"email", "upn", "preferred_username", "unique_name"}

func (i *Issuer) checkTenants() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case !i.template() && len(i.Tenants) > 0:
		fault("Tenants needs %s in Issuer", tenantParam)
	case !i.template():
	case strings.Count(i.Issuer, tenantParam) > 1:
		fault("Issuer has %s twice", tenantParam)
	case len(i.Tenants) == 0:
		fault("Tenants is empty (AnyTenant accepts all)")
	case slices.Contains(i.Tenants, AnyTenant) && len(i.Tenants) > 1:
		fault("AnyTenant stands alone in Tenants")
	case slices.Contains(unverified, i.subjectClaim()):
		fault("SubjectClaim %s can be set by any tenant: use sub or oid", i.SubjectClaim)
	}
	for _, id := range i.Tenants {
		if id != AnyTenant && !lowerGUID(id) {
			fault("tenant %q is not a lower-case GUID", id)
		}
	}
	if i.template() && i.WithoutIssuer {
		fault("WithoutIssuer and a template contradict each other")
	}
	return errs
}

// lowerGUID reports whether s has the 8-4-4-4-12 form in lower case, which
// Entra writes.
func lowerGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for n := range len(s) {
		dash := n == 8 || n == 13 || n == 18 || n == 23
		hex := '0' <= s[n] && s[n] <= '9' || 'a' <= s[n] && s[n] <= 'f'
		if dash != (s[n] == '-') || !dash && !hex {
			return false
		}
	}
	return true
}

// otherTypes are JWTs that are never access tokens (RFC 9449, OpenID Connect
// Back-Channel Logout, RFC 8417).
var otherTypes = []string{"dpop+jwt", "logout+jwt", "secevent+jwt"}

// mediaType returns typ in the form for comparison (RFC 7515 section 4.1.9).
func mediaType(s string) string {
	return strings.TrimPrefix(plainhttp.Lower(s), "application/")
}

func (i *Issuer) checkTypes() (errs []error) {
	if i.AccessTokenProfile && i.Types != nil {
		errs = append(errs, errors.New("AccessTokenProfile says which typ it demands: Types must be nil"))
	}
	if i.Types != nil && len(i.Types) == 0 {
		errs = append(errs, errors.New("Types is empty and accepts no token: nil means the usual ones"))
	}
	for _, t := range i.Types {
		if slices.Contains(otherTypes, mediaType(t)) {
			errs = append(errs, fmt.Errorf("typ %q is never an access token's", t))
		}
	}
	return errs
}

// marksAccessTokens reports whether the entry demands something that an ID
// token does not have.
func (i *Issuer) marksAccessTokens() bool {
	if i.AccessTokenProfile {
		return true
	}
	if len(i.Types) > 0 && !slices.ContainsFunc(i.Types, func(t string) bool { return mediaType(t) != "at+jwt" }) {
		return true
	}
	for _, pointer := range []string{"/token_use", "/typ"} {
		if values := i.Require.Claims[pointer]; len(values) > 0 && !slices.ContainsFunc(values, otherToken) {
			return true
		}
	}
	return false
}

// otherToken reports whether mark is that of another kind of token.
func otherToken(mark string) bool {
	return slices.ContainsFunc([]string{"id", "refresh", "offline", "logout"}, func(s string) bool { return strings.EqualFold(s, mark) })
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

// checkAddress checks the address of a key set or an issuer: https, or http to
// a loopback address or to one of plain. The address of a key set may have a
// query.
func checkAddress(field, raw string, plain []string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return fmt.Errorf("%s: not a URL", field)
	case u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("%s: not an absolute URL", field)
	case u.User != nil || strings.Contains(raw, "#"):
		return fmt.Errorf("%s: userinfo and fragment are not allowed", field)
	case u.Scheme == "https", u.Scheme == "http" && (upstream.Loopback(plainhttp.Lower(u.Hostname())) || plainhttp.Allowed(plain, u)):
		return nil
	}
	return fmt.Errorf("%s: must be https (http only to a loopback address, or to a host in DangerouslyPlainHTTP)", field)
}
