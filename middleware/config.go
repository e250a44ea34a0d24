package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// Config says whose tokens an [Authenticator] accepts, where it finds them and
// how it answers. At least one of Issuers, Opaque and Resolve is required.
type Config struct {
	// Issuers are the parties whose JWTs are accepted. The iss of a token
	// selects the entry. If several entries have one Issuer, a token must pass
	// all checks of one entry, with a key of the same entry.
	Issuers []Issuer
	// Opaque are verifiers of opaque tokens.
	Opaque []Opaque
	// Resolve, if set, returns the Issuer for an iss that Issuers does not
	// have. nil means that it is not accepted. An error means that the answer
	// is not known: 503. Resolve is called after every check that needs no
	// Issuer, once for all requests that wait, with a context that has a
	// deadline and does not end with a request. Its answer must have that iss,
	// an https address, and Qualified subjects. An Issuer is used for 5
	// minutes, then Resolve is called again. A refusal is used for 30 s. If the
	// answer has the same values and the same HTTPClient as before, the keys
	// are kept. The package comment says which addresses are not reached.
	Resolve func(ctx context.Context, iss string) (*Issuer, error)
	// DangerouslyPrivateHosts are host names, without port. The key sets of
	// Resolve's issuers may be fetched from these hosts even if their addresses
	// are loopback, private or link-local, or if HTTPClient hides the address.
	DangerouslyPrivateHosts []string
	// DangerouslySharedSubjects lets more than one source of tokens have Own
	// subjects. A user of one source is then the user of the same name of the
	// other sources.
	DangerouslySharedSubjects bool

	// Require is demanded of every token. [Authenticator.Require] adds rules
	// for single routes.
	Require Rule
	// Optional lets requests without credentials pass, with nothing in their
	// context. Wrong credentials never pass.
	Optional bool

	// Cookie, Query and Form name further places in which a token may be. The
	// Authorization header is always read. Two tokens in one request are
	// refused.
	//
	// A cookie needs protection against cross-site requests
	// (net/http.CrossOriginProtection). A query is written to the logs of
	// servers before this one; the handler gets the request without the token.
	// Form is read from url-encoded bodies of up to 1 MiB (RFC 6750 section
	// 2.2); the handler can still read the body.
	Cookie, Query, Form string
	// Extract, if set, replaces all of these places. It returns the tokens
	// found.
	Extract func(*http.Request) []string
	// MaxTokenBytes is the length of the longest token: 0 means 16 KiB. It is
	// at most 128 KiB.
	MaxTokenBytes int

	// Realm is the realm of challenges; "" means "api".
	Realm string
	// Resource is this API's identifier, an https URL (RFC 9728). If set,
	// challenges name the document that [Authenticator.Metadata] serves.
	Resource string
	// ErrorHandler answers refused requests; nil means [Error.ServeHTTP].
	ErrorHandler func(http.ResponseWriter, *http.Request, *Error)

	// Revoked reports whether a token was withdrawn. It is called for every
	// request with a valid token and, with Renew, for tokens that ended within
	// its Window: a withdrawal must be remembered for that long after the
	// token's end. Its error is answered 503. See [DenyList].
	Revoked func(context.Context, *Verified) (bool, error)
	// Renew, if set, renews tokens that are valid except for their age.
	Renew *Renew

	// Leeway is the accepted difference of the clocks for exp, nbf, iat and
	// auth_time: 0 means 60 s, negative means none. It is at most 5 minutes.
	Leeway time.Duration
	// CacheSize is how many verified tokens are remembered. A remembered token
	// needs no second signature check. 0 means 10 000, negative means none. A
	// token and its claims may take 2 KiB on average. A token that is too long
	// for that is not remembered.
	CacheSize int
	// Observer, if set, gets the events that the package comment lists. Its
	// context has the values of the request that caused the event. It must be
	// fast and safe for concurrent use.
	Observer func(context.Context, providers.Event)
	// Logger gets failed fetches of key sets and, at Debug, every refusal with
	// its cause. It never gets a token. nil means slog.Default at Warn and
	// above; slog.DiscardHandler is silence.
	Logger *slog.Logger
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Opaque verifies tokens that are not JWTs by asking the server that issued
// them.
type Opaque struct {
	// Verifier asks the server. An [*providers.Error] with CodeInvalidToken
	// refuses the token. Any other error is answered 503.
	Verifier providers.Verifier
	// Owns reports, from the form of a token alone, whether the token is the
	// Verifier's. Its argument is not verified. It should return false for
	// every token that may be another server's, because the Verifier sends what
	// it accepts to its server.
	Owns func(token string) bool
	// Issuer is the [Verified.Issuer] of these tokens. If the answer has an iss,
	// it must be Issuer. It may be empty unless Subjects is Qualified.
	Issuer string
	// Audiences are the values of aud that mean this API. The answer must have
	// one of them. AnyAudience accepts every answer, also without aud.
	Audiences   []string
	AnyAudience bool
	// SubjectClaim names the member of the answer that is the subject, a
	// string. "" means the Subject that the Verifier returns. Entries with one
	// Issuer must have one SubjectClaim; "" counts as sub there.
	SubjectClaim string
	// Subjects says whether the subjects are Own or Qualified. It is required
	// if there is more than one source of tokens.
	Subjects Subjects
	// CacheFor is how long a positive answer is kept, but never beyond the
	// token's expiry: 0 means 30 s, negative means not at all. Negative answers
	// are kept for a sixth of it.
	CacheFor time.Duration
	// AtOnce is how many calls of Verifier may run at the same time: 0 means
	// 32. For each of them 32 more requests may wait, for about 10 s. Further
	// requests are answered 503.
	AtOnce int
}

const (
	defaultLeeway     = time.Minute
	maxLeeway         = 5 * time.Minute
	defaultCacheSize  = 10_000
	defaultTokenBytes = 16 << 10
	maxTokenBytes     = 128 << 10
)

func (c *Config) check() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("middleware: "+format, args...)) }
	if len(c.Issuers)+len(c.Opaque) == 0 && c.Resolve == nil {
		fault("Config has neither Issuers nor Opaque nor Resolve")
	}
	for i := range c.Issuers {
		for _, err := range c.Issuers[i].check() {
			fault("Issuers[%d]: %w", i, err)
		}
	}
	for i := range c.Opaque {
		for _, err := range c.Opaque[i].check() {
			fault("Opaque[%d]: %w", i, err)
		}
	}
	errs = append(errs, checkPrivateHosts(c.DangerouslyPrivateHosts)...)
	errs = append(errs, c.checkEntries()...)
	errs = append(errs, c.checkSubjects()...)
	if err := c.Require.check(); err != nil {
		fault("Require: %w", err)
	}
	if c.Leeway > maxLeeway {
		fault("Leeway is over 5 minutes")
	}
	if c.MaxTokenBytes < 0 || c.MaxTokenBytes > maxTokenBytes {
		fault("MaxTokenBytes is not within 0 and 128 KiB")
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

// checkEntries compares the entries to which one token may belong.
func (c *Config) checkEntries() (errs []error) {
	for i := range c.Issuers {
		for j := range i {
			a, b := &c.Issuers[j], &c.Issuers[i]
			one := a.subjectClaim() == b.subjectClaim() && a.IntegerSubject == b.IntegerSubject
			switch {
			case a.Issuer == b.Issuer && (!one || a.Subjects != b.Subjects):
				errs = append(errs, fmt.Errorf("middleware: Issuers[%d] and Issuers[%d] have one Issuer and must have one SubjectClaim, IntegerSubject and Subjects", j, i))
			case !one && (a.hasTenant(b.Issuer) || b.hasTenant(a.Issuer)):
				errs = append(errs, fmt.Errorf("middleware: Issuers[%d] and Issuers[%d] accept one tenant and must have one SubjectClaim and IntegerSubject", j, i))
			}
		}
	}
	// A name in one claim may be another user's in another claim.
	for n, o := range c.Opaque {
		claim := o.subjectClaim()
		for i := range c.Issuers {
			if e := &c.Issuers[i]; (e.Issuer == o.Issuer || e.hasTenant(o.Issuer)) && e.subjectClaim() != claim {
				errs = append(errs, fmt.Errorf("middleware: Opaque[%d] and Issuers[%d] have one Issuer and must have one SubjectClaim", n, i))
			}
		}
		for m, other := range c.Opaque[:n] {
			if other.Issuer == o.Issuer && o.Issuer != "" && other.subjectClaim() != claim {
				errs = append(errs, fmt.Errorf("middleware: Opaque[%d] and Opaque[%d] have one Issuer and must have one SubjectClaim", m, n))
			}
		}
	}
	return errs
}

// checkSubjects reports sources that do not say whose their subjects are.
func (c *Config) checkSubjects() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("middleware: "+format, args...)) }
	sources := map[string]bool{}
	own := 0
	for i := range c.Issuers {
		if id := c.Issuers[i].Issuer; !sources[id] {
			sources[id] = true
			if c.Issuers[i].Subjects == Own {
				own++
			}
		}
	}
	for _, o := range c.Opaque {
		if o.Subjects == Own {
			own++
		}
	}
	several := len(sources)+len(c.Opaque) > 1 || c.Resolve != nil && len(sources)+len(c.Opaque) > 0
	for i := range c.Issuers {
		switch e := &c.Issuers[i]; {
		case several && e.Subjects == 0:
			fault("Issuers[%d]: Subjects is not set: with more than one source of tokens each says Own or Qualified", i)
		case e.manyTenants() && e.Subjects == 0:
			fault("Issuers[%d]: Subjects is not set: with more than one tenant it must say Own or Qualified", i)
		}
	}
	for i, o := range c.Opaque {
		if several && o.Subjects == 0 {
			fault("Opaque[%d]: Subjects is not set: with more than one source of tokens each says Own or Qualified", i)
		}
	}
	if own > 1 && !c.DangerouslySharedSubjects {
		fault("more than one source of tokens has Own subjects (DangerouslySharedSubjects makes them one)")
	}
	return errs
}

func (o *Opaque) subjectClaim() string { return cmp.Or(o.SubjectClaim, "sub") }

func (o *Opaque) check() (errs []error) {
	if o.Verifier == nil {
		errs = append(errs, errors.New("Verifier is nil"))
	}
	if o.Owns == nil {
		errs = append(errs, errors.New("Owns is nil"))
	}
	if o.AtOnce < 0 {
		errs = append(errs, errors.New("AtOnce is negative"))
	}
	if err := checkAudiences(o.Audiences, o.AnyAudience); err != nil {
		errs = append(errs, err)
	}
	if o.Subjects == Qualified && o.Issuer == "" {
		errs = append(errs, errors.New("Issuer is empty: two sources without one would share their Qualified subjects"))
	}
	return append(errs, o.Subjects.check()...)
}
