package redacto

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// Users is the vendor's user management in the form that handlers.Users mounts:
//
//	users := provider.Users()
//	create, err := handlers.Users(handlers.Config{Wire: users, Authorize: verified}, users.Create)
//
// It takes Subject as org_user_id, and the Identifiers email, mobile, uuid and
// alias. The caller must have verified all of them. The shapes of update and
// link are assumed, see [Provider.UpdateUser] and [Provider.LinkUsers].
type Users struct{ p *Provider }

// Users returns the user management of p.
func (p *Provider) Users() Users { return Users{p} }

// Decode reads a call: organisation_uuid and workspace_uuid as
// [Provider.Decode] does; org_user_id, primary_email, primary_mobile, uuid and
// alias_org_user_id, which name persons; and name and metadata. identifier,
// email, mobile and alias are other names of those that name persons.
func (u Users) Decode(query url.Values, members map[string]json.RawMessage) (providers.Request, error) {
	o := wire.Object(members)
	t, err := u.p.tenantOf(query, o)
	if err != nil {
		return providers.Request{}, err
	}
	req := providers.Request{Tenant: t.String(), Identifiers: map[string]string{}, Params: map[string]any{}}
	if req.Subject, err = either(o, "org_user_id", "identifier"); err != nil {
		return providers.Request{}, err
	}
	for name, member := range map[string]string{"email": "primary_email", "mobile": "primary_mobile", "uuid": "uuid", "alias": "alias_org_user_id"} {
		s, err := either(o, member, name)
		if err != nil {
			return providers.Request{}, err
		}
		if s != "" {
			req.Identifiers[name] = s
		}
	}
	name, err := o.String("name")
	if err != nil {
		return providers.Request{}, err
	}
	if name != "" {
		req.Params["name"] = name
	}
	if o.Absent("metadata") {
		return req, nil
	}
	v, err := o.Value("metadata")
	if err != nil {
		return providers.Request{}, err
	}
	metadata, ok := v.(map[string]any)
	if !ok {
		return providers.Request{}, wire.Invalid("metadata must be an object")
	}
	req.Params["metadata"] = metadata
	return req, nil
}

// Encode returns an empty object, because user management hands out no tokens.
func (Users) Encode(providers.Request, providers.Token) any { return struct{}{} }

// Create calls [Provider.CreateUser]. It answers 201 with the new user, or 200
// with the existing one.
func (u Users) Create(ctx context.Context, req providers.Request) (status int, answer any, err error) {
	user, created, err := u.p.CreateUser(ctx, req.Tenant, userOf(req))
	status = http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return status, detail{user}, err
}

// Update calls [Provider.UpdateUser]. It answers 200 with the user.
func (u Users) Update(ctx context.Context, req providers.Request) (status int, answer any, err error) {
	user, err := u.p.UpdateUser(ctx, req.Tenant, userOf(req))
	return http.StatusOK, detail{user}, err
}

// Link calls [Provider.LinkUsers] with the user of req and its identifier
// alias. It answers 200 with the result.
func (u Users) Link(ctx context.Context, req providers.Request) (status int, answer any, err error) {
	links, err := u.p.LinkUsers(ctx, req.Tenant, req.Subject, []string{req.Identifiers["alias"]})
	list := func(names []string) []string { return append([]string{}, names...) } // [] and not null
	return http.StatusOK, detail{map[string][]string{
		"linked": list(links.Linked), "already_linked": list(links.AlreadyLinked),
		"not_found": list(links.NotFound), "conflicts": list(links.Conflicts),
	}}, err
}

// detail is the envelope of the vendor's answers.
type detail struct {
	Detail any `json:"detail"`
}

func userOf(req providers.Request) User {
	user := User{OrgUserID: req.Subject, Email: req.Identifiers["email"], Mobile: req.Identifiers["mobile"], UUID: req.Identifiers["uuid"]}
	user.Name, _ = req.Params["name"].(string)
	user.Metadata, _ = req.Params["metadata"].(map[string]any)
	return user
}
