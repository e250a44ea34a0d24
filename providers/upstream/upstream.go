package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	internal "github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

const (
	// maxBody is the number of bytes that are read of an answer.
	maxBody = 1 << 20
	// timeout bounds one attempt.
	timeout = 10 * time.Second
)

// Client calls one vendor. [New] makes it.
type Client struct {
	vendor string
	http   atomic.Pointer[http.Client]
	own    bool // the transport is not the caller's
	now    func() time.Time
}

// New returns a Client whose errors name vendor. now is the wall clock; nil
// means time.Now.
//
// New copies hc. The copy follows no redirects and keeps no cookies. If hc is
// nil, the Client has its own transport, like http.DefaultTransport. That
// transport detects a dead HTTP/2 connection by pings, and after a timeout new
// calls use new connections. A caller's transport keeps its settings: for
// HTTP/2 set http.Transport.HTTP2 there. Otherwise a connection that a firewall
// dropped fails every call until the kernel closes it, after about 15 minutes.
func New(vendor string, hc *http.Client, now func() time.Time) *Client {
	c := &Client{vendor: vendor, now: now}
	var client http.Client
	if hc != nil {
		client = *hc
	}
	switch shared, ok := http.DefaultTransport.(*http.Transport); {
	case client.Transport != nil:
	case ok && hc == nil:
		own := shared.Clone()
		if own.HTTP2 == nil {
			own.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}
		}
		client.Transport, c.own = own, true
	default:
		client.Transport = http.DefaultTransport
	}
	client.Transport, client.Jar = unlocated{client.Transport}, nil
	c.http.Store(&client)
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// CheckURL parses a base URL from a configuration. It must be absolute and
// https, or http to a loopback host, without userinfo, query and fragment. The
// error names field and does not repeat raw.
func CheckURL(field, raw string) (*url.URL, error) { return internal.CheckURL(field, raw) }

// Call is one request to the vendor.
type Call struct {
	// Op is what the call does, such as "generate". Errors show it after the
	// vendor's name.
	Op string
	// Method and URL are those of the request.
	Method, URL string
	// Header is added to the request. Content-Type follows from Body. Accept is
	// application/json unless Header has one.
	Header http.Header
	// Body is nil for no body, a url.Values for a form, and any other value for
	// JSON.
	Body any
	// OneTime says that the call spends a credential that works once, such as a
	// refresh token that rotates. A lost answer is then in doubt, and net/http
	// sends the request at most once.
	OneTime bool
}

// Do makes the call. It returns an answer of any status. The error is always an
// [*providers.Error] and says why no complete answer came.
func (c *Client) Do(ctx context.Context, call Call) (*Response, error) {
	op := c.vendor + ": " + call.Op
	req, err := newRequest(ctx, call)
	if err != nil {
		return nil, &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent, Op: op, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client := c.http.Load()
	sending := &sending{}
	ctx = httptrace.WithClientTrace(ctx, sending.trace())
	fail := func(err error) error {
		e := lost(ctx, op, err)
		if call.OneTime && !sending.wroteNothing(err) {
			e.Class = providers.InDoubt
		}
		if c.own && e.Code == providers.CodeTimeout {
			c.leave(client)
		}
		return e
	}
	if err := ctx.Err(); err != nil {
		return nil, lost(ctx, op, err) // nothing is sent
	}
	sent := c.now()
	res, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return nil, fail(err)
	}
	arrived := c.now() // before the body, which may be slow
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, fail(err)
	}
	r := &Response{Status: res.StatusCode, Header: res.Header, Body: body, Sent: sent, op: op, oneTime: call.OneTime, arrived: arrived}
	if len(body) > maxBody {
		return nil, r.Bad(fmt.Errorf("answer over %d bytes", maxBody))
	}
	return r, nil
}

// leave makes calls that begin now use a transport without old's connections,
// because one of them may be dead. Calls that use old go on. Closing only old's
// idle connections is not enough: net/http may still count the call that has
// just ended as a stream of the dead connection.
func (c *Client) leave(old *http.Client) {
	transport := old.Transport.(unlocated).RoundTripper.(*http.Transport)
	next := *old
	next.Transport = unlocated{transport.Clone()}
	if c.http.CompareAndSwap(old, &next) {
		transport.CloseIdleConnections()
	}
}

// lost is the error of a call without an answer. It wraps the reason that ctx
// ended, whatever cause the caller gave ctx.
func lost(ctx context.Context, op string, err error) *providers.Error {
	e := &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient, Op: op, Err: internal.Cause(err)}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		e.Err = fmt.Errorf("%w: %w", ended, e.Err)
	}
	var ne net.Error
	if errors.Is(e.Err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		e.Code = providers.CodeTimeout
	}
	return e
}

// sending records how far a request got.
type sending struct{ began, wrote atomic.Bool }

func (s *sending) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:      func(string) { s.began.Store(true) },
		WroteHeaders: func() { s.wrote.Store(true) },
	}
}

// wroteNothing reports whether the request was surely not sent. A transport
// that drops the trace proves nothing.
func (s *sending) wroteNothing(err error) bool {
	if s.wrote.Load() {
		return false
	}
	var dns *net.DNSError
	var oe *net.OpError
	return s.began.Load() || errors.As(err, &dns) || errors.As(err, &oe) && oe.Op == "dial"
}

func newRequest(ctx context.Context, call Call) (*http.Request, error) {
	var body io.Reader
	var contentType string
	switch b := call.Body.(type) {
	case nil:
	case url.Values:
		body, contentType = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		body, contentType = bytes.NewReader(j), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, call.Method, call.URL, body)
	if err != nil {
		return nil, internal.Cause(err)
	}
	if call.OneTime {
		// Without GetBody net/http cannot send a one-time credential twice by
		// itself.
		req.GetBody = nil
	}
	for k, v := range call.Header {
		req.Header[k] = v
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	return req, nil
}

// unlocated removes Location from answers. http.Client parses it, and quotes it
// in an error, even if it follows no redirect.
type unlocated struct{ http.RoundTripper }

func (u unlocated) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := u.RoundTripper.RoundTrip(r)
	if res != nil {
		res.Header.Del("Location")
	}
	return res, err
}
