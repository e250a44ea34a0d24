package redacto

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// User is a consent user of the vendor's User Management API
// (docs.redacto.io/docs/user-management-apis). Its JSON form is the vendor's.
type User struct {
	// OrgUserID is the user's name in our system; required.
	OrgUserID string `json:"org_user_id"`
	// Email, Mobile, Name and Metadata are optional.
	Email    string         `json:"primary_email,omitempty"`
	Mobile   string         `json:"primary_mobile,omitempty"`
	Name     string         `json:"name,omitempty"`
	Metadata map[string]any `json:"metadata,omitempty"`
	// The vendor sets the rest. Its times are kept as it writes them.
	UUID             string `json:"uuid,omitempty"`
	OrganisationUUID string `json:"organisation_uuid,omitempty"`
	WorkspaceUUID    string `json:"workspace_uuid,omitempty"`
	OrgUserIDType    string `json:"org_user_id_type,omitempty"`
	CreatedAt        string `json:"created_at,omitempty"`
	UpdatedAt        string `json:"updated_at,omitempty"`
}

// CreateUser registers u in tenant, "" for the only one configured. created is
// false, without an error, if the vendor already has a user with this OrgUserID,
// who is then returned. Another conflict, such as an e-mail address in use, is
// [providers.CodeRejectedInput] with Status 409 and says nothing of that user.
//
// The vendor demands that the caller's identity is verified before this call.
func (p *Provider) CreateUser(ctx context.Context, tenant string, u User) (user User, created bool, err error) {
	t, err := p.tenant(tenant)
	if err != nil {
		return User{}, false, err
	}
	if u.OrgUserID == "" {
		return User{}, false, refuse(providers.CodeIdentityRequired, "org_user_id is required")
	}
	body := User{OrgUserID: u.OrgUserID, Email: u.Email, Mobile: u.Mobile, Name: u.Name, Metadata: u.Metadata}
	res, err := p.call(ctx, t, upstream.Call{Op: "create user", URL: p.path(p.users, t, "consent-ledger", "consent-users/"), Body: body})
	switch {
	case err != nil:
		return User{}, false, err
	case res.Status == http.StatusConflict:
		user, ok := existingUser(res)
		if !ok || user.OrgUserID != "" && user.OrgUserID != u.OrgUserID {
			return User{}, false, res.Fail(providers.CodeRejectedInput, providers.Permanent)
		}
		user.OrgUserID = u.OrgUserID
		return user, false, nil
	case !res.OK():
		return User{}, false, res.Err()
	}
	if err := unwrap(res, &user); err != nil {
		return User{}, false, err
	}
	if user.UUID == "" {
		return User{}, false, res.Bad(errors.New("no uuid in the answer"))
	}
	return user, true, nil
}

// existingUser reads the 409 that says "this very user exists".
func existingUser(res *upstream.Response) (User, bool) {
	var conflict struct {
		Detail struct {
			ConflictType string `json:"conflict_type"`
			ExistingUser User   `json:"existing_user"`
		} `json:"detail"`
	}
	ok := json.Unmarshal(res.Body, &conflict) == nil && conflict.Detail.ConflictType == "ORG_USER_ID_EXISTS"
	return conflict.Detail.ExistingUser, ok
}
