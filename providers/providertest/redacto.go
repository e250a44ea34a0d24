package providertest

import (
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/jose"
	"github.com/bearerkit/bearerkit/internal/wire"
)

// RedactoConfig configures [NewRedacto].
type RedactoConfig struct {
	// Keys are the CMS API keys. A map key is a workspace,
	// "organisation:workspace". Required.
	Keys map[string]string
	// Prefixes are the paths before /organisations in the token paths; nil
	// means both that the vendor documents, /consent/public and /consent.
	Prefixes []string
	// DeadStatus is the status for a refresh token that is not alive; 0 means
	// 400. The vendor publishes none. A 401 does not tell such a token from a
	// wrong API key.
	DeadStatus int
}

type redacto struct {
	*Fake
	keys   map[string]string
	dead   int
	secret []byte
	users  map[string]object // consent users by tenant and org_user_id; Fake.mu guards it
}

// NewRedacto returns a fake of Redacto's consent API:
//
//	POST {prefix}/organisations/{o}/workspaces/{w}/tokens/generate
//	POST {prefix}/organisations/{o}/workspaces/{w}/tokens/refresh
//	POST /consent/organisations/{o}/workspaces/{w}/consent-ledger/consent-users/
//	PATCH …/consent-users/{org_user_id}/
//	POST …/consent-users/link-users
//	ANY  /consent/…
//
// A new pair ends every earlier pair in its workspace that shares an identifier
// with it, access token and refresh token alike. A refresh token works once.
// Access tokens are JWTs that live for 60 minutes. Refresh tokens live for one
// day (times expires_in_days), and expires_at tells their end. The endpoints of
// consent users take the API key or a live token. The shapes of the last two
// are assumed. Any other path expects a live token. It answers 401, or 200 with
// what it received and whose token it was. A wrong API key is a 401, an unknown
// workspace a 404.
func NewRedacto(cfg RedactoConfig) (*Fake, error) {
	if len(cfg.Keys) == 0 {
		return nil, errors.New("providertest: RedactoConfig.Keys: at least one is required")
	}
	v := &redacto{
		Fake: newFake(time.Hour, 24*time.Hour), keys: map[string]string{}, dead: cfg.DeadStatus,
		secret: make([]byte, 32), users: map[string]object{},
	}
	_, _ = rand.Read(v.secret) // never fails
	for tenant, key := range cfg.Keys {
		if strings.Count(tenant, ":") != 1 || key == "" {
			return nil, errors.New("providertest: RedactoConfig.Keys: must be organisation:workspace and a key")
		}
		v.keys[strings.ToLower(tenant)] = key
	}
	if v.dead == 0 {
		v.dead = http.StatusBadRequest
	}
	prefixes := cfg.Prefixes
	if prefixes == nil {
		prefixes = []string{"/consent/public", "/consent"}
	}
	const workspace = "/organisations/{o}/workspaces/{w}"
	slices.Sort(prefixes)
	for _, prefix := range slices.Compact(prefixes) {
		v.handle("POST "+prefix+workspace+"/tokens/generate", generates, v.generate)
		v.handle("POST "+prefix+workspace+"/tokens/refresh", refreshes, v.refresh)
	}
	v.handle("POST /consent"+workspace+"/consent-ledger/consent-users/{$}", apiCalls, v.createUser)
	v.handle("PATCH /consent"+workspace+"/consent-ledger/consent-users/{user}/{$}", apiCalls, v.updateUser)
	v.handle("POST /consent"+workspace+"/consent-ledger/consent-users/link-users", apiCalls, v.linkUsers)
	v.handle("/consent/", apiCalls, v.api)
	return v.Fake, nil
}

// workspace checks the API key of the request's path. It returns "" if it has
// refused the request.
func (v *redacto) workspace(w http.ResponseWriter, r *http.Request) string {
	tenant := strings.ToLower(r.PathValue("o") + ":" + r.PathValue("w"))
	key, ok := v.keys[tenant]
	switch {
	case !ok:
		v.refuse(w, http.StatusNotFound, object{"code": 404, "status": "NOT_FOUND", "detail": "Workspace not found"})
	case r.Header.Get("X-Cms-Api-Key") != key:
		v.refuse(w, http.StatusUnauthorized, redactoUnauthorized)
	default:
		return tenant
	}
	return ""
}

var redactoUnauthorized = object{"detail": object{"detail": "Unauthorized"}}

func (v *redacto) refuse(w http.ResponseWriter, status int, body object) {
	v.set(func() { v.stats.Refused++ })
	answer(w, status, body)
}

func unprocessable(field, message string) object {
	return object{"code": 422, "status": "UNPROCESSABLE_ENTITY", "detail": []object{{"field": field, "message": message}}}
}

func (v *redacto) generate(w http.ResponseWriter, r *http.Request) {
	tenant := v.workspace(w, r)
	if tenant == "" {
		return
	}
	var body struct {
		Email, Mobile *string
		OrgUserID     *string `json:"org_user_id"`
		ExpiresInDays *int    `json:"expires_in_days"`
	}
	if !jsonObject(r, &body) {
		v.refuse(w, http.StatusUnprocessableEntity, unprocessable("body", "not a JSON object of the right types"))
		return
	}
	ids := map[string]any{}
	for name, s := range map[string]*string{"email": body.Email, "org_user_id": body.OrgUserID, "mobile": body.Mobile} {
		if s != nil && *s != "" {
			ids[name] = *s
		}
	}
	days := 1
	if body.ExpiresInDays != nil {
		days = *body.ExpiresInDays
	}
	switch {
	case len(ids) == 0:
		v.refuse(w, http.StatusBadRequest, object{"message": "At least one of email, org_user_id, or mobile must be provided"})
	case days < 1:
		v.refuse(w, http.StatusUnprocessableEntity, unprocessable("expires_in_days", "must be at least 1"))
	default:
		v.issue(w, tenant, ids, days)
	}
}

func (v *redacto) refresh(w http.ResponseWriter, r *http.Request) {
	tenant := v.workspace(w, r)
	if tenant == "" {
		return
	}
	var body struct {
		RefreshToken string `json:"refresh_token"`
	}
	if !jsonObject(r, &body) || body.RefreshToken == "" {
		v.refuse(w, http.StatusUnprocessableEntity, unprocessable("refresh_token", "is required"))
		return
	}
	var spent *grant
	v.set(func() {
		// A refresh token of another workspace is not spent here.
		if g := v.book.refresh[body.RefreshToken]; g != nil && g.tenant == tenant {
			spent = v.book.spend(body.RefreshToken, v.now())
		}
		if spent != nil {
			v.stats.Killed++
		}
	})
	if spent == nil {
		v.refuse(w, v.dead, object{"message": "Refresh token is invalid or expired", "should_request_new": true})
		return
	}
	v.issue(w, tenant, spent.params, 1)
}

// issue makes a pair, ends the user's earlier pairs and answers.
func (v *redacto) issue(w http.ResponseWriter, tenant string, ids map[string]any, days int) {
	organisation, workspace, _ := strings.Cut(tenant, ":")
	claims := object{"organisation_uuid": organisation, "workspace_uuid": workspace, "user_data": ids}
	var g *grant
	var err error
	v.set(func() {
		now := v.now()
		g = &grant{
			accessEnds: now.Add(v.lifetime.access), refreshEnds: now.Add(v.lifetime.refresh * time.Duration(days)),
			tenant: tenant, params: ids,
		}
		var errRefresh error
		g.access, err = v.sign(claims, now, g.accessEnds)
		g.refresh, errRefresh = v.sign(object{}, now, g.refreshEnds)
		if err = errors.Join(err, errRefresh); err != nil {
			return
		}
		v.stats.Killed += v.book.add(g, now)
		v.stats.Issued++
	})
	if err != nil {
		answer(w, http.StatusInternalServerError, object{"message": "cannot sign"})
		return
	}
	answer(w, http.StatusOK, object{"detail": object{
		"token": g.access, "refresh_token": g.refresh, "expires_at": g.refreshEnds.UTC().Format(time.RFC3339),
	}})
}

// sign makes a JWT. user_uuid makes every JWT different.
func (v *redacto) sign(claims object, now, end time.Time) (string, error) {
	claims = maps.Clone(claims)
	claims["user_uuid"], claims["iat"], claims["exp"] = wire.NewUUID(), now.Unix(), end.Unix()
	return jose.HS256(v.secret, claims)
}

// user returns the grant of the request's token, or nil if it is not alive.
func (v *redacto) user(r *http.Request) (g *grant) {
	v.set(func() { g = v.book.live(bearer(r), v.now()) })
	return g
}

func (v *redacto) unauthorized(w http.ResponseWriter) {
	v.set(func() { v.stats.Unauthorized++ })
	answer(w, http.StatusUnauthorized, redactoUnauthorized)
}

func (v *redacto) api(w http.ResponseWriter, r *http.Request) {
	g := v.user(r)
	if g == nil {
		v.unauthorized(w)
		return
	}
	organisation, workspace, _ := strings.Cut(g.tenant, ":")
	more := object{"organisation_uuid": organisation, "workspace_uuid": workspace, "token": g.serial}
	for name, id := range g.params {
		more[name] = id
	}
	echo(w, r, more)
}

// usersOf returns the workspace whose users the caller may change. It returns
// "" if it has refused the request.
func (v *redacto) usersOf(w http.ResponseWriter, r *http.Request) string {
	tenant := strings.ToLower(r.PathValue("o") + ":" + r.PathValue("w"))
	g := v.user(r)
	if key := v.keys[tenant]; (key == "" || r.Header.Get("X-Cms-Api-Key") != key) && (g == nil || g.tenant != tenant) {
		v.unauthorized(w)
		return ""
	}
	return tenant
}

func (v *redacto) createUser(w http.ResponseWriter, r *http.Request) {
	tenant := v.usersOf(w, r)
	if tenant == "" {
		return
	}
	organisation, workspace, _ := strings.Cut(tenant, ":")
	var body struct {
		OrgUserID string  `json:"org_user_id"`
		Email     *string `json:"primary_email"`
		Mobile    *string `json:"primary_mobile"`
		Name      *string `json:"name"`
		Metadata  object  `json:"metadata"`
	}
	if !jsonObject(r, &body) || body.OrgUserID == "" {
		answer(w, http.StatusUnprocessableEntity, unprocessable("org_user_id", "is required"))
		return
	}
	var existing, user object
	v.set(func() {
		id := tenant + "/" + body.OrgUserID
		if existing = v.users[id]; existing != nil {
			return
		}
		now := v.now().UTC().Format(time.RFC3339)
		user = object{
			"uuid": wire.NewUUID(), "organisation_uuid": organisation, "workspace_uuid": workspace,
			"org_user_id": body.OrgUserID, "org_user_id_type": "UCID", "primary_email": body.Email,
			"primary_mobile": body.Mobile, "name": body.Name, "metadata": body.Metadata, "created_at": now, "updated_at": now,
		}
		v.users[id] = user
	})
	if existing != nil {
		answer(w, http.StatusConflict, object{"detail": object{
			"conflict_type": "ORG_USER_ID_EXISTS", "message": "A user with this org_user_id exists", "existing_user": existing,
		}})
		return
	}
	answer(w, http.StatusCreated, object{"detail": user})
}

func (v *redacto) updateUser(w http.ResponseWriter, r *http.Request) {
	tenant := v.usersOf(w, r)
	if tenant == "" {
		return
	}
	var body object
	if !jsonObject(r, &body) {
		answer(w, http.StatusUnprocessableEntity, unprocessable("body", "not a JSON object"))
		return
	}
	var user object
	v.set(func() {
		user = maps.Clone(v.users[tenant+"/"+r.PathValue("user")])
		if user == nil {
			return
		}
		for _, name := range []string{"primary_email", "primary_mobile", "name", "metadata"} {
			if value, ok := body[name]; ok {
				user[name] = value
			}
		}
		user["updated_at"] = v.now().UTC().Format(time.RFC3339)
		v.users[tenant+"/"+r.PathValue("user")] = user
	})
	if user == nil {
		answer(w, http.StatusNotFound, object{"code": 404, "status": "NOT_FOUND", "detail": "User not found"})
		return
	}
	answer(w, http.StatusOK, object{"detail": user})
}

func (v *redacto) linkUsers(w http.ResponseWriter, r *http.Request) {
	tenant := v.usersOf(w, r)
	if tenant == "" {
		return
	}
	var body struct {
		Primary string   `json:"primary_org_user_id"`
		Aliases []string `json:"alias_org_user_ids"`
	}
	if !jsonObject(r, &body) || body.Primary == "" || len(body.Aliases) == 0 {
		answer(w, http.StatusUnprocessableEntity, unprocessable("primary_org_user_id", "is required, and aliases"))
		return
	}
	lists := map[string][]string{"linked": {}, "already_linked": {}, "not_found": {}, "conflicts": {}}
	var refused string
	v.set(func() {
		switch primary := v.users[tenant+"/"+body.Primary]; {
		case primary == nil:
			refused = "The primary user is not found"
		case primary["alias_of"] != nil:
			refused = "The primary user is an alias"
		}
		for _, name := range body.Aliases {
			if refused != "" {
				return
			}
			list := "linked"
			switch alias := v.users[tenant+"/"+name]; {
			case alias == nil:
				list = "not_found"
			case alias["alias_of"] == body.Primary:
				list = "already_linked"
			case alias["alias_of"] != nil:
				list = "conflicts"
			default:
				alias["alias_of"] = body.Primary
			}
			lists[list] = append(lists[list], name)
		}
	})
	if refused != "" {
		answer(w, http.StatusUnprocessableEntity, unprocessable("primary_org_user_id", refused))
		return
	}
	answer(w, http.StatusOK, object{"detail": lists})
}
