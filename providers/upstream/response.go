package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	internal "github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// unexplained is the wait after a refusal without a structured body: such a
// call is repeated at most twice a minute.
const unexplained = 30 * time.Second

// Response is an answer of any status.
type Response struct {
	// Status is the HTTP status.
	Status int
	// Header is the header of the answer, without Location.
	Header http.Header
	// Body is the whole body, at most 1 MiB.
	Body []byte
	// Sent is when the request was sent, by our clock.
	Sent time.Time

	op      string
	oneTime bool
	arrived time.Time // when the headers came, by our clock
}

// OK reports whether the status is 2xx.
func (r *Response) OK() bool { return r.Status >= 200 && r.Status <= 299 }

// Structured reports whether the body is one JSON object or array. Any other
// answer may come from a proxy or a firewall before the vendor, and says
// nothing about a grant.
func (r *Response) Structured() bool {
	body := bytes.TrimSpace(r.Body)
	return len(body) > 0 && (body[0] == '{' || body[0] == '[') && json.Valid(body)
}

// page reports whether the body is a page of HTML, which no token endpoint
// sends.
func (r *Response) page() bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return strings.Contains(kind, "html") || bytes.HasPrefix(bytes.TrimSpace(r.Body), []byte("<"))
}

// Decode reads the body as one JSON value into v. Its error is that of
// [Response.Bad].
func (r *Response) Decode(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return r.Bad(errors.New("answer is not the JSON expected")) // a json error may quote the body
	}
	return nil
}

// Bad is the error for an answer that cannot be used:
// [providers.CodeBadResponse]. reason says why and must not quote the answer.
// If the call was one-time, its credential is spent and the Class is InDoubt.
func (r *Response) Bad(reason error) *providers.Error {
	e := r.Fail(providers.CodeBadResponse, providers.Transient)
	e.Err = reason
	return r.doubt(e)
}

// Err says what a status that is not 2xx means in general:
//
//   - 429 and 503 are busy, other 5xx, 408 and 425 an upstream error. All are
//     transient, but a one-time call is in doubt after a 5xx.
//   - 3xx is a bad response and permanent.
//   - A 4xx that is [Response.Structured] is permanent: 401 and 403 are about
//     our credentials, 400 and 422 about the caller's input, others are an
//     upstream error.
//   - Any other 4xx is [Response.Unexplained].
//
// A provider that knows more about its vendor uses [Response.Fail] instead.
func (r *Response) Err() *providers.Error {
	switch s := r.Status; {
	case s == http.StatusTooManyRequests:
		return r.Fail(providers.CodeBusy, providers.Transient)
	case s == http.StatusServiceUnavailable:
		return r.doubt(r.Fail(providers.CodeBusy, providers.Transient))
	case s >= 500:
		return r.doubt(r.Fail(providers.CodeUpstreamError, providers.Transient))
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly:
		return r.Fail(providers.CodeUpstreamError, providers.Transient)
	case s >= 300 && s <= 399:
		return r.Fail(providers.CodeBadResponse, providers.Permanent)
	}
	if !r.Structured() {
		return r.Unexplained()
	}
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return r.Fail(providers.CodeCredentialsRejected, providers.Permanent)
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return r.Fail(providers.CodeRejectedInput, providers.Permanent)
	}
	return r.Fail(providers.CodeUpstreamError, providers.Permanent)
}

// Unexplained is the error for a 4xx that does not say why, for a provider that
// expects more than [Response.Structured]. It is transient, because a proxy may
// have answered, and its RetryAfter is at least half a minute. A 401 or 403 is
// about our credentials unless it is a page of HTML.
func (r *Response) Unexplained() *providers.Error {
	e := r.Fail(providers.CodeUpstreamError, providers.Transient)
	if (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden) && !r.page() {
		e.Code = providers.CodeCredentialsRejected
	}
	e.RetryAfter = max(e.RetryAfter, unexplained)
	return e
}

func (r *Response) doubt(e *providers.Error) *providers.Error {
	if r.oneTime {
		e.Class = providers.InDoubt
	}
	return e
}

// Fail returns an error of this code and class with the status, the Op and the
// Retry-After of the answer.
func (r *Response) Fail(code providers.Code, class providers.Class) *providers.Error {
	return &providers.Error{Code: code, Class: class, Op: r.op, Status: r.Status, RetryAfter: r.retryAfter()}
}

// retryAfter reads Retry-After (RFC 9110 section 10.2.3): seconds or an
// HTTP-date. The date is relative to the answer's own Date if it has one.
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

// Now is the upstream's clock when it answered: the Date of the answer, or our
// clock without one.
func (r *Response) Now() time.Time {
	if d, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		return d
	}
	return r.arrived
}

// Skew is how far the upstream's clock is ahead of ours. It is 0 without a
// Date, and 0 within two seconds, the precision of Date and the network.
func (r *Response) Skew() time.Duration {
	d := r.Now().Sub(r.arrived)
	if d.Abs() <= 2*time.Second {
		return 0
	}
	return d
}

// errExpired is the cause if the token in the answer has ended.
var errExpired = errors.New("the token's expiry has passed")

// Expiry is when the token in the answer ends, by our clock: the earliest end
// that the answer tells. It is zero if the answer tells none.
//
// lifetime is in seconds, as a number or a string. Each of instants is a time:
// Unix seconds or milliseconds, as a number or a string, or RFC 3339. The
// instants, and the exp of accessToken if that is a JWT, are corrected by
// [Response.Skew]. If there is a lifetime, an instant that has passed means
// only that the clocks differ. Without a lifetime it is an error, that of
// [Response.Bad].
func (r *Response) Expiry(accessToken string, lifetime json.RawMessage, instants ...json.RawMessage) (time.Time, error) {
	var end time.Time
	life, relative, _ := internal.ParseSeconds(lifetime)
	if relative {
		end = r.Sent.Add(life)
	}
	times := make([]time.Time, 0, 4)
	for _, raw := range instants {
		if t, err := internal.ParseTime(raw); err == nil && !t.IsZero() {
			times = append(times, t)
		}
	}
	if exp, ok := internal.JWTExpiry(accessToken); ok {
		times = append(times, exp)
	}
	for _, t := range times {
		t, passed := r.ours(t)
		switch {
		case passed && !relative:
			e := r.Bad(errExpired)
			e.Description = "the token has already expired: a wrong clock, or an expiry in another unit"
			return time.Time{}, e
		case !passed && (end.IsZero() || t.Before(end)):
			end = t
		}
	}
	return end, nil
}

// ours converts t, a time of the upstream, to our clock, and reports whether it
// has passed. It has passed only if both clocks say so, because the Date may be
// that of a proxy and wrong.
func (r *Response) ours(t time.Time) (time.Time, bool) {
	corrected := t.Add(-r.Skew())
	if !corrected.After(r.arrived) && t.After(r.arrived) {
		return t, false
	}
	return corrected, !corrected.After(r.arrived)
}

// Salvage is the result of a refresh whose answer is unusable because of err.
// presented is the refresh token that the refresh spent. If the answer has a
// new refresh token, the result is a Token with the new refresh token alone,
// beside err, as [providers.Refresher] describes. Otherwise it is the zero
// Token.
//
// A refresh token is taken from a 2xx with one JSON object. The object must
// have no member twice and no member error. Exactly one member must have one of
// names, or the name refresh_token if names is empty, and it must have the
// characters of RFC 6749 appendix A.17. An err that is Permanent then becomes
// InDoubt, because the grant is alive. Nothing is taken if err is GrantDead or
// presented is "".
func (r *Response) Salvage(presented string, err error, names ...string) (providers.Token, error) {
	var e *providers.Error
	if presented == "" || !errors.As(err, &e) || e.Class == providers.GrantDead || !r.OK() {
		return providers.Token{}, err
	}
	if len(names) == 0 {
		names = []string{"refresh_token"}
	}
	fresh := refreshTokenIn(r.Body, names)
	if fresh == "" || fresh == presented {
		return providers.Token{}, err
	}
	if e.Class == providers.Permanent {
		e.Class = providers.InDoubt
	}
	return providers.Token{RefreshToken: fresh, IssuedAt: r.Sent}, err
}

// refreshTokenIn returns the one refresh token in body, or "" if there is none.
func refreshTokenIn(body []byte, names []string) string {
	if !json.Valid(body) || !utf8.Valid(body) {
		return ""
	}
	s := salvage{d: json.NewDecoder(bytes.NewReader(body)), called: names}
	if first, err := s.d.Token(); err != nil || first != json.Delim('{') {
		return ""
	}
	s.object(true)
	for _, c := range []byte(s.found) {
		if c < ' ' || c > '~' {
			return ""
		}
	}
	if s.n != 1 || s.strange {
		return ""
	}
	return s.found
}

// salvage walks through valid JSON.
type salvage struct {
	d       *json.Decoder
	called  []string // the names of a refresh token
	found   string
	n       int  // members with one of these names that are not null
	strange bool // a member twice, or an error
}

// object reads the rest of an object.
func (s *salvage) object(top bool) {
	names := map[string]bool{}
	for s.d.More() {
		t, _ := s.d.Token()
		name, _ := t.(string)
		s.strange = s.strange || names[name]
		names[name] = true
		value, _ := s.d.Token()
		switch {
		case name == "error" && top && value != nil:
			s.strange = true
		case slices.Contains(s.called, name) && value != nil:
			s.n++
			s.found, _ = value.(string)
		}
		s.value(value)
	}
	_, _ = s.d.Token()
}

// value reads the rest of a value that begins with t.
func (s *salvage) value(t json.Token) {
	switch t {
	case json.Delim('{'):
		s.object(false)
	case json.Delim('['):
		for s.d.More() {
			t, _ := s.d.Token()
			s.value(t)
		}
		_, _ = s.d.Token()
	}
}
