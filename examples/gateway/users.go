package main

import (
	"errors"
	"net/http"
	"strings"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/redacto"
)

// mountUsers adds Redacto's user management, for the verified caller alone.
func (g *gateway) mountUsers(p *redacto.Provider) error {
	users := p.Users()
	c := handlers.Config{Wire: users, Authorize: verifiedPerson, Logger: g.log}
	create, err1 := handlers.Users(c, users.Create)
	update, err2 := handlers.Users(c, users.Update)
	link, err3 := handlers.Users(c, users.Link)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	g.handle("/api/consent/create-user", "POST", g.auth.Handler(create))
	g.handle("/api/consent/update-user", "POST", g.auth.Handler(update))
	g.handle("/api/consent/link-users", "POST", g.auth.Handler(link))
	return nil
}

// verifiedPerson takes from the verified claims who the caller is, and the email
// and telephone number that the issuer has verified (OpenID Connect Core section
// 5.1).
func verifiedPerson(r *http.Request, req *providers.Request) error {
	if err := handlers.SubjectFrom(middleware.Subject)(r, req); err != nil {
		return err
	}
	claims, _ := middleware.ClaimsFrom[struct {
		Email         string `json:"email"`
		EmailVerified bool   `json:"email_verified"`
		Phone         string `json:"phone_number"`
		PhoneVerified bool   `json:"phone_number_verified"`
	}](r.Context())
	req.Identifiers = map[string]string{}
	if claims.EmailVerified && claims.Email != "" {
		req.Identifiers["email"] = claims.Email
	}
	if claims.PhoneVerified && claims.Phone != "" {
		req.Identifiers["mobile"] = claims.Phone
	}
	return nil
}

// redactoTenant is the configured tenant that a call of the vendor's API names:
// by organisation_uuid and workspace_uuid in its query, or in its path, as in
// /consent/organisations/{organisation_uuid}/workspaces/{workspace_uuid}/….
func redactoTenant(p *redacto.Provider, r *http.Request) (string, error) {
	query := r.URL.Query()
	segments := strings.Split(r.URL.Path, "/")
	for i := range len(segments) - 1 {
		name := map[string]string{"organisations": "organisation_uuid", "workspaces": "workspace_uuid"}[segments[i]]
		if name != "" && !strings.EqualFold(query.Get(name), segments[i+1]) {
			query.Add(name, segments[i+1]) // another one beside the query's is a conflict
		}
	}
	req, err := p.Decode(query, nil)
	return req.Tenant, err
}
