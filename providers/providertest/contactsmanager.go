package providertest

import (
	"errors"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/bearerkit/bearerkit/internal/jose"
	"github.com/bearerkit/bearerkit/internal/wire"
)

// ContactsManagerConfig configures [NewContactsManager]. All fields are
// required.
type ContactsManagerConfig struct {
	// OrgID, APIKey and APISecret are the organization's.
	OrgID, APIKey, APISecret string
}

type contactsManager struct {
	*Fake
	cfg ContactsManagerConfig
	// Fake.mu guards these.
	seen    map[string]bool // jti; false once it has been revoked
	since   int64           // tokens signed before this second are revoked
	created map[string]object
}

// NewContactsManager returns a fake of ContactsManager's API. It issues no
// tokens and verifies those that its customers sign:
//
//	POST   /api/v1/client/validate-key
//	POST   /api/v1/server/users/{uid}
//	DELETE /api/v1/server/users/{uid}
//
// A token is valid if it is signed by HS256 with the API secret and has the
// organization's org_id and api_key, a user_id, a jti, and an exp that has not
// passed. Any other token is a 401.
func NewContactsManager(cfg ContactsManagerConfig) (*Fake, error) {
	if cfg.OrgID == "" || cfg.APIKey == "" || cfg.APISecret == "" {
		return nil, errors.New("providertest: ContactsManagerConfig: OrgID, APIKey and APISecret are required")
	}
	v := &contactsManager{Fake: newFake(0, 0), cfg: cfg, seen: map[string]bool{}, created: map[string]object{}}
	v.revoked = v.revoke
	v.handle("POST /api/v1/client/validate-key", apiCalls, v.authorized(v.validateKey))
	v.handle("POST /api/v1/server/users/{uid}", apiCalls, v.authorized(v.createUser))
	v.handle("DELETE /api/v1/server/users/{uid}", apiCalls, v.authorized(v.deleteUser))
	return v.Fake, nil
}

func (v *contactsManager) revoke(now time.Time) (n int) {
	for jti, alive := range v.seen {
		if alive {
			n++
		}
		v.seen[jti] = false
	}
	v.since = now.Unix()
	return n
}

func (v *contactsManager) unauthorized(w http.ResponseWriter) {
	v.set(func() { v.stats.Unauthorized++ })
	answer(w, http.StatusUnauthorized, object{"status": "error", "message": "Unauthorized"})
}

func (v *contactsManager) authorized(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !v.valid(bearer(r)) {
			v.unauthorized(w)
			return
		}
		h(w, r)
	}
}

func (v *contactsManager) valid(token string) (ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(), jwt.WithTimeFunc(v.now))
	_, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return []byte(v.cfg.APISecret), nil })
	if err != nil || claims["org_id"] != v.cfg.OrgID || claims["api_key"] != v.cfg.APIKey {
		return false
	}
	user, _ := claims["user_id"].(string)
	jti, _ := claims["jti"].(string)
	iat, err := claims.GetIssuedAt()
	if user == "" || jti == "" || err != nil || iat == nil || iat.Unix() < v.since {
		return false
	}
	if alive, seen := v.seen[jti]; seen && !alive {
		return false
	}
	v.seen[jti] = true
	return true
}

func (v *contactsManager) validateKey(w http.ResponseWriter, r *http.Request) {
	var body struct {
		APIKey string `json:"api_key"`
	}
	if !jsonObject(r, &body) || body.APIKey != v.cfg.APIKey {
		v.unauthorized(w)
		return
	}
	answer(w, http.StatusOK, object{"status": "success", "data": object{"valid": true}})
}

func (v *contactsManager) createUser(w http.ResponseWriter, r *http.Request) {
	var body struct {
		ExpirySeconds int64 `json:"expiry_seconds"`
		UserInfo      struct {
			UserID   string `json:"userId"`
			FullName string `json:"fullName"`
			Email    string `json:"email"`
			Phone    string `json:"phone"`
		} `json:"user_info"`
		DeviceInfo object `json:"device_info"`
	}
	uid := r.PathValue("uid")
	if !jsonObject(r, &body) || body.UserInfo.UserID != uid || body.UserInfo.FullName == "" || body.UserInfo.Email+body.UserInfo.Phone == "" {
		answer(w, http.StatusBadRequest, object{"status": "error", "message": "Invalid user_info"})
		return
	}
	if body.ExpirySeconds <= 0 {
		body.ExpirySeconds = 86400
	}
	var exp int64
	var token string
	var err error
	var user object
	var known bool
	v.set(func() {
		now := v.now().Unix()
		exp = now + body.ExpirySeconds
		token, err = jose.HS256([]byte(v.cfg.APISecret), object{
			"iss": v.cfg.OrgID, "org_id": v.cfg.OrgID, "api_key": v.cfg.APIKey, "user_id": uid,
			"device_info": body.DeviceInfo, "jti": wire.NewUUID(), "iat": now, "exp": exp,
		})
		if user, known = v.created[uid]; !known {
			user = object{"id": wire.NewUUID(), "organization_id": v.cfg.OrgID, "organization_user_id": uid}
			v.created[uid] = user
		}
	})
	if err != nil {
		answer(w, http.StatusInternalServerError, object{"status": "error", "message": "cannot sign"})
		return
	}
	answer(w, http.StatusOK, object{"status": "success", "data": object{
		"token": object{"token": token, "expires_at": exp}, "user": user, "created": !known,
	}})
}

func (v *contactsManager) deleteUser(w http.ResponseWriter, r *http.Request) {
	var user object
	v.set(func() {
		uid := r.PathValue("uid")
		user = v.created[uid]
		delete(v.created, uid)
	})
	if user == nil {
		answer(w, http.StatusNotFound, object{"status": "error", "message": "User not found"})
		return
	}
	answer(w, http.StatusOK, object{"status": "success", "message": "User deleted", "data": object{"deleted_contact_id": user["id"]}})
}
