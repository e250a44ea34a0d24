package redacto

import (
	"cmp"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// tenant is a workspace of an organisation, as configured.
type tenant struct{ organisation, workspace string }

// String returns the form of Request.Tenant.
func (t tenant) String() string { return t.organisation + ":" + t.workspace }

func (t tenant) is(organisation, workspace string) bool {
	return (organisation == "" || strings.EqualFold(organisation, t.organisation)) &&
		(workspace == "" || strings.EqualFold(workspace, t.workspace))
}

func parseTenant(s string) (tenant, bool) {
	o, w, ok := strings.Cut(s, ":")
	return tenant{o, w}, ok && wire.UUID(o) && wire.UUID(w)
}

func (p *Provider) hasTenant(t tenant) bool {
	for _, have := range p.tenants {
		if have.is(t.organisation, t.workspace) {
			return true
		}
	}
	return false
}

// tenant finds the configured tenant that s names. "" names the only one.
func (p *Provider) tenant(s string) (tenant, error) {
	if s == "" {
		return p.selectTenant("", "")
	}
	t, ok := parseTenant(s)
	if !ok {
		return tenant{}, refuse(providers.CodeTenantInvalid, "the tenant must be two UUIDs, organisation:workspace")
	}
	return p.selectTenant(t.organisation, t.workspace)
}

// selectTenant finds the configured tenant of two UUIDs. If only one tenant is
// configured, either may be absent.
func (p *Provider) selectTenant(organisation, workspace string) (tenant, error) {
	if len(p.tenants) > 1 && (organisation == "" || workspace == "") {
		return tenant{}, refuse(providers.CodeTenantRequired, "organisation_uuid and workspace_uuid are required")
	}
	for _, t := range p.tenants {
		if t.is(organisation, workspace) {
			return t, nil
		}
	}
	return tenant{}, refuse(providers.CodeTenantNotAllowed, "this organisation and workspace are not served here")
}

func refuse(code providers.Code, description string) error {
	return &providers.Error{Code: code, Class: providers.Permanent, Op: "redacto: request", Description: description}
}

// identity names the user of a token in the vendor's members.
type identity struct {
	Email     string `json:"email,omitempty"`
	OrgUserID string `json:"org_user_id,omitempty"`
	Mobile    string `json:"mobile,omitempty"`
}

func (id identity) kind() string {
	switch {
	case id.OrgUserID != "":
		return "org_user_id"
	case id.Email != "":
		return "email"
	}
	return "mobile"
}

func (id identity) first() string { return cmp.Or(id.OrgUserID, id.Email, id.Mobile) }

// resolve checks req and splits it into tenant and user.
func (p *Provider) resolve(req providers.Request) (tenant, identity, error) {
	t, err := p.tenant(req.Tenant)
	if err != nil {
		return tenant{}, identity{}, err
	}
	if err := wire.NoAssertion(req); err != nil {
		return tenant{}, identity{}, err
	}
	if len(req.Params) > 0 {
		return tenant{}, identity{}, refuse(providers.CodeInvalidField, "Params: the vendor knows none")
	}
	if err := wire.UserID(req.Subject); err != nil {
		return tenant{}, identity{}, err
	}
	id := identity{OrgUserID: req.Subject}
	for name, v := range req.Identifiers {
		switch name {
		case "email":
			id.Email = v
		case "mobile":
			id.Mobile = v
		default:
			return tenant{}, identity{}, refuse(providers.CodeInvalidField, "Identifiers: only email and mobile are known")
		}
	}
	if id.first() == "" {
		return tenant{}, identity{}, refuse(providers.CodeIdentityRequired, "At least one user identifier required")
	}
	return t, id, nil
}

// Decode reads what the vendor's documented frontends send: organisation_uuid
// and workspace_uuid in the query, the body or both, and email, org_user_id and
// mobile in the body. identifier is another name of org_user_id, from the
// document's listing for anonymous users. members are the members of the body,
// or nil. The Tenant of the result has the configured spelling. A missing user
// is no error here; [Provider.Key] reports it.
func (p *Provider) Decode(query url.Values, members map[string]json.RawMessage) (providers.Request, error) {
	o := wire.Object(members)
	t, err := p.tenantOf(query, o)
	if err != nil {
		return providers.Request{}, err
	}
	req := providers.Request{Tenant: t.String()}
	if req.Subject, err = either(o, "org_user_id", "identifier"); err != nil {
		return providers.Request{}, err
	}
	for _, name := range []string{"email", "mobile"} {
		s, err := o.String(name)
		if err != nil {
			return providers.Request{}, err
		}
		if s != "" {
			if req.Identifiers == nil {
				req.Identifiers = map[string]string{}
			}
			req.Identifiers[name] = s
		}
	}
	return req, nil
}

// either reads the member name, or the one that is another name of it. Both
// must agree.
func either(o wire.Object, name, other string) (string, error) {
	first, err := o.String(name)
	if err != nil {
		return "", err
	}
	second, err := o.String(other)
	if err != nil {
		return "", err
	}
	if first != "" && second != "" && first != second {
		return "", wire.Invalid(other + " differs from " + name)
	}
	return cmp.Or(first, second), nil
}

// tenantOf returns the configured tenant that a call names.
func (p *Provider) tenantOf(query url.Values, o wire.Object) (tenant, error) {
	organisation, err := uuidMember(query, o, "organisation_uuid")
	if err != nil {
		return tenant{}, err
	}
	workspace, err := uuidMember(query, o, "workspace_uuid")
	if err != nil {
		return tenant{}, err
	}
	return p.selectTenant(organisation, workspace)
}

// uuidMember reads name from the query and the body, which must agree.
func uuidMember(query url.Values, o wire.Object, name string) (string, error) {
	inBody, err := o.String(name)
	if err != nil {
		return "", err
	}
	if len(query[name]) > 1 {
		return "", refuse(providers.CodeTenantConflict, name+" is repeated in the query")
	}
	inQuery := query.Get(name)
	for _, s := range []string{inQuery, inBody} {
		if s != "" && !wire.UUID(s) {
			return "", refuse(providers.CodeTenantInvalid, name+" must be a UUID")
		}
	}
	if inQuery != "" && inBody != "" && !strings.EqualFold(inQuery, inBody) {
		return "", refuse(providers.CodeTenantConflict, name+" differs between query and body")
	}
	return cmp.Or(inQuery, inBody), nil
}

// Encode returns the documented answer to a frontend: token, refresh_token and
// expires_at, an RFC 3339 time in UTC. It adds expires_in (seconds left) and
// token_type.
func (p *Provider) Encode(_ providers.Request, t providers.Token) any {
	answer := struct {
		Token        string `json:"token"`
		RefreshToken string `json:"refresh_token,omitempty"`
		ExpiresAt    string `json:"expires_at,omitempty"`
		ExpiresIn    *int64 `json:"expires_in,omitempty"`
		TokenType    string `json:"token_type"`
	}{Token: t.AccessToken, RefreshToken: t.RefreshToken, TokenType: t.TokenType}
	if !t.Expiry.IsZero() {
		left := max(int64(t.Expiry.Sub(p.now())/time.Second), 0)
		answer.ExpiresAt, answer.ExpiresIn = t.Expiry.UTC().Format(time.RFC3339), &left
	}
	return answer
}
