package handlers

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/bearerkit/bearerkit/internal/warnlog"
	"github.com/bearerkit/bearerkit/providers"
)

// Wire is the JSON shapes of a vendor. Each vendor's provider implements it. A
// Wire may also be an [ErrorEncoder].
type Wire interface {
	// Decode reads a call. members are the members of the body, which is one
	// JSON object of at most 16 KiB: names match exactly, and none is repeated.
	// A call that names no person is no error here. Errors are
	// [*providers.Error].
	Decode(query url.Values, members map[string]json.RawMessage) (providers.Request, error)
	// Encode returns the body of the answer, for encoding/json.
	Encode(providers.Request, providers.Token) any
}

// PurgeChecker is a [providers.Purger] that knows which tokens are from before
// a Purge. The token cache is one. [Generate] and [Refresh] ask it just before
// they answer, so that a sign-out during their work, such as during
// Config.Handle, takes effect.
type PurgeChecker interface {
	providers.Purger
	// Purged reports whether t, a token of req's grant, is from before a Purge.
	Purged(req providers.Request, t providers.Token) bool
}

// Config says how [Generate], [Refresh], [Verify], [SignOut], [Redirect] and
// [Users] work. One value may be used for several of them. A Config does not
// print itself, because it may hold a key.
type Config struct {
	redacted
	// Provider issues the tokens; a *tokencache.Cache fits, which is also a
	// [PurgeChecker]. Required.
	Provider providers.Provider
	// Wire is the JSON shapes of the vendor. Required, except by [Verify].
	Wire Wire
	// Authorize says who may ask. Required: there is no default.
	Authorize Authorize
	// MaxSubject is the longest name of a person, in bytes; 0 means 256.
	MaxSubject int
	// Introspection makes [Verify] answer as RFC 7662 says, for services of our
	// own, instead of as Kudo does.
	Introspection bool
	// Cookie, if not nil, makes [Generate] put the access token into a cookie
	// and no token into the body, and makes [SignOut] clear that cookie. It is
	// a template for Name, which must begin with __Host-, and SameSite, which
	// is Strict by default. The handler sets Secure, HttpOnly, Path and
	// Max-Age, and refuses cross-origin calls.
	Cookie *http.Cookie
	// Handle, if not nil, returns what the cookie holds instead of the token: a
	// name under which the application finds the caller's record again.
	Handle func(*http.Request, providers.Request, providers.Token) (string, error)
	// Target makes the URL to which [Redirect] sends the browser with a token.
	Target func(accessToken string) (string, error)
	// CrossOrigin refuses cross-origin calls by browsers. Set it if Authorize
	// uses a cookie, or to trust further origins. nil means no check, but with
	// a Cookie it means a check that trusts no other origin.
	CrossOrigin *http.CrossOriginProtection
	// Logger gets the private half of failures. Failures of the upstream and of
	// this service are at Warn and Error, once a minute for each code. All
	// others are at Debug. nil means the slog.Default of the time when the
	// handler is made, at Warn and above; slog.DiscardHandler is silence.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// endpoint is a checked Config with its defaults, and the state that its
// handlers share.
type endpoint struct {
	Config
	reporter
}

func (c Config) endpoint(op, method string, faults ...error) (*endpoint, error) {
	if c.Provider == nil {
		faults = append(faults, fault("Provider", "required"))
	}
	if c.Authorize == nil {
		faults = append(faults, errNoAuthorize)
	}
	if c.MaxSubject < 0 {
		faults = append(faults, fault("MaxSubject", "negative"))
	}
	faults = append(faults, c.checkCookie())
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("handlers: %s: %w", op, err)
	}
	c.MaxSubject = cmp.Or(c.MaxSubject, 256)
	if c.Cookie != nil && c.CrossOrigin == nil {
		c.CrossOrigin = http.NewCrossOriginProtection()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	e := &endpoint{Config: c, reporter: reporter{log: logger(c.Logger), op: op, allow: method}}
	if x, ok := c.Wire.(ErrorEncoder); ok {
		e.extra = x.EncodeError
	}
	return e, nil
}

// wired reports a Config without a Wire as a fault.
func (c Config) wired() error {
	if c.Wire == nil {
		return fault("Wire", "required; a provider without one is for server to server: publish its keys with JWKS and forward calls with Proxy instead")
	}
	return nil
}

func logger(l *slog.Logger) *slog.Logger {
	return warnlog.OrDefault(l)
}

var errNoAuthorize = fault("Authorize", "required; see SubjectFrom and DangerouslyAllowAnyCaller")

func fault(field, text string) error { return fmt.Errorf("%s: %s", field, text) }
