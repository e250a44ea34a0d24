package handlers

import (
	"net/http"

	"github.com/bearerkit/bearerkit/providers"
)

// Codes about HTTP itself.
const (
	codeInvalidJSON     providers.Code = "invalid_json"
	codeRefreshRequired providers.Code = "refresh_token_required"
	codeCrossOrigin     providers.Code = "cross_origin"
	codeNotFound        providers.Code = "not_found"
	codeMethod          providers.Code = "method_not_allowed"
	codeTimedOut        providers.Code = "request_timeout"
	codeTooLarge        providers.Code = "body_too_large"
	codeMediaType       providers.Code = "unsupported_media_type"
	codeMisdirected     providers.Code = "misdirected_request"
	codeRateLimited     providers.Code = "rate_limited"
	codeTokenRejected   providers.Code = "upstream_rejected_token"
)

// statusOf gives every code its status. A code that it does not list is 500.
func statusOf(c providers.Code) int {
	switch c {
	case codeInvalidJSON, providers.CodeInvalidField, codeRefreshRequired, providers.CodeIdentityRequired,
		providers.CodeTenantRequired, providers.CodeTenantInvalid, providers.CodeTenantConflict:
		return http.StatusBadRequest
	case providers.CodeNotSignedIn, providers.CodeGrantRequired, providers.CodeRefreshRejected:
		return http.StatusUnauthorized
	case providers.CodeInvalidToken, providers.CodeTenantNotAllowed, providers.CodeIdentityMismatch, codeCrossOrigin:
		return http.StatusForbidden
	case codeNotFound:
		return http.StatusNotFound
	case codeMethod:
		return http.StatusMethodNotAllowed
	case codeTimedOut:
		return http.StatusRequestTimeout
	case codeTooLarge:
		return http.StatusRequestEntityTooLarge
	case codeMediaType:
		return http.StatusUnsupportedMediaType
	case codeMisdirected:
		return http.StatusMisdirectedRequest
	case providers.CodeRejectedInput:
		return http.StatusUnprocessableEntity
	case codeRateLimited:
		return http.StatusTooManyRequests
	case providers.CodeCredentialsRejected, providers.CodeUpstreamError, providers.CodeBadResponse,
		providers.CodeUnreachable, codeTokenRejected:
		return http.StatusBadGateway
	case providers.CodeBusy:
		return http.StatusServiceUnavailable
	case providers.CodeTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// texts are the texts that callers read. Existing frontends compare the texts
// of identity_required and method_not_allowed with those of the vendors'
// samples.
var texts = map[providers.Code]string{
	codeInvalidJSON:                   "The body must be one JSON object.",
	providers.CodeInvalidField:        "A field of the request has the wrong type or value.",
	providers.CodeTenantRequired:      "The request must name a tenant.",
	providers.CodeTenantInvalid:       "The tenant has the wrong form.",
	providers.CodeTenantConflict:      "The request names two different tenants.",
	providers.CodeIdentityRequired:    "At least one user identifier required",
	codeRefreshRequired:               "refresh_token is required.",
	providers.CodeNotSignedIn:         "Sign in first.",
	providers.CodeGrantRequired:       "You are signed in, but this service has no access to the vendor for you. Grant it first.",
	providers.CodeRefreshRejected:     "The refresh token is no longer valid. Sign in again.",
	providers.CodeInvalidToken:        "The token is not valid.",
	codeCrossOrigin:                   "Cross-origin requests are not allowed here.",
	providers.CodeTenantNotAllowed:    "This tenant is not available here.",
	providers.CodeIdentityMismatch:    "You may act only for yourself.",
	codeNotFound:                      "There is nothing here.",
	codeMethod:                        "Method not allowed",
	codeTimedOut:                      "The body did not arrive in time.",
	codeTooLarge:                      "The body is larger than 16 KiB.",
	codeMediaType:                     "The body must be application/json.",
	codeMisdirected:                   "This service does not answer for that host name.",
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
