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

	"github.com/bearerkit/bearerkit/providers"
)

// Codes about HTTP itself. Their statuses are in the table of
// [providers.Code.HTTPStatus].
const (
	codeInvalidJSON     providers.Code = "invalid_json"
	codeRefreshRequired providers.Code = "refresh_token_required"
	codeCrossOrigin     providers.Code = "cross_origin"
	codeNotFound        providers.Code = "not_found"
	codeMethod          providers.Code = "method_not_allowed"
	codeTooLarge        providers.Code = "body_too_large"
	codeMediaType       providers.Code = "unsupported_media_type"
	codeRateLimited     providers.Code = "rate_limited"
	codeTokenRejected   providers.Code = "upstream_rejected_token"
)

// texts are what callers read. Frontends in the field compare the texts of
// identity_required and method_not_allowed with the vendors' samples.
var texts = map[providers.Code]string{
	codeInvalidJSON:                   "The body must be one JSON object.",
	providers.CodeInvalidField:        "A field of the request has the wrong type or value.",
	providers.CodeTenantRequired:      "The request must name a tenant.",
	providers.CodeTenantInvalid:       "The tenant has the wrong form.",
	providers.CodeTenantConflict:      "The request names two different tenants.",
	providers.CodeIdentityRequired:    "At least one user identifier required",
	codeRefreshRequired:               "refresh_token is required.",
	providers.CodeNotSignedIn:         "Sign in first.",
	providers.CodeRefreshRejected:     "The refresh token is no longer valid. Sign in again.",
	providers.CodeInvalidToken:        "The token is not valid.",
	codeCrossOrigin:                   "Cross-origin requests are not allowed here.",
	providers.CodeTenantNotAllowed:    "This tenant is not available here.",
	providers.CodeIdentityMismatch:    "You may act only for yourself.",
	codeNotFound:                      "There is nothing here.",
	codeMethod:                        "Method not allowed",
	codeTooLarge:                      "The body is larger than 16 KiB.",
	codeMediaType:                     "The body must be application/json.",
	providers.CodeRejectedInput:       "The vendor did not accept the request.",
	codeRateLimited:                   "Too many requests. Try again later.",
	providers.CodeCredentialsRejected: "The vendor did not accept this service's credentials.",
	providers.CodeUpstreamError:       "The vendor failed to answer.",
	providers.CodeBadResponse:         "The vendor's answer could not be used.",
	providers.CodeUnreachable:         "The vendor could not be reached.",
	codeTokenRejected:                 "The vendor did not accept this service's token.",
	providers.CodeBusy:                "The vendor is busy. Try again later.",
	providers.CodeTimeout:             "The vendor did not answer in time.",
	providers.CodeInternal:            "Something went wrong on this service.",
}

// Error answers err in the shape of all this package's errors: one JSON object
// of type application/problem+json (RFC 9457), with the status of
// [providers.Code.HTTPStatus]. It is for what stands before the handlers: a
// rate limiter answers
//
//	handlers.Error(w, r, &providers.Error{Code: "rate_limited", RetryAfter: time.Minute})
//
// or leaves RetryAfter 0 to keep a Retry-After header that is already set, and
// the deny handler of [http.CrossOriginProtection] answers with the code
// cross_origin. Only Code, RetryAfter and, below status 500, Description reach
// the caller. Any other error is 500 internal, a context's deadline 504. To a
// client that has gone it writes nothing. The Allow header of a 405 is the
// caller's to set.
func Error(w http.ResponseWriter, r *http.Request, err error) {
	writeError(w, r, err, nil)
}

func writeError(w http.ResponseWriter, r *http.Request, err error, extra func(providers.Code, string) map[string]any) {
	if gone(r) {
		return
	}
	e := classify(r, err)
	status, detail := e.Code.HTTPStatus(), texts[e.Code]
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
	case e == nil, e.Code.HTTPStatus() == http.StatusInternalServerError:
		e = &providers.Error{Code: providers.CodeInternal, Err: err}
	}
	if e.Code.HTTPStatus() >= 500 && errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		return &providers.Error{Code: providers.CodeTimeout, Err: err} // a wrapper's deadline, whatever it broke
	}
	return e
}

// seconds rounds up, so that nobody comes back too early; 1 at least.
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
}

func (p *reporter) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := classify(r, err).Code.HTTPStatus()
	level := slog.LevelWarn
	switch {
	case gone(r), status < 500:
		level = slog.LevelDebug
	case status == http.StatusInternalServerError, status == http.StatusBadGateway:
		level = slog.LevelError
	}
	p.log.LogAttrs(r.Context(), level, "handlers: "+p.op, slog.Int("answer", status), slog.Any("error", providers.AsError(err)))
	if status == http.StatusMethodNotAllowed && p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	writeError(w, r, err, p.extra)
}
