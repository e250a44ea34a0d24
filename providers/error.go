package providers

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Code says publicly what went wrong. Codes are stable: frontends may switch on
// them.
type Code string

// These are the codes that providers return. Package handlers adds a few about
// HTTP itself and gives each code its status.
const (
	// CodeInvalidField: a member of the request has the wrong type or value.
	CodeInvalidField Code = "invalid_field"
	// CodeTenantRequired: several tenants are configured and none was named.
	CodeTenantRequired Code = "tenant_required"
	// CodeTenantInvalid: the tenant named has the wrong form.
	CodeTenantInvalid Code = "tenant_invalid"
	// CodeTenantConflict: two different tenants were named.
	CodeTenantConflict Code = "tenant_conflict"
	// CodeTenantNotAllowed: the tenant named is not configured.
	CodeTenantNotAllowed Code = "tenant_not_allowed"
	// CodeIdentityRequired: the request names no user.
	CodeIdentityRequired Code = "identity_required"
	// CodeIdentityMismatch: the caller named another user.
	CodeIdentityMismatch Code = "identity_mismatch"
	// CodeGrantRequired: the user has given no grant, or the grant has ended.
	// Only the user can give a new one.
	CodeGrantRequired Code = "grant_required"
	// CodeNotSignedIn: the caller is not authenticated.
	CodeNotSignedIn Code = "not_signed_in"
	// CodeRefreshRejected: the upstream refused the refresh token. The user has
	// to sign in again.
	CodeRefreshRejected Code = "refresh_rejected"
	// CodeInvalidToken: the access token is not valid.
	CodeInvalidToken Code = "invalid_token"
	// CodeRejectedInput: the upstream refused what the caller sent.
	CodeRejectedInput Code = "upstream_rejected_input"
	// CodeCredentialsRejected: the upstream refused our own key.
	CodeCredentialsRejected Code = "upstream_credentials_rejected"
	// CodeUpstreamError: the upstream failed.
	CodeUpstreamError Code = "upstream_error"
	// CodeBadResponse: the upstream's answer could not be used.
	CodeBadResponse Code = "upstream_bad_response"
	// CodeUnreachable: the upstream could not be reached.
	CodeUnreachable Code = "upstream_unreachable"
	// CodeBusy: the upstream asks to come back later.
	CodeBusy Code = "upstream_busy"
	// CodeTimeout: the upstream did not answer in time.
	CodeTimeout Code = "upstream_timeout"
	// CodeInternal: this service has a fault.
	CodeInternal Code = "internal"
)

// Class tells the token cache whether another attempt may help. The provider
// sets it. No other part of the kit guesses it from a status.
type Class uint8

const (
	// Transient: the same call may succeed later.
	Transient Class = iota
	// InDoubt: the call may have spent a credential that works once, and its
	// outcome is unknown.
	InDoubt
	// Permanent: the same call fails until a person changes something.
	Permanent
	// GrantDead: the refresh token never works again.
	GrantDead
)

// String returns the name of the class in lower case.
func (c Class) String() string {
	switch c {
	case Transient:
		return "transient"
	case InDoubt:
		return "in_doubt"
	case Permanent:
		return "permanent"
	case GrantDead:
		return "grant_dead"
	}
	return "class(" + strconv.Itoa(int(c)) + ")"
}

// Error is a failure with a public half, Code and Description, and a private
// half, Err. Neither holds a credential or an upstream's body.
type Error struct {
	// Code says publicly what went wrong.
	Code Code
	// Class says whether another attempt may help.
	Class Class
	// Description is one public sentence; "" means the text of the code.
	Description string
	// Op names the vendor and the call, such as "redacto: generate".
	Op string
	// Status is the HTTP status of the upstream; 0 without an answer.
	Status int
	// RetryAfter is how long the upstream asks to wait; 0 if it does not ask.
	RetryAfter time.Duration
	// Err is the cause, for logs and errors.Is. It may be nil. The text of
	// Error does not contain it.
	Err error
}

// Error returns Op, Code, Status and Description. It never contains Err.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op)
		b.WriteString(": ")
	}
	b.WriteString(string(e.Code))
	if e.Status != 0 {
		b.WriteString(" (upstream status ")
		b.WriteString(strconv.Itoa(e.Status))
		b.WriteByte(')')
	}
	if e.Description != "" {
		b.WriteString(": ")
		b.WriteString(e.Description)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// LogValue returns the whole error for log/slog, with its private half.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("code", string(e.Code)),
		slog.String("class", e.Class.String()),
	}
	if e.Op != "" {
		attrs = append(attrs, slog.String("op", e.Op))
	}
	if e.Status != 0 {
		attrs = append(attrs, slog.Int("status", e.Status))
	}
	if e.Description != "" {
		attrs = append(attrs, slog.String("description", e.Description))
	}
	if e.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("cause", e.Err.Error()))
	}
	return slog.GroupValue(attrs...)
}

// AsError finds the [*Error] in err's chain. If there is none, it makes one
// with err as the private half: [CodeTimeout] for a context's deadline, else
// [CodeInternal], both [Transient]. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{Code: CodeTimeout, Class: Transient, Err: err}
	}
	return &Error{Code: CodeInternal, Class: Transient, Err: err}
}
