// Package upstream makes one bounded round trip to a vendor: a JSON or form
// body in; a capped body, the moment of sending and an [*providers.Error] out.
// Redirects are never followed, so that a credential reaches exactly one URL.
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
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

const (
	// MaxBody is how much of an answer is read.
	MaxBody = 1 << 20
	// Timeout bounds one attempt.
	Timeout = 10 * time.Second
)

// Client calls one vendor. Its zero value is not usable: see [New].
type Client struct {
	vendor string
	http   *http.Client
	now    func() time.Time
}

// New returns a Client whose errors name vendor. It copies hc, nil meaning one
// over http.DefaultTransport; in the copy there are no cookies and, since no
// answer keeps its Location, no redirects. now may be nil.
func New(vendor string, hc *http.Client, now func() time.Time) *Client {
	var c http.Client
	if hc != nil {
		c = *hc
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	c.Transport = unlocated{c.Transport}
	c.Jar = nil
	if now == nil {
		now = time.Now
	}
	return &Client{vendor: vendor, http: &c, now: now}
}

// Call is one round trip.
type Call struct {
	Op     string // "generate", "refresh"; joins the vendor's name in errors
	Method string
	URL    string
	Header http.Header
	// Body is a url.Values, sent as a form, nil for none, or anything else,
	// sent as JSON.
	Body any
	// OneTime says that the call spends something that works once, so that a
	// lost answer leaves it in doubt.
	OneTime bool
}

// Response is an answer of any status.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Sent   time.Time // when the request was sent, by our clock

	op      string
	oneTime bool
	now     time.Time
}

// Do makes the call. The error, always an [*providers.Error], covers what
// kept an answer from coming whole; answers of any status are returned.
func (c *Client) Do(ctx context.Context, call Call) (*Response, error) {
	op := c.vendor + ": " + call.Op
	req, err := newRequest(ctx, call)
	if err != nil {
		return nil, &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent, Op: op, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	fail := func(err error) error {
		e := &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient, Op: op, Err: Cause(err)}
		var ne net.Error
		switch {
		case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
			e.Code = providers.CodeTimeout
		}
		if call.OneTime && wrote.Load() {
			e.Class = providers.InDoubt
		}
		return e
	}
	sent := c.now()
	res, err := c.http.Do(req.WithContext(ctx))
	if err != nil {
		return nil, fail(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxBody+1))
	if err != nil {
		return nil, fail(err)
	}
	r := &Response{Status: res.StatusCode, Header: res.Header, Body: body, Sent: sent, op: op, oneTime: call.OneTime, now: c.now()}
	if len(body) > MaxBody {
		return nil, r.Bad(fmt.Errorf("answer over %d bytes", MaxBody))
	}
	return r, nil
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
		return nil, Cause(err)
	}
	if call.OneTime {
		// Without GetBody net/http cannot send a one-time grant twice by itself.
		req.GetBody = nil
	}
	for k, v := range call.Header {
		req.Header[k] = v
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/json")
	return req, nil
}

// OK reports a 2xx status.
func (r *Response) OK() bool { return r.Status >= 200 && r.Status <= 299 }

// Decode reads the body as one JSON object into v. Its error is Bad's.
func (r *Response) Decode(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return r.Bad(errors.New("answer is not the JSON expected")) // a json error may quote the body
	}
	return nil
}

// Bad is the error for an answer that cannot be used because of reason. If the
// call was one-time it has been spent, and the outcome is in doubt.
func (r *Response) Bad(reason error) *providers.Error {
	e := r.fail(providers.CodeBadResponse, providers.Transient)
	e.Err = reason
	if r.oneTime {
		e.Class = providers.InDoubt
	}
	return e
}

// Err classifies a status that is not 2xx, for a call on which the caller
// knows no better: 429 and 503 are busy, other 5xx, 408 and 425 an upstream
// error, 3xx a bad response, 401 and 403 our credentials, 400 and 422 the
// caller's input, and other 4xx an upstream error that stays.
func (r *Response) Err() *providers.Error {
	switch s := r.Status; {
	case s == http.StatusTooManyRequests:
		return r.fail(providers.CodeBusy, providers.Transient)
	case s == http.StatusServiceUnavailable:
		return r.doubt(r.fail(providers.CodeBusy, providers.Transient))
	case s >= 500:
		return r.doubt(r.fail(providers.CodeUpstreamError, providers.Transient))
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly:
		return r.fail(providers.CodeUpstreamError, providers.Transient)
	case s >= 300 && s <= 399:
		return r.fail(providers.CodeBadResponse, providers.Permanent)
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		return r.fail(providers.CodeCredentialsRejected, providers.Permanent)
	case s == http.StatusBadRequest, s == http.StatusUnprocessableEntity:
		return r.fail(providers.CodeRejectedInput, providers.Permanent)
	}
	return r.fail(providers.CodeUpstreamError, providers.Permanent)
}

func (r *Response) doubt(e *providers.Error) *providers.Error {
	if r.oneTime {
		e.Class = providers.InDoubt
	}
	return e
}

// Fail is an error with the answer's status, the call's name and Retry-After.
func (r *Response) Fail(code providers.Code, class providers.Class) *providers.Error {
	return r.fail(code, class)
}

func (r *Response) fail(code providers.Code, class providers.Class) *providers.Error {
	return &providers.Error{Code: code, Class: class, Op: r.op, Status: r.Status, RetryAfter: r.retryAfter()}
}

// retryAfter reads RFC 9110 section 10.2.3: seconds or an HTTP-date, which is
// taken relative to the answer's own Date if it has one.
func (r *Response) retryAfter() time.Duration {
	v := strings.TrimSpace(r.Header.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseUint(v, 10, 63); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(s, 1<<31)) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return max(at.Sub(r.Now()), 0)
}

// Now is the upstream's clock: the answer's Date, or ours without one.
func (r *Response) Now() time.Time {
	if d, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		return d
	}
	return r.now
}

// Skew is how far the upstream's clock is ahead of ours; 0 without a Date or
// within the two seconds that Date's resolution and the network make.
func (r *Response) Skew() time.Duration {
	d := r.Now().Sub(r.now)
	if d.Abs() <= 2*time.Second {
		return 0
	}
	return d
}

// CheckURL parses a vendor's base URL: absolute, https, or http to a loopback
// host; no userinfo, query or fragment.
func CheckURL(field, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: not a URL", field)
	}
	switch {
	case u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("%s: not an absolute URL", field)
	case u.User != nil || strings.ContainsAny(raw, "?#"):
		return nil, fmt.Errorf("%s: userinfo, query and fragment are not allowed", field)
	case u.Scheme == "https", u.Scheme == "http" && Loopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%s: must be https (http only to a loopback address)", field)
}

// Loopback reports whether host names this machine without DNS.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
