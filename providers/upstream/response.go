package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	internal "github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// unexplained is how long a refusal without a structured body is left alone:
// it is repeated at most twice a minute.
const unexplained = 30 * time.Second

// Response is an answer of any status.
type Response struct {
	// Status is the HTTP status.
	Status int
	// Header is the answer's; Location is taken out.
	Header http.Header
	// Body is the whole body, at most 1 MiB.
	Body []byte
	// Sent is when the request was sent, by our clock.
	Sent time.Time

	op      string
	oneTime bool
	arrived time.Time // when the headers came, by our clock
}

// OK reports a 2xx status.
func (r *Response) OK() bool { return r.Status >= 200 && r.Status <= 299 }

// Structured reports that the body is one JSON object or array. An answer that
// is none may come from a proxy or a firewall before the vendor, and says
// nothing about a grant.
func (r *Response) Structured() bool {
	body := bytes.TrimSpace(r.Body)
	return len(body) > 0 && (body[0] == '{' || body[0] == '[') && json.Valid(body)
}

// page reports a page for people, which no token endpoint writes.
func (r *Response) page() bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return strings.Contains(kind, "html") || bytes.HasPrefix(bytes.TrimSpace(r.Body), []byte("<"))
}

// Decode reads the body as one JSON value into v. Its error is Bad's.
func (r *Response) Decode(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return r.Bad(errors.New("answer is not the JSON expected")) // a json error may quote the body
	}
	return nil
}

// Bad is the error for an answer that cannot be used because of reason, which
// must not quote it: [providers.CodeBadResponse]. If the call was one-time it
// has been spent, and the outcome is in doubt.
func (r *Response) Bad(reason error) *providers.Error {
	e := r.Fail(providers.CodeBadResponse, providers.Transient)
	e.Err = reason
	return r.doubt(e)
}

// Err classifies a status that is not 2xx, for a call on which the caller
// knows no better:
//
//   - 429 and 503 are busy, other 5xx, 408 and 425 an upstream error. All are
//     transient; a one-time call is in doubt after a 5xx.
//   - 3xx is a bad response and permanent.
//   - A 4xx that is [Response.Structured] is permanent: 401 and 403 are our
//     credentials, 400 and 422 the caller's input, others an upstream error.
//   - Any other 4xx is [Response.Unexplained].
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

// Unexplained is the error for a 4xx that does not say why, for a provider
// that looks for more than [Response.Structured]. It is transient, for a proxy
// may have answered, and has a RetryAfter of half a minute at least. A 401 or
// 403 is about our credentials unless it is a page of HTML.
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

// Fail is an error with the answer's status, the call's name and Retry-After.
func (r *Response) Fail(code providers.Code, class providers.Class) *providers.Error {
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

// Now is the upstream's clock when it answered: the answer's Date, or ours
// without one.
func (r *Response) Now() time.Time {
	if d, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		return d
	}
	return r.arrived
}

// Skew is how far the upstream's clock is ahead of ours; 0 without a Date or
// within the two seconds that Date's resolution and the network make.
func (r *Response) Skew() time.Duration {
	d := r.Now().Sub(r.arrived)
	if d.Abs() <= 2*time.Second {
		return 0
	}
	return d
}

// errExpired is the cause of an answer whose token has ended already.
var errExpired = errors.New("the token's expiry has passed")

// Expiry is when the token in the answer ends, by our clock: the earliest of
// what the answer says. It is zero if the answer says nothing that can be read.
//
// lifetime is a relative lifetime in seconds, as a number or a string. Each of
// instants is a time: Unix seconds or milliseconds, as a number or a string, or
// RFC 3339. They and the exp of accessToken, if that is a JWT, are corrected by
// [Response.Skew]. Beside a lifetime, an instant that has passed means only
// that clocks differ. Without one the error is Bad's.
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

// ours is t, an instant of the upstream, by our clock, and whether it has
// passed. It has if it has by both clocks: a Date of a proxy may be wrong.
func (r *Response) ours(t time.Time) (time.Time, bool) {
	corrected := t.Add(-r.Skew())
	if !corrected.After(r.arrived) && t.After(r.arrived) {
		return t, false
	}
	return corrected, !corrected.After(r.arrived)
}

// Salvage is what a refresh that spent presented returns if err makes its
// answer unusable: a Token with the new refresh token alone beside err, as
// [providers.Refresher] has it, or the zero Token where there is none.
//
// A refresh token is taken from a 2xx that is one JSON object without a member
// twice and without a member error, in which exactly one member is called
// refresh_token and holds characters of RFC 6749 appendix A.17. With one, an
// err that is Permanent becomes InDoubt: the grant lives on. Nothing is taken
// beside an err that is GrantDead, or where presented is "".
func (r *Response) Salvage(presented string, err error) (providers.Token, error) {
	var e *providers.Error
	if presented == "" || !errors.As(err, &e) || e.Class == providers.GrantDead || !r.OK() {
		return providers.Token{}, err
	}
	fresh := refreshTokenIn(r.Body)
	if fresh == "" || fresh == presented {
		return providers.Token{}, err
	}
	if e.Class == providers.Permanent {
		e.Class = providers.InDoubt
	}
	return providers.Token{RefreshToken: fresh, IssuedAt: r.Sent}, err
}

// refreshTokenIn is the one refresh token in body, "" if there is none.
func refreshTokenIn(body []byte) string {
	if !json.Valid(body) || !utf8.Valid(body) {
		return ""
	}
	s := salvage{d: json.NewDecoder(bytes.NewReader(body))}
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
	found   string
	n       int  // members called refresh_token that are not null
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
		case name == "refresh_token" && value != nil:
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
