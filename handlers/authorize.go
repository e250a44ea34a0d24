package handlers

import (
	"context"
	"errors"
	"net/http"

	subjects "github.com/bearerkit/bearerkit/internal/subject"
	"github.com/bearerkit/bearerkit/providers"
)

// Authorize says whether the caller may have what req asks for. It runs once
// the call is decoded and may change req, above all fill in the subject. An
// [*providers.Error] is answered with its code, so that an outage need not
// look like a refusal; any other error is 401 not_signed_in, its text logged
// and not shown. It must be safe for concurrent use.
type Authorize func(r *http.Request, req *providers.Request) error

// SubjectFrom takes the subject from the verified claims that subject finds in
// the request's context; middleware.Subject fits. Without one the answer is
// 401 not_signed_in; a caller who names somebody else gets 403
// identity_mismatch. Request.Identifiers, such as Redacto's email and mobile, are
// dropped: the caller has not proven them.
func SubjectFrom(subject func(context.Context) (string, bool)) Authorize {
	if subject == nil {
		return nil // a constructor error
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

// DangerouslyAllowAnyCaller lets every caller name any user: who can name an
// identifier gets that user's current tokens. Redacto's documentation allows
// it for anonymous identifiers, and the vendors' sample endpoints do the same.
func DangerouslyAllowAnyCaller(*http.Request, *providers.Request) error { return nil }

func (e *endpoint) authorize(r *http.Request, req *providers.Request) error {
	err := e.Authorize(r, req)
	return refusal(err)
}

// refusal makes a plain error of an Authorize into not_signed_in.
func refusal(err error) error {
	var pe *providers.Error
	if err == nil || errors.As(err, &pe) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent, Err: err}
}
