package handlers

import (
	"context"
	"errors"
	"net/http"

	subjects "github.com/bearerkit/bearerkit/internal/subject"
	"github.com/bearerkit/bearerkit/providers"
)

// Authorize says whether the caller may have what req asks for. It runs after
// the call is decoded. It may change req, above all set the Subject. An
// [*providers.Error] is answered with its code, so that an outage does not look
// like a refusal. Any other error is 401 not_signed_in; its text is logged and
// not shown. Authorize must be safe for concurrent use.
type Authorize func(r *http.Request, req *providers.Request) error

// SubjectFrom takes the Subject from the verified claims in the request's
// context. subject finds it there; middleware.Subject fits. Without a subject
// the answer is 401 not_signed_in. A caller who names another user gets 403
// identity_mismatch. Request.Identifiers, such as Redacto's email and mobile,
// are dropped, because the caller has not proven them.
func SubjectFrom(subject func(context.Context) (string, bool)) Authorize {
	if subject == nil {
		return nil // the constructor reports it
	}
	return func(r *http.Request, req *providers.Request) error {
		sub, ok := subject(r.Context())
		if !ok || sub == "" {
			return &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent}
		}
		if req.Subject != "" && !subjects.Is(sub, req.Subject) {
			return &providers.Error{Code: providers.CodeIdentityMismatch, Class: providers.Permanent}
		}
		req.Subject = sub
		req.Identifiers = nil
		return nil
	}
}

// DangerouslyAllowAnyCaller lets every caller name any user. A caller who knows
// an identifier gets that user's current tokens. Redacto's documentation allows
// it for anonymous identifiers, and the vendors' sample endpoints do the same.
func DangerouslyAllowAnyCaller(*http.Request, *providers.Request) error { return nil }

func (e *endpoint) authorize(r *http.Request, req *providers.Request) error {
	err := e.Authorize(r, req)
	return refusal(err)
}

// refusal changes a plain error of an Authorize to not_signed_in.
func refusal(err error) error {
	var pe *providers.Error
	if err == nil || errors.As(err, &pe) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent, Err: err}
}
