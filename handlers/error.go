package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
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
	providers.CodeTenantRequired:      "organisation_uuid and workspace_uuid are required.",
	providers.CodeTenantInvalid:       "organisation_uuid and workspace_uuid must be UUIDs.",
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
// client that has gone it writes nothing.
func Error(w http.ResponseWriter, r *http.Request, err error) {
	writeError(w, r, err, nil)
}

func writeError(w http.ResponseWriter, r *http.Request, err error, extra func(providers.Code, string) map[string]any) {
	if gone(r) {
		return
	}
	e := providers.AsError(err)
	if e == nil {
		e = &providers.Error{Code: providers.CodeInternal}
	}
	status, code := e.Code.HTTPStatus(), e.Code
	if status == http.StatusInternalServerError {
		code = providers.CodeInternal
	}
	detail := texts[code]
	if e.Description != "" && status < 500 {
		detail = e.Description // above, the cause is the operator's business
	}
	body := map[string]any{}
	if extra != nil {
		body = extra(code, detail)
		if body == nil {
			body = map[string]any{}
		}
	}
	body["type"] = "about:blank"
	body["title"] = http.StatusText(status)
	body["status"] = status
	body["code"] = code
	body["detail"] = detail
	body["error"] = detail
	b, err := json.Marshal(body)
	if err != nil { // extra has no JSON form
		writeError(w, r, &providers.Error{Code: providers.CodeInternal}, nil)
		return
	}
	h := w.Header()
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", seconds(min(cmpOr(e.RetryAfter, 5*time.Second), 300*time.Second)))
	case http.StatusTooManyRequests:
		if e.RetryAfter > 0 || h.Get("Retry-After") == "" {
			h.Set("Retry-After", seconds(cmpOr(e.RetryAfter, 5*time.Second)))
		}
	}
	write(w, status, "application/problem+json", b)
}

func cmpOr(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// seconds rounds up, so that nobody comes back too early.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// gone reports that the client has left. A deadline is a wrapper's, and its
// client still waits.
func gone(r *http.Request) bool {
	return errors.Is(r.Context().Err(), context.Canceled)
}

// fail answers err and logs its private half.
func fail(w http.ResponseWriter, r *http.Request, log *slog.Logger, op, allow string, err error, extra func(providers.Code, string) map[string]any) {
	e := providers.AsError(err)
	status := e.Code.HTTPStatus()
	level := slog.LevelWarn
	switch {
	case gone(r):
		level = slog.LevelDebug
	case status < 500:
		level = slog.LevelDebug
	case status == http.StatusInternalServerError, e.Code == providers.CodeCredentialsRejected:
		level = slog.LevelError
	}
	log.LogAttrs(r.Context(), level, "handlers: "+op, slog.Int("answer", status), slog.Any("error", e))
	if status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allow)
	}
	writeError(w, r, err, extra)
}
