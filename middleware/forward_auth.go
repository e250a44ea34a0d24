package middleware

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/internal/forward"
	"github.com/bearerkit/bearerkit/internal/paths"
	"github.com/bearerkit/bearerkit/internal/warnlog"
)

// ForwardAuthConfig says which proxy's subrequests [ForwardAuth] answers, and
// what the answers tell about a token.
type ForwardAuthConfig struct {
	// Proxy is the reverse proxy that asks. It decides which headers hold the
	// original request, and which statuses the proxy understands:
	//
	//	nginx    X-Original-Method, X-Original-Host and X-Original-URI, which its
	//	         configuration sets; 401 takes the place of 400
	//	caddy    X-Forwarded-Method, X-Forwarded-Host and X-Forwarded-Uri
	//	traefik  the same
	//	envoy    ext_authz over HTTP: the subrequest's own method, host and URL;
	//	         use http.StripPrefix for a path_prefix
	//
	// Required.
	Proxy string
	// Peers are the addresses from which the proxy asks, as IP or CIDR, or
	// "unix" for a unix socket. All other callers are refused, because any
	// client can write those headers (RFC 7239 section 8.1). Required.
	Peers []string
	// Headers are the identity headers. Each function returns the values for a
	// token: one text, or a list. nil means X-Auth-Subject ([Verified.User];
	// empty for a client's own token), X-Auth-Issuer and X-Auth-Scopes.
	//
	// Texts are percent-encoded, except for visible ASCII characters other than
	// comma and percent sign. Lists are joined by commas.
	Headers map[string]func(*Verified) []string
	// Choose returns the Authenticator for the original request, so that
	// routes can have different rules. If it returns nil, the request is
	// refused with 403. If Choose is nil, the Authenticator given to
	// ForwardAuth is used. The request has no body.
	//
	// With Choose, a path that the application could read differently is
	// refused with 403: one with a segment "." or "..", an empty segment, a
	// backslash, or one of these encoded.
	Choose func(original *http.Request) *Authenticator
}

// ForwardAuth returns a handler that tells a reverse proxy whether a request
// may pass: nginx's auth_request, Caddy's forward_auth, Traefik's ForwardAuth,
// Envoy's ext_authz over HTTP. The document docs/forward-auth-and-grpc.md has
// the proxies' configurations.
//
// A request with a valid token is answered 200 with the identity headers. Any
// other is answered as [Error.ServeHTTP] does, with the challenge. Every answer
// has every identity header, possibly empty, so that the proxy replaces headers
// of these names that a client sent. A request that has one of the names with
// other separators, such as X_Auth_Subject, is refused, because some servers
// read it as X-Auth-Subject. Answers must not be stored. Tokens are not
// renewed, and [Config.ErrorHandler] is not used.
//
// The error joins every fault of c. An Authenticator with [Config].Optional is
// a fault: it would let a request without a token pass. So is one with Form,
// because proxies keep the body. The handler is safe for concurrent use.
func ForwardAuth(a *Authenticator, c ForwardAuthConfig) (http.Handler, error) {
	f := &forwardAuth{choose: c.Choose, chooses: c.Choose != nil, headers: maps.Clone(c.Headers)}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("middleware: ForwardAuth: "+format, args...))
	}
	if a == nil {
		fault("no Authenticator")
	} else {
		f.logger, f.errors = a.logger, a.errors
		if err := forwardable(a); err != nil {
			fault("%w", err)
		}
	}
	if f.choose == nil {
		f.choose = func(*http.Request) *Authenticator { return a }
	}
	if f.headers == nil {
		f.headers = defaultIdentity()
	}
	var err error
	if f.dialect, err = forward.Dialect(c.Proxy); err != nil {
		fault("Proxy: %w", err)
	}
	if f.peers, err = forward.ParsePeers(c.Peers); err != nil {
		fault("Peers: %w", err)
	}
	for name, value := range f.headers {
		if value == nil {
			fault("Headers[%q] is nil", name)
		}
	}
	if f.names, err = forward.Names(slices.Sorted(maps.Keys(f.headers))); err != nil {
		fault("Headers: %w", err)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return f, nil
}

type forwardAuth struct {
	logger  *slog.Logger
	errors  *errorTable
	choose  func(*http.Request) *Authenticator
	chooses bool // by the original request, its path too
	dialect forward.Proxy
	peers   forward.Peers
	names   []string
	headers map[string]func(*Verified) []string
	lines   warnlog.Rare // of the log: faults of the proxy's configuration, and of choose
}

func (f *forwardAuth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	for _, name := range f.names {
		h[name] = []string{""}
	}
	v, err := f.decide(r)
	if err != nil {
		answer := *err
		if answer.Status = f.dialect.Status(err.Status); answer.Status != err.Status {
			answer.body = nil // the status says it
		}
		answer.ServeHTTP(w, r)
		return
	}
	for name, value := range f.headers {
		h.Set(name, forward.List(value(v)))
	}
	w.WriteHeader(http.StatusOK)
}

// decide returns the claims of the original request's token, or the refusal.
func (f *forwardAuth) decide(r *http.Request) (*Verified, *Error) {
	if !f.peers.Has(r.RemoteAddr) {
		return nil, f.refuse(http.StatusForbidden, "peer", "This is not for you.", errors.New("the peer is not one of ForwardAuthConfig.Peers"))
	}
	if name := forward.Disguised(r.Header, f.names); name != "" {
		return nil, f.refuse(http.StatusBadRequest, "identity", "The request names its own identity.", fmt.Errorf("a header that some servers take for %s", name))
	}
	original, err := f.dialect.Original(r)
	if err != nil {
		if !errors.Is(err, forward.ErrUnreadable) && f.lines.Allow("proxy", time.Now()) {
			f.logger.Error("forward-auth: the proxy does not describe the original request, which is refused: see docs/forward-auth-and-grpc.md for its configuration", "error", err)
		}
		return nil, f.refuse(http.StatusForbidden, "original", "The request cannot be checked.", err)
	}
	if f.chooses && paths.Ambiguous(original.URL, true) {
		return nil, f.refuse(http.StatusForbidden, "path", "The path can be read in two ways.", errors.New("the application could read the original path as another one than Choose does"))
	}
	a := f.choose(original)
	if a == nil {
		return nil, f.refuse(http.StatusForbidden, "route", "Nobody may do this.", errors.New("no Authenticator for the original request"))
	}
	if err := forwardable(a); err != nil {
		if f.lines.Allow("choose", time.Now()) {
			f.logger.Error("forward-auth: Choose returned an Authenticator that cannot be used, and its requests are refused: mend Choose", "error", err)
		}
		return nil, f.refuse(http.StatusForbidden, "route", "Nobody may do this.", err)
	}
	_, v, refusal := a.check(original)
	if refusal != nil {
		a.refused(r.Context(), refusal)
		return nil, refusal
	}
	return v, nil
}

func (f *forwardAuth) refuse(status int, reason, text string, cause error) *Error {
	f.logger.Debug("forward-auth: refused", "status", status, "reason", reason, "cause", cause)
	e := Error{Status: status, Code: invalidRequest, Reason: reason, Description: text, Err: cause}
	if status == http.StatusForbidden { // no token helps, so there is no challenge
		e.Code = "access_denied"
		return &e
	}
	return f.errors.seal(e)
}

func forwardable(a *Authenticator) error {
	var errs []error
	if a.cfg.Optional {
		errs = append(errs, errors.New("an Authenticator with Optional lets requests without a token pass"))
	}
	if a.cfg.Form != "" {
		errs = append(errs, errors.New("an Authenticator with Form needs the body, which proxies keep"))
	}
	return errors.Join(errs...)
}

func defaultIdentity() map[string]func(*Verified) []string {
	return map[string]func(*Verified) []string{
		"X-Auth-Subject": func(v *Verified) []string {
			user, _ := v.User()
			return []string{user}
		},
		"X-Auth-Issuer": func(v *Verified) []string { return []string{v.Issuer} },
		"X-Auth-Scopes": func(v *Verified) []string { return v.Scopes },
	}
}
