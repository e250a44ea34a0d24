package handlers

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/bearerkit/bearerkit/internal/paths"
	"github.com/bearerkit/bearerkit/internal/plainhttp"
	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// ProxyConfig says what [Proxy] forwards, and where. It does not print itself,
// because it may hold a key.
type ProxyConfig struct {
	redacted
	// Target is the upstream's base URL: https, or http to a loopback address.
	// Its path goes before the path of the call. Required.
	Target string
	// DangerouslyPlainHTTP lists hosts, each an exact host:port, that Target
	// may reach over http. The token and all data then travel unencrypted.
	DangerouslyPlainHTTP []string
	// Transport sends the calls and attaches the token. A middleware.Transport
	// fits: it chooses the token per request, and it renews and replays once
	// before a 401 comes back. Required.
	Transport http.RoundTripper
	// Authorize says who may use the proxy. It gets an empty Request; what it
	// sets there is not used. While an answer is under way, Authorize is asked
	// again every 15 seconds with the request that began it, and an error ends
	// the answer. Required. Where a middleware verifies the caller, use
	// SubjectFrom: a route without the middleware is then refused.
	Authorize Authorize
	// Allow lists what is forwarded, as patterns of [http.ServeMux], such as
	// "/fhir/" and "POST /endpoint". Every other path is 404. Required.
	Allow []string
	// EncodedSlashes lists patterns of calls whose path may contain %2F, such
	// as GitLab's "/api/v4/projects/{id}/". The upstream must read %2F as a
	// part of a name and not as a slash.
	EncodedSlashes []string
	// Public lists patterns of calls whose answers are the same for every
	// caller. The upstream's caching headers (RFC 9111) then reach the caller,
	// with Vary: Authorization, Cookie. All other answers are private,
	// no-store.
	Public []string
	// Header is set on every call that goes upstream. The same headers are
	// removed from callers' requests, also those listed without a value. Host is
	// that of Target and cannot be set here. Neither can headers about the
	// connection, such as Connection and Transfer-Encoding.
	Header http.Header
	// Credentials names further places in which callers send tokens. Headers,
	// members of the query and of forms, and WebSocket subprotocols with these
	// names are removed from callers' requests.
	Credentials []string
	// SetCookies names the upstream's cookies that reach the caller.
	SetCookies []string
	// Origins are further origins whose pages may open WebSockets, such as
	// "https://app.example.com". The proxy's own origin is always allowed. If a
	// server before the proxy replaces Host, list the public origin here.
	Origins []string
	// Observer, if set, gets an event for each call, with the Source "proxy"
	// and the caller's context: "forwarded" (N is the upstream's status,
	// Duration lasts until its headers), "refused" (Outcome is the code of the
	// answer, N its status), "failed" (likewise, or Outcome "canceled") and
	// "token_rejected", an upstream's 401. It must be fast and safe for
	// concurrent use.
	Observer func(context.Context, providers.Event)
	// Logger gets the private half of failures, see [Config].
	Logger *slog.Logger
}

// Proxy returns a reverse proxy to one upstream. The caller's credentials never
// reach the upstream.
//
// # What goes to the upstream
//
// Paths are forwarded unchanged. A path with dot segments, empty segments, or
// encoded dots, slashes, backslashes, percent signs or control characters is
// 404. TRACE is 405, because its answer would show the token. A query that
// cannot be read is 400.
//
// The proxy removes every place in which the caller may send a token: Cookie,
// Authorization and the headers of common API keys; the member access_token of
// the query, of the Referer's query and of a form (a form over 1 MiB is 413); a
// token among the WebSocket subprotocols; and the places that Credentials names. It also
// removes Forwarded, X-Forwarded and other headers of proxies, and headers by
// which some servers let a caller replace the host, the path or the method. A
// header with other characters than letters, digits and hyphens is removed too,
// because some servers read X_A as X-A.
//
// # What comes back
//
// Answers are private, no-store: the next user of the browser must not get them
// from its cache. The upstream's cookies are removed, and so are headers by
// which it would speak for our own origin or to the caches before it. Every
// answer is nosniff, and one without a Content-Type gets none: a browser must
// not run a file of the upstream as a page of our own origin. An upstream 401 is
// answered as 502 upstream_rejected_token, because the caller is signed in.
// Streams are flushed. WebSockets are forwarded, and no other protocol.
//
// An event stream or a WebSocket ends when a token with which it began ends: the
// attached one, if Transport is a middleware.Transport, or the caller's own, if
// a middleware.Authenticator verified it. It also ends within 15 seconds after
// Authorize refuses the request that began it. An Authorize that looks at the
// session therefore ends it at sign-out. A caller that reads nothing of an
// answer for a minute is disconnected, unless the server has a WriteTimeout.
//
// # Callers with a cookie
//
// A browser sends cookies with every site's requests. Put an
// [http.CrossOriginProtection] before the proxy against requests of other sites
// that change something. It lets GET pass: the same-origin policy keeps the
// answer from other sites. That policy does not cover WebSockets. The proxy
// refuses a handshake whose Origin is neither its own nor in Origins. It
// refuses a handshake without Origin unless the caller shows a bearer token
// (RFC 6455 section 10.2).
//
// The error joins every fault of c.
func Proxy(c ProxyConfig) (http.Handler, error) {
	p := &proxy{ProxyConfig: c}
	var faults []error
	check := func(err error) { faults = append(faults, err) }
	var err error
	p.target, err = c.checkTarget()
	check(err)
	if c.Transport == nil {
		check(fault("Transport", "required"))
	}
	if c.Authorize == nil {
		check(errNoAuthorize)
	}
	if len(c.Allow) == 0 {
		check(fault("Allow", "required"))
	}
	p.allow, err = patterns("Allow", c.Allow)
	check(err)
	p.slashes, err = patterns("EncodedSlashes", c.EncodedSlashes)
	check(err)
	p.public, err = patterns("Public", c.Public)
	check(err)
	p.origins, err = origins(c.Origins)
	check(err)
	check(checkHeader(c.Header))
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("handlers: proxy: %w", err)
	}
	p.reporter = reporter{log: logger(c.Logger), op: "proxy"}
	p.credentials = credentialNames(c.Credentials)
	p.removed = removedHeaders(c.Header, p.credentials)
	p.errorLog = slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)
	return p, nil
}

func (c *ProxyConfig) checkTarget() (*url.URL, error) {
	if err := plainhttp.Check("DangerouslyPlainHTTP", c.DangerouslyPlainHTTP); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.Target)
	if err != nil || !plainhttp.Allowed(c.DangerouslyPlainHTTP, u) {
		return upstream.CheckURL("Target", c.Target)
	}
	u, err = upstream.CheckURL("Target", "https"+strings.TrimPrefix(c.Target, u.Scheme))
	if err == nil {
		u.Scheme = "http"
	}
	return u, err
}

type proxy struct {
	ProxyConfig
	reporter
	target      *url.URL
	allow       *http.ServeMux
	slashes     *http.ServeMux
	public      *http.ServeMux
	origins     map[string]bool
	credentials map[string]bool // folded by plain
	removed     map[string]bool
	errorLog    *log.Logger
	buffers     buffers
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = p.timed(r)
	out, err := p.admit(w, r)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	w, flush := patient(w, r)
	s := p.begin(r)
	defer s.stop()
	reverse := &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      untraced{p.Transport},
		ModifyResponse: func(res *http.Response) error { return p.modify(res, s) },
		ErrorHandler:   p.lost,
		ErrorLog:       p.errorLog,
		BufferPool:     &p.buffers,
	}
	out = out.WithContext(s.ctx)
	if out.Body != nil && out.GetBody == nil { // a form has been read
		body := &callerBody{ReadCloser: out.Body, waits: r.Header.Get("Expect") != "", reading: make(chan struct{}, 1)}
		out.Body = body
		reverse.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
			if bad := body.fault(r); bad != nil {
				err = bad
			}
			p.lost(w, r, err)
		}
	}
	w.Header()["Content-Type"] = nil // only the upstream sets it: net/http must not guess one from the body
	reverse.ServeHTTP(w, out)
	flush()
}

// admit makes all checks and returns r without the caller's credentials.
func (p *proxy) admit(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	if paths.Ambiguous(r.URL, p.slashes != nil && matches(p.slashes, r)) {
		return nil, refuse(codeNotFound, "")
	}
	if err := p.allowed(w.Header(), r); err != nil {
		return nil, err
	}
	if webSocket(r.Header) && !p.mayUpgrade(r) {
		return nil, refuse(codeCrossOrigin, "")
	}
	if err := refusal(p.Authorize(r, &providers.Request{})); err != nil {
		return nil, err
	}
	return p.withoutCredentials(w, r)
}

func (p *proxy) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(p.target)
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
	if !webSocket(r.Out.Header) { // h2c would be a tunnel past the allow-list
		r.Out.Header.Del("Upgrade")
		r.Out.Header.Del("Connection")
	}
}

var errRejected = &providers.Error{Code: codeTokenRejected, Class: providers.Permanent, Op: "proxy", Status: http.StatusUnauthorized}

func (p *proxy) modify(res *http.Response, s *stream) error {
	if res.StatusCode == http.StatusUnauthorized {
		return errRejected
	}
	p.forwarded(res)
	p.clean(res, s.r)
	s.watch(res)
	return nil
}

// lost answers a call that got no answer from the upstream.
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

// untraced keeps informational answers, such as 103, from the caller. They
// carry headers that clean has not seen. When httputil.ReverseProxy forwards
// one, it empties the answer's own header, CORS grants included. A gateway may
// drop them (RFC 9110 section 15.2 binds proxies).
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
