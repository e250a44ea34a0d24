package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/bearerkit/bearerkit/internal/warnlog"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// ErrorEncoder is a [Wire] whose vendor's error answers have further members.
type ErrorEncoder interface {
	// EncodeError returns the members that an answer with code and text has
	// beside those of every other. The members of RFC 9457, code and error
	// cannot be replaced.
	EncodeError(code providers.Code, text string) map[string]any
}

// WriteError answers err in the shape of all this package's errors: one JSON
// object of type application/problem+json (RFC 9457), with the status that the
// package documentation gives the code. It is for what stands before the
// handlers: a rate limiter answers
//
//	handlers.WriteError(w, r, &providers.Error{Code: "rate_limited", RetryAfter: time.Minute})
//
// or leaves RetryAfter 0 to keep a Retry-After header that is already set, and
// the deny handler of [http.CrossOriginProtection] answers with the code
// cross_origin. Only Code, RetryAfter and, below status 500, Description reach
// the caller. Any other error is 500 internal, a context's deadline 504. The
// Allow header of a 405 is the caller's to set.
//
// If the client has gone, WriteError writes nothing and panics with
// [http.ErrAbortHandler], so that the server closes the connection: a client
// that still reads must not take an empty answer for a success.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	writeError(w, r, err, nil)
}

func writeError(w http.ResponseWriter, r *http.Request, err error, extra func(providers.Code, string) map[string]any) {
	e := classify(r, err)
	if gone(r) && e.Code != codeTimedOut {
		wire.Abort()
	}
	status, detail := statusOf(e.Code), texts[e.Code]
	// From 500 on the cause is the operator's business; frontends know the text
	// of identity_required.
	if e.Description != "" && status < 500 && e.Code != providers.CodeIdentityRequired {
		detail = e.Description
	}
	body := map[string]any{}
	if extra != nil {
		maps.Copy(body, extra(e.Code, detail))
	}
	maps.Copy(body, map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status,
		"code": e.Code, "detail": detail, "error": detail,
	})
	b, err := json.Marshal(body)
	if err != nil { // what extra returned has no JSON form
		writeError(w, r, err, nil)
		return
	}
	h := w.Header()
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusRequestTimeout:
		h.Set("Connection", "close") // RFC 9110 section 15.5.9
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", seconds(min(cmp.Or(e.RetryAfter, defaultWait), maxWait)))
	case http.StatusTooManyRequests:
		if e.RetryAfter > 0 || h.Get("Retry-After") == "" {
			h.Set("Retry-After", seconds(cmp.Or(e.RetryAfter, defaultWait)))
		}
	}
	write(w, status, "application/problem+json", b)
}

const (
	defaultWait = 5 * time.Second
	maxWait     = 5 * time.Minute
)

// classify finds the error to answer, which has a code of the table.
func classify(r *http.Request, err error) *providers.Error {
	e := providers.AsError(err)
	switch {
	case e == nil, statusOf(e.Code) == http.StatusInternalServerError:
		e = &providers.Error{Code: providers.CodeInternal, Err: err}
	}
	if statusOf(e.Code) >= 500 && errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		return &providers.Error{Code: providers.CodeTimeout, Err: err} // a wrapper's deadline, whatever it broke
	}
	return e
}

// seconds rounds up, so that no caller comes back too early; 1 at least.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(max(d+time.Second-1, time.Second)/time.Second), 10)
}

// gone reports that the client has left. A deadline is a wrapper's, and its
// client still waits.
func gone(r *http.Request) bool {
	return errors.Is(r.Context().Err(), context.Canceled)
}

// reporter answers a handler's errors and logs their private half.
type reporter struct {
	log   *slog.Logger
	op    string
	allow string // the methods, for 405; "" where the header is set already
	extra func(providers.Code, string) map[string]any
	rare  warnlog.Rare
}

func (p *reporter) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(classify(r, err).Code)
	p.report(r, status, err)
	if status == http.StatusMethodNotAllowed && p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	writeError(w, r, err, p.extra)
}
