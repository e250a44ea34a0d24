package redacto

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// User is a consent user of the vendor's User Management API
// (docs.redacto.io/docs/user-management-apis). Its JSON form is the vendor's.
type User struct {
	// OrgUserID is our name of the user; required.
	OrgUserID string `json:"org_user_id,omitempty"`
	// Email, Mobile, Name and Metadata are optional.
	Email    string         `json:"primary_email,omitempty"`
	Mobile   string         `json:"primary_mobile,omitempty"`
	Name     string         `json:"name,omitempty"`
	Metadata map[string]any `json:"metadata,omitempty"`
	// The vendor sets the other fields. Times are kept as the vendor writes
	// them.
	UUID             string `json:"uuid,omitempty"`
	OrganisationUUID string `json:"organisation_uuid,omitempty"`
	WorkspaceUUID    string `json:"workspace_uuid,omitempty"`
	OrgUserIDType    string `json:"org_user_id_type,omitempty"`
	CreatedAt        string `json:"created_at,omitempty"`
	UpdatedAt        string `json:"updated_at,omitempty"`
}

// CreateUser registers u in tenant; "" means the only one configured. If the
// vendor already has a user with this OrgUserID, CreateUser returns that user,
// and created is false. Any other conflict, such as an e-mail address in use,
// is [providers.CodeRejectedInput] with Status 409 and tells nothing about that
// user.
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
	if err := wire.UserID(u.OrgUserID); err != nil {
		return User{}, false, err
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

// existingUser reads a 409 that says that this very user exists.
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

// userCall is a call of the user management API from the configuration.
type userCall struct{ method, path string }

// parseUserCall reads a method and a path.
func parseUserCall(s string) (userCall, error) {
	method, path, ok := strings.Cut(s, " ")
	plain := strings.NewReplacer("{org_user_id}", "x", "{uuid}", "x").Replace(strings.TrimSuffix(path, "/"))
	switch {
	case !ok || !slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch}, method):
		return userCall{}, errors.New("must be POST, PUT or PATCH and a path")
	case plain == "" || !plainPath(plain) || strings.ContainsAny(plain, "{}"):
		return userCall{}, errors.New("must have a clean absolute path; only {org_user_id} and {uuid} are filled in")
	}
	return userCall{method, path}, nil
}

// url returns c's URL for u in t. A name that would change the path is an
// error.
func (c userCall) url(p *Provider, t tenant, u User) (string, error) {
	path := c.path
	for name, value := range map[string]string{"org_user_id": u.OrgUserID, "uuid": u.UUID} {
		if !strings.Contains(path, "{"+name+"}") {
			continue
		}
		if value == "" || value == "." || value == ".." {
			return "", refuse(providers.CodeIdentityRequired, name+" is required, and must name a user")
		}
		path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
	}
	return p.path(p.users, t) + path, nil
}

// UpdateUser changes Email, Mobile, Name and Metadata of a consent user, if
// they are not empty. u.OrgUserID or u.UUID names the user, whichever is in
// [Config].UpdateUserCall. The shape of the request is assumed; no public page
// shows it. The result is the user in the vendor's answer. A member that the
// answer lacks is taken from u.
//
// The caller must have verified the identity, Email and Mobile.
func (p *Provider) UpdateUser(ctx context.Context, tenant string, u User) (User, error) {
	t, err := p.tenant(tenant)
	if err != nil {
		return User{}, err
	}
	if err := wire.UserID(u.OrgUserID); err != nil {
		return User{}, err
	}
	address, err := p.update.url(p, t, u)
	if err != nil {
		return User{}, err
	}
	body := User{Email: u.Email, Mobile: u.Mobile, Name: u.Name, Metadata: u.Metadata}
	res, err := p.call(ctx, t, upstream.Call{Op: "update user", Method: p.update.method, URL: address, Body: body})
	if err != nil {
		return User{}, err
	}
	if !res.OK() {
		return User{}, refusedUser(res)
	}
	// Metadata is left out: encoding/json would write into the caller's map.
	changed := User{OrgUserID: u.OrgUserID, UUID: u.UUID, Email: u.Email, Mobile: u.Mobile, Name: u.Name}
	if len(bytes.TrimSpace(res.Body)) > 0 {
		if err := unwrap(res, &changed); err != nil {
			return User{}, err
		}
	}
	if changed.Metadata == nil {
		changed.Metadata = maps.Clone(u.Metadata)
	}
	if u.OrgUserID != "" && changed.OrgUserID != u.OrgUserID || u.UUID != "" && changed.UUID != u.UUID {
		return User{}, res.Bad(errors.New("the answer is about another user"))
	}
	return changed, nil
}

// Links is the result of [Provider.LinkUsers] for each alias, by org_user_id.
type Links struct {
	Linked        []string
	AlreadyLinked []string
	// NotFound are aliases that name no user.
	NotFound []string
	// Conflicts are aliases that belong to another user.
	Conflicts []string
}

// LinkUsers makes each of aliases an alias of the user primary. All of them are
// org_user_ids. An alias that could not be linked is no error: see [Links]. The
// names of the request's members are assumed; no public page shows them.
//
// The caller must have verified that all of them are one person.
func (p *Provider) LinkUsers(ctx context.Context, tenant, primary string, aliases []string) (Links, error) {
	t, err := p.tenant(tenant)
	if err != nil {
		return Links{}, err
	}
	switch {
	case primary == "" || len(aliases) == 0 || slices.Contains(aliases, ""):
		return Links{}, refuse(providers.CodeIdentityRequired, "a primary user and its aliases are required")
	case slices.Contains(aliases, primary):
		return Links{}, refuse(providers.CodeInvalidField, "the primary user is among the aliases")
	}
	for _, id := range append([]string{primary}, aliases...) {
		if err := wire.UserID(id); err != nil {
			return Links{}, err
		}
	}
	address, err := p.link.url(p, t, User{OrgUserID: primary})
	if err != nil {
		return Links{}, err
	}
	body := struct {
		Primary string   `json:"primary_org_user_id"`
		Aliases []string `json:"alias_org_user_ids"`
	}{primary, aliases}
	res, err := p.call(ctx, t, upstream.Call{Op: "link users", Method: p.link.method, URL: address, Body: body})
	if err != nil {
		return Links{}, err
	}
	if !res.OK() {
		return Links{}, refusedUser(res)
	}
	var got struct {
		Linked        []alias `json:"linked"`
		AlreadyLinked []alias `json:"already_linked"`
		NotFound      []alias `json:"not_found"`
		Conflicts     []alias `json:"conflicts"`
	}
	if err := unwrap(res, &got); err != nil {
		return Links{}, err
	}
	return Links{names(got.Linked), names(got.AlreadyLinked), names(got.NotFound), names(got.Conflicts)}, nil
}

// alias is a user in a list, as its name or as an object that has it.
type alias string

// UnmarshalJSON reads either form.
func (a *alias) UnmarshalJSON(b []byte) error {
	var name string
	var object struct {
		OrgUserID string `json:"org_user_id,omitempty"`
		Alias     string `json:"alias_org_user_id"`
	}
	if json.Unmarshal(b, &name) != nil && json.Unmarshal(b, &object) != nil {
		return errors.New("neither a name nor an object")
	}
	*a = alias(cmp.Or(name, object.OrgUserID, object.Alias))
	return nil
}

func names(list []alias) []string {
	var all []string
	for _, a := range list {
		all = append(all, string(a))
	}
	return all
}

// refusedUser classifies a refusal of the user management API. A conflict, or a
// user that does not exist, is a fault of the caller's input.
func refusedUser(res *upstream.Response) *providers.Error {
	if (res.Status == http.StatusConflict || res.Status == http.StatusNotFound) && res.Structured() {
		return res.Fail(providers.CodeRejectedInput, providers.Permanent)
	}
	return res.Err()
}
