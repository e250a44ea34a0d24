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

// ErrorEncoder is a [Wire] that adds members to the vendor's error answers.
type ErrorEncoder interface {
	// EncodeError returns the additional members of an answer with code and
	// text. It cannot replace the members of RFC 9457, code and error.
	EncodeError(code providers.Code, text string) map[string]any
}

// WriteError answers err in the shape of all errors of this package: one JSON
// object of type application/problem+json (RFC 9457), with the status that the
// package documentation gives the code. Use it in what stands before the
// handlers. A rate limiter answers
//
//	handlers.WriteError(w, r, &providers.Error{Code: "rate_limited", RetryAfter: time.Minute})
//
// With RetryAfter 0, a Retry-After header that is already set stays. The deny
// handler of [http.CrossOriginProtection] answers with the code cross_origin.
// Only Code, RetryAfter and, below status 500, Description reach the caller. A
// context's deadline is 504, any other error 500 internal. The caller of
// WriteError sets the Allow header of a 405.
//
// If the client has gone, WriteError writes nothing and panics with
// [http.ErrAbortHandler]. The server then closes the connection, so that a
// client that still reads does not take an empty answer for a success.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	writeError(w, r, err, nil)
}

func writeError(w http.ResponseWriter, r *http.Request, err error, extra func(providers.Code, string) map[string]any) {
	e := classify(r, err)
	if gone(r) && e.Code != codeTimedOut {
		wire.Abort()
	}
	status, detail := statusOf(e.Code), texts[e.Code]
	// From 500 on the cause concerns the operator only. Frontends compare the
	// text of identity_required.
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
	if err != nil { // the members of extra have no JSON form
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

// classify returns the error to answer. Its code is one of the table.
func classify(r *http.Request, err error) *providers.Error {
	e := providers.AsError(err)
	switch {
	case e == nil, statusOf(e.Code) == http.StatusInternalServerError:
		e = &providers.Error{Code: providers.CodeInternal, Err: err}
	}
	if statusOf(e.Code) >= 500 && errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		return &providers.Error{Code: providers.CodeTimeout, Err: err} // the deadline of a wrapper, whatever error it caused
	}
	return e
}

// seconds rounds up, so that no caller comes back too early. It returns at
// least 1.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(max(d+time.Second-1, time.Second)/time.Second), 10)
}

// gone reports whether the client has left. A deadline comes from a wrapper,
// whose client still waits.
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
