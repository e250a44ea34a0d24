package middleware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// Config says whose tokens an [Authenticator] accepts, where it looks for them
// and how it answers. At least one of Issuers, Opaque and Resolve is required.
type Config struct {
	// Issuers sign JWTs. A token belongs to the one whose Issuer is its iss.
	// Of several entries with one Issuer a token must pass all checks of one,
	// and be signed with a key of that one.
	Issuers []Issuer
	// Opaque are verifiers of tokens that say nothing by themselves.
	Opaque []Opaque
	// Resolve, if set, is asked for the Issuer of an iss that Issuers does not
	// have: nil means that it is not accepted, and an error means that it is
	// not known, 503. It is asked once for all requests that wait, after every
	// check that needs no Issuer, on a context of its own with a deadline. The
	// answer must have that iss, an https address, and Qualified subjects. An
	// Issuer is used for 5 minutes and asked for again; a refusal holds for
	// 30 s. An answer with the same values and the same HTTPClient keeps its
	// keys. See the package comment on the addresses that are not reached.
	Resolve func(ctx context.Context, iss string) (*Issuer, error)
	// DangerouslyPrivateHosts are host names, without port, from which the
	// key sets of Resolve's issuers may be fetched although their addresses
	// are loopback, private or link-local ones, or although HTTPClient does
	// not let the address be seen.
	DangerouslyPrivateHosts []string
	// DangerouslySharedSubjects lets more than one source of tokens have Own
	// subjects: a user of one is then the user of the same name of the others.
	DangerouslySharedSubjects bool

	// Require is demanded of every token; see [Authenticator.Require] for
	// more on single routes.
	Require Rule
	// Optional lets requests without credentials pass, with nothing in their
	// context. Credentials that are presented and wrong never pass.
	Optional bool

	// Cookie, Query and Form name further places in which a token may be.
	// The Authorization header is always looked at; two tokens in one
	// request are refused. A cookie needs protection against cross-site
	// requests (net/http.CrossOriginProtection). A query ends up in the logs
	// of servers in front; the handler gets the request without the token.
	// Form is read from url-encoded bodies of up to 1 MiB only (RFC 6750
	// section 2.2); the handler can read the body as if it had not been read.
	Cookie, Query, Form string
	// Extract, if set, replaces all of these: it returns the tokens found.
	Extract func(*http.Request) []string
	// MaxTokenBytes is the length up to which a token is looked at: 0 means
	// 16 KiB, and 128 KiB is the most.
	MaxTokenBytes int

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
	// its claims take 2 KiB on average at most; one that is too long for that
	// is not remembered.
	CacheSize int
	// Observer, if set, gets events: the package comment lists them. Its
	// context has the values of the request that caused the event. It must be
	// fast and safe for concurrent use.
	Observer func(context.Context, providers.Event)
	// Logger gets key sets that cannot be fetched, and at Debug every refusal
	// and its cause; never a token. Nil means slog.Default at Warn and above;
	// slog.DiscardHandler is silence.
	Logger *slog.Logger
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Opaque verifies tokens that are not JWTs by asking the server that issued
// them.
type Opaque struct {
	// Verifier answers for the tokens. An [*providers.Error] with
	// CodeInvalidToken refuses the token; any other error is answered 503.
	Verifier providers.Verifier
	// Owns tells by its form whether a token is the Verifier's. It sees
	// unverified input, and should refuse whatever may be another's: what it
	// accepts travels to the Verifier.
	Owns func(token string) bool
	// Issuer is what [Verified.Issuer] says of these tokens; it may be empty.
	// An answer that has an iss must have this one.
	Issuer string
	// Audiences are the values of the answer's aud that mean us; one must be
	// there. AnyAudience accepts any answer, also without aud.
	Audiences   []string
	AnyAudience bool
	// SubjectClaim names the member of the answer that is the subject, a
	// string. "" means what the Verifier says.
	SubjectClaim string
	// Subjects says whether the subjects are Own or Qualified; it is required
	// if there is more than one source of tokens.
	Subjects Subjects
	// CacheFor is how long a positive answer is believed, never beyond the
	// token's expiry: 0 means 30 s, negative not at all. Negative answers
	// hold for a sixth of it.
	CacheFor time.Duration
	// AtOnce is how many calls of Verifier run at one time: 0 means 32. For
	// each of them 32 more requests wait; others are answered 503.
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

// checkEntries compares the entries that share an Issuer.
func (c *Config) checkEntries() (errs []error) {
	first := map[string]int{}
	for i := range c.Issuers {
		j, seen := first[c.Issuers[i].Issuer]
		if !seen {
			first[c.Issuers[i].Issuer] = i
			continue
		}
		a, b := &c.Issuers[j], &c.Issuers[i]
		if a.SubjectClaim != b.SubjectClaim || a.IntegerSubject != b.IntegerSubject || a.Subjects != b.Subjects {
			errs = append(errs, fmt.Errorf("middleware: Issuers[%d] and Issuers[%d] have one Issuer and must have one SubjectClaim, IntegerSubject and Subjects", j, i))
		}
	}
	return errs
}

// checkSubjects demands that it is said whose subject a subject is.
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
	return append(errs, o.Subjects.check()...)
}
