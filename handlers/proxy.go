package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"

	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// ProxyConfig says what [Proxy] forwards, and where.
type ProxyConfig struct {
	// Target is the upstream's base URL: https, or http to a loopback
	// address. A path in it goes before the call's. Required.
	Target string
	// Transport sends the calls and attaches the token. A
	// middleware.Transport fits: it chooses the token per request, and has
	// already renewed and replayed once when a 401 comes back. Required.
	Transport http.RoundTripper
	// Authorize says who may use the proxy, with an empty Request; what it
	// fills in is not used. Required: SubjectFrom where a middleware has
	// verified the caller, which then cannot be forgotten.
	Authorize Authorize
	// Allow lists what is forwarded, as patterns of [http.ServeMux], such as
	// "/fhir/" and "POST /endpoint". All else is 404. Required.
	Allow []string
	// Header is set on every call that goes upstream. These headers are
	// removed from what callers send; so are headers listed without a value.
	Header http.Header
	// SetCookies names the upstream's cookies that reach the caller.
	SetCookies []string
	// Observer, if set, gets an event for each call, with the Source "proxy"
	// and the caller's context: "forwarded" (N is the upstream's status,
	// Duration until its headers), "refused" (Outcome is the code of the answer,
	// N its status), "failed" (likewise, or Outcome "canceled") and
	// "token_rejected", an upstream's 401. It must be fast and safe for
	// concurrent use.
	Observer func(context.Context, providers.Event)
	// Logger gets the private half of every failure; nil discards it.
	Logger *slog.Logger
}

// Proxy returns a reverse proxy to one upstream that holds none of the
// caller's credentials. Paths go on unchanged; a path with dot segments, empty
// segments, or encoded dots, slashes, backslashes, percent signs or control
// characters is 404, and TRACE, whose answer would show the token, is 405.
// Cookie, Authorization, Forwarded and X-Forwarded headers are removed, those
// by which some servers let a caller replace the path or the method, and all
// whose names have more than letters, digits and hyphens, for some servers read
// X_A as X-A. Answers come back without the upstream's cookies and without the
// headers by which it would speak for our own origin; streams are flushed and
// WebSockets pass, but no other protocol. An upstream 401 is 502 upstream_rejected_token, for the caller
// is signed in. Where a cookie signs the caller in, an
// [http.CrossOriginProtection] belongs before the proxy. The error joins every
// fault of c.
func Proxy(c ProxyConfig) (http.Handler, error) {
	p := &proxy{ProxyConfig: c}
	target, err := upstream.CheckURL("Target", c.Target)
	faults := []error{err}
	if c.Transport == nil {
		faults = append(faults, fault("Transport", "required"))
	}
	if c.Authorize == nil {
		faults = append(faults, errNoAuthorize)
	}
	p.mux, err = allowList(c.Allow)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("handlers: proxy: %w", err)
	}
	p.reporter = reporter{log: logger(c.Logger), op: "proxy"}
	p.removed = removedHeaders(c.Header)
	p.reverse = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { p.rewrite(r, target) },
		Transport:      untraced{c.Transport},
		ModifyResponse: p.modify,
		ErrorHandler:   p.lost,
		ErrorLog:       slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		BufferPool:     &p.buffers,
	}
	return p, nil
}

type proxy struct {
	ProxyConfig
	reporter
	mux     *http.ServeMux
	removed map[string]bool
	reverse *httputil.ReverseProxy
	buffers buffers
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = p.timed(r)
	if unsafePath(r.URL) {
		p.fail(w, r, refuse(codeNotFound, ""))
		return
	}
	if err := p.allowed(w.Header(), r); err != nil {
		p.fail(w, r, err)
		return
	}
	if err := refusal(p.Authorize(r, &providers.Request{})); err != nil {
		p.fail(w, r, err)
		return
	}
	p.reverse.ServeHTTP(w, r)
}

func (p *proxy) rewrite(r *httputil.ProxyRequest, target *url.URL) {
	r.SetURL(target)
	for name := range r.Out.Header {
		if p.removes(name) {
			delete(r.Out.Header, name)
		}
	}
	for name, values := range p.Header {
		if len(values) > 0 {
			r.Out.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
		}
	}
	upgrade(r.Out.Header)
}

var errRejected = &providers.Error{Code: codeTokenRejected, Class: providers.Permanent, Op: "proxy", Status: http.StatusUnauthorized}

func (p *proxy) modify(res *http.Response) error {
	if res.StatusCode == http.StatusUnauthorized {
		return errRejected
	}
	p.forwarded(res)
	clean(res, p.SetCookies)
	return nil
}

// lost answers what came instead of the upstream's answer.
func (p *proxy) lost(w http.ResponseWriter, r *http.Request, err error) {
	var pe *providers.Error
	var ne net.Error
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &pe): // the Transport had no token
	case errors.As(err, &large): // a wrapper's bound on the caller's body
		err = refuse(codeTooLarge, "The body is too large.")
	case errors.As(err, &ne) && ne.Timeout():
		err = &providers.Error{Code: providers.CodeTimeout, Op: "proxy", Err: upstream.Cause(err)}
	default:
		err = &providers.Error{Code: providers.CodeUnreachable, Op: "proxy", Err: upstream.Cause(err)}
	}
	p.fail(w, r, err)
}

// untraced keeps informational answers, such as 103, from the caller: they
// carry headers that clean has not seen, and httputil.ReverseProxy empties the
// answer's own header, CORS grants included, when it forwards one. A gateway
// may drop them (RFC 9110 section 15.2 binds proxies).
type untraced struct{ http.RoundTripper }

func (t untraced) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.RoundTripper.RoundTrip(r.WithContext(noTrace{r.Context()}))
}

type noTrace struct{ context.Context }

func (c noTrace) Value(key any) any {
	v := c.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return nil
	}
	return v
}

// buffers is a [httputil.BufferPool].
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
