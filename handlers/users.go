package handlers

import (
	"context"
	"net/http"

	subjects "github.com/bearerkit/bearerkit/internal/subject"
	"github.com/bearerkit/bearerkit/providers"
)

// Users returns the handler of POST calls of a vendor's user management, such
// as Redacto's create, update and link. Config.Wire reads the call. The
// function call makes it and returns the status and the body of the answer.
//
// The person comes from the verified identity alone. Authorize gets a Request
// without the persons that the caller names. It sets Subject, and those of
// Identifiers that are verified, such as an email whose claim email_verified is
// true. Without a Subject the answer is 401 not_signed_in, so
// DangerouslyAllowAnyCaller lets no caller in. If the body names a person, it
// must be the same one, or the answer is 403 identity_mismatch. Other members
// of the body are kept.
//
// Config.Provider is not used. The error joins every fault of c.
func Users(c Config, call func(context.Context, providers.Request) (status int, answer any, err error)) (http.Handler, error) {
	var bad error
	if call == nil {
		bad = fault("call", "required")
	}
	if c.Provider == nil {
		c.Provider = noProvider{}
	}
	e, err := c.endpoint("users", http.MethodPost, bad, c.wired())
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := e.person(w, r)
		if err != nil {
			e.fail(w, r, err)
			return
		}
		status, answer, err := call(r.Context(), req)
		if err != nil {
			e.fail(w, r, err)
			return
		}
		e.answerStatus(w, r, status, answer)
	}), nil
}

// person makes all checks and returns the call with its verified person.
func (e *endpoint) person(w http.ResponseWriter, r *http.Request) (providers.Request, error) {
	none := providers.Request{}
	if err := e.admit(r); err != nil {
		return none, err
	}
	members, err := readObject(w, r)
	if err != nil {
		return none, err
	}
	query, err := parseQuery(r)
	if err != nil {
		return none, err
	}
	req, err := e.Wire.Decode(query, members)
	if err != nil {
		return none, err
	}
	verified := providers.Request{Tenant: req.Tenant}
	if err := e.authorize(r, &verified); err != nil {
		return none, err
	}
	if verified.Subject == "" {
		return none, refuse(providers.CodeNotSignedIn, "")
	}
	if req.Subject != "" && !subjects.Is(verified.Subject, req.Subject) {
		return none, refuse(providers.CodeIdentityMismatch, "")
	}
	for name, said := range req.Identifiers {
		if said != verified.Identifiers[name] {
			return none, refuse(providers.CodeIdentityMismatch, "")
		}
	}
	req.Tenant, req.Subject, req.Identifiers = verified.Tenant, verified.Subject, verified.Identifiers
	return req, e.checkIdentifiers(req)
}

// noProvider is the Provider of an endpoint that needs none.
type noProvider struct{}

func (noProvider) Generate(context.Context, providers.Request) (providers.Token, error) {
	return providers.Token{}, &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent}
}
