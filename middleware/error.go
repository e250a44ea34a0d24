package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/wire"
)

// Error is a refusal: the answer to the client, and the cause for our own logs.
// Do not change an Error that an [Authenticator] returns.
type Error struct {
	// Status is 400, 401, 403, 408 or 503.
	Status int
	// Code is the error parameter of RFC 6750 section 3.1 or RFC 9470. It is ""
	// for a request without credentials, for 408 and for 503.
	Code string
	// Reason says in one fixed word what was wrong, for logs and metrics. The
	// client does not see it.
	Reason string
	// Description is a fixed public sentence.
	Description string
	// Challenge is the value of WWW-Authenticate; "" means none. If the Error
	// of a [Rule] has none, the kit adds one.
	Challenge string
	// RetryAfter is sent with a 503, in whole seconds.
	RetryAfter time.Duration
	// Err is the cause, for logs and errors.Is: which claim or header was
	// wrong, and its value. It may quote claims but never the token.
	Err error

	body []byte
	told bool // the cause has a line in the log
}

// Error returns status, code and reason for logs, without Err.
func (e *Error) Error() string {
	s := "middleware: " + strconv.Itoa(e.Status)
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// final reports whether e says of the token itself, not of the request or of
// the moment, that it is not good.
func (e *Error) final() bool {
	return e.Code == invalidToken && e.Reason != refusals[notYet].Reason && reasonLabel(e.Reason) == e.Reason
}

// ServeHTTP answers the request with e: the status, the challenge, and a
// problem document (RFC 9457) of fixed texts.
//
// If the client has gone, ServeHTTP writes nothing and panics with
// [http.ErrAbortHandler]. The server then closes the connection, so that a
// client that still reads does not take an empty answer for a success.
func (e *Error) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	late := e.Status == http.StatusRequestTimeout // net/http cancels the request of a late body, and its client still reads
	if !late && errors.Is(r.Context().Err(), context.Canceled) {
		wire.Abort()
	}
	body := e.body
	if body == nil {
		body = e.problem()
	}
	// All values are in one array and all names in canonical form: Header.Set
	// would take a third of the time for an answer to garbage.
	h, v := w.Header(), []string{e.Challenge, "no-store", "application/problem+json", "nosniff"}
	if e.Challenge != "" {
		h["Www-Authenticate"] = v[0:1:1]
	}
	h["Cache-Control"], h["Content-Type"], h["X-Content-Type-Options"] = v[1:2:2], v[2:3:3], v[3:4:4]
	if late {
		h.Set("Connection", "close") // RFC 9110 section 15.5.9
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}

func (e *Error) problem() []byte {
	code := e.Code
	switch {
	case code != "":
	case e.Status == http.StatusUnauthorized:
		code = "not_signed_in"
	case e.Status == http.StatusRequestTimeout:
		code = "request_timeout"
	case e.Status == http.StatusForbidden:
		code = "access_denied"
	case e.Status == http.StatusServiceUnavailable:
		code = "verification_unavailable"
	default: // a rule's
		code = "refused"
	}
	body, _ := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
		Error  string `json:"error"`
	}{"about:blank", http.StatusText(e.Status), e.Status, code, e.Description, e.Description})
	return body
}

// reason indexes the refusals. Its zero value means no refusal.
type reason int

const (
	noFault reason = iota
	missing
	repeated
	misformed
	lateBody
	tooLong
	malformed
	badAlgorithm
	badType
	badCritical
	badIssuer
	badClaims
	badAudience
	notYet
	stale
	expired
	unknownKey
	badSignature
	bound
	revoked
	badOpaque
	badSubject
	forbidden
	unavailable
	reasons // the number of reasons
)

const (
	invalidRequest = "invalid_request"
	invalidToken   = "invalid_token"
	notValid       = "The access token is not valid."
)

var refusals = [reasons]Error{
	missing:      {Status: 401, Reason: "missing", Description: "Authentication is required."},
	repeated:     {Status: 400, Code: invalidRequest, Reason: "repeated", Description: "The request has more than one set of credentials."},
	misformed:    {Status: 400, Code: invalidRequest, Reason: "misformed", Description: "The credentials are malformed."},
	lateBody:     {Status: 408, Reason: "late", Description: "The body did not arrive in time."},
	tooLong:      {Status: 401, Code: invalidToken, Reason: "too_long", Description: "The access token is too long."},
	malformed:    {Status: 401, Code: invalidToken, Reason: "malformed", Description: "The access token is malformed."},
	badAlgorithm: {Status: 401, Code: invalidToken, Reason: "algorithm", Description: notValid},
	badType:      {Status: 401, Code: invalidToken, Reason: "type", Description: notValid},
	badCritical:  {Status: 401, Code: invalidToken, Reason: "critical", Description: notValid},
	badIssuer:    {Status: 401, Code: invalidToken, Reason: "issuer", Description: notValid},
	badClaims:    {Status: 401, Code: invalidToken, Reason: "claims", Description: notValid},
	badAudience:  {Status: 401, Code: invalidToken, Reason: "audience", Description: notValid},
	notYet:       {Status: 401, Code: invalidToken, Reason: "not_yet", Description: notValid},
	stale:        {Status: 401, Code: invalidToken, Reason: "stale", Description: notValid},
	expired:      {Status: 401, Code: invalidToken, Reason: "expired", Description: "The access token expired."},
	unknownKey:   {Status: 401, Code: invalidToken, Reason: "key", Description: notValid},
	badSignature: {Status: 401, Code: invalidToken, Reason: "signature", Description: notValid},
	bound:        {Status: 401, Code: invalidToken, Reason: "bound", Description: notValid},
	revoked:      {Status: 401, Code: invalidToken, Reason: "revoked", Description: notValid},
	badOpaque:    {Status: 401, Code: invalidToken, Reason: "opaque", Description: notValid},
	badSubject:   {Status: 401, Code: invalidToken, Reason: "subject", Description: notValid},
	forbidden:    {Status: 403, Code: insufficientScope, Reason: "forbidden", Description: "The access token does not allow this."},
	unavailable:  {Status: 503, Reason: "unavailable", Description: "Access tokens cannot be verified at the moment.", RetryAfter: time.Second},
}

const insufficientScope = "insufficient_scope"

// errorTable has every refusal of one Authenticator. Challenges and bodies are
// made once.
type errorTable struct {
	common []param
	plain  [reasons]*Error
}

func newErrorTable(realm, metadata string, rules []*rule) *errorTable {
	t := &errorTable{common: []param{{"realm", realm}}}
	if metadata != "" {
		t.common = append(t.common, param{"resource_metadata", metadata})
	}
	var wanted []string
	for _, r := range rules {
		if s := r.scope(); s != "" {
			wanted = append(wanted, s)
		}
	}
	for i := range refusals {
		t.plain[i] = t.seal(refusals[i])
	}
	t.plain[missing] = t.seal(refusals[missing], param{"scope", strings.Join(wanted, " ")})
	return t
}

// scope is the refusal of a token without the scopes of r.
func (t *errorTable) scope(r *rule, cause error) *Error {
	e := refusals[forbidden]
	e.Reason, e.Err = "scope", cause
	return t.seal(e, param{"scope", r.scope()})
}

// stepUp is the refusal of a sign-in that r does not accept (RFC 9470).
func (t *errorTable) stepUp(r *rule, cause error) *Error {
	return t.seal(Error{
		Status: 401, Code: "insufficient_user_authentication", Reason: "step_up",
		Description: "A more recent or stronger sign-in is required.", Err: cause,
	}, r.stepUp()...)
}

// with returns the refusal for r with its cause.
func (t *errorTable) with(r reason, cause error) *Error {
	e := *t.plain[r]
	e.Err = cause
	return &e
}

// seal adds the challenge, unless e has one, and the body.
func (t *errorTable) seal(e Error, more ...param) *Error {
	if e.Challenge == "" && e.Status != http.StatusServiceUnavailable && e.Status != http.StatusRequestTimeout {
		params := t.common
		if e.Code != "" {
			params = append(params[:len(params):len(params)], param{"error", e.Code}, param{"error_description", e.Description})
		}
		e.Challenge = challenge(append(params[:len(params):len(params)], more...))
	}
	e.body = e.problem()
	return &e
}

// param is one auth-param of a challenge (RFC 9110 section 11.2).
type param struct{ name, value string }

// challenge writes a Bearer challenge without the empty parameters.
func challenge(params []param) string {
	var b strings.Builder
	b.WriteString("Bearer")
	sep := " "
	for _, p := range params {
		if p.value == "" {
			continue
		}
		b.WriteString(sep)
		b.WriteString(p.name)
		b.WriteByte('=')
		quote(&b, p.value)
		sep = ", "
	}
	return b.String()
}

// quote writes s as a quoted-string of ASCII. Any other character becomes a
// question mark, so that no text ends the header line.
func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r < ' ' || r > '~':
			b.WriteByte('?')
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			fallthrough
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

func quotable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
