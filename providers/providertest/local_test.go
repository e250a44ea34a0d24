package providertest_test

import (
	"crypto/rand"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jose"
	"github.com/bearerkit/bearerkit/providers/providertest"
)

func TestKudoRules(t *testing.T) {
	f := newKudo(t)
	for _, got := range []reply{
		ask(f, "POST", "/generate", `{"file":"a"}`, "X-Api-Key", "other"),
		ask(f, "POST", "/generate", `{"file":"a"}`),
		ask(f, "GET", "/verify", ""),
		ask(f, "GET", "/verify", "", "X-Api-Token", "bbf18f21-3d0d-4a4c-b650-9c14d4075ce0"),
	} {
		assert.Equal(t, 403, got.status)
		assert.Equal(t, "{ Wrong token }", got.body)
	}
	assert.Equal(t, 400, ask(f, "POST", "/generate", `[]`, "X-Api-Key", "k").status)
	one := generateKudo(f).json(t)["token"].(string)
	two := generateKudo(f).json(t)["token"].(string)
	for _, token := range []string{one, two} {
		got := ask(f, "GET", "/verify", "", "X-Api-Token", token)
		assert.Equal(t, 200, got.status)
		assert.JSONEq(t, `{"file":"a.dwg"}`, got.body)
	}
	assert.Equal(t, 2, f.RevokeAll())
	assert.Equal(t, 403, ask(f, "GET", "/verify", "", "X-Api-Token", one).status)
}

func contactsClaims(change func(map[string]any)) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{"iss": "org", "org_id": "org", "api_key": "key", "user_id": "u", "jti": rand.Text(), "iat": now, "exp": now + 60}
	if change != nil {
		change(c)
	}
	return c
}

func contactsToken(t *testing.T, change func(map[string]any)) string {
	t.Helper()
	s, err := jose.HS256([]byte("secret"), contactsClaims(change))
	require.NoError(t, err)
	return s
}

func newContacts(t *testing.T) *providertest.Fake {
	t.Helper()
	f, err := providertest.NewContactsManager(providertest.ContactsManagerConfig{OrgID: "org", APIKey: "key", APISecret: "secret"})
	require.NoError(t, err)
	return f
}

func validateKey(f *providertest.Fake, token string) int {
	return ask(f, "POST", "/api/v1/client/validate-key", `{"api_key":"key"}`, "Authorization", "Bearer "+token).status
}

func TestContactsManagerVerifies(t *testing.T) {
	f := newContacts(t)
	good := contactsToken(t, nil)
	assert.Equal(t, 200, validateKey(f, good))
	assert.Equal(t, 401, ask(f, "POST", "/api/v1/client/validate-key", `{"api_key":"other"}`, "Authorization", "Bearer "+good).status)
	for name, change := range map[string]func(map[string]any){
		"expired":       func(c map[string]any) { c["exp"] = time.Now().Unix() - 1 },
		"no exp":        func(c map[string]any) { delete(c, "exp") },
		"other org":     func(c map[string]any) { c["org_id"] = "x" },
		"other key":     func(c map[string]any) { c["api_key"] = "x" },
		"no user":       func(c map[string]any) { delete(c, "user_id") },
		"user a number": func(c map[string]any) { c["user_id"] = 1 },
		"no jti":        func(c map[string]any) { delete(c, "jti") },
		"no iat":        func(c map[string]any) { delete(c, "iat") },
	} {
		assert.Equal(t, 401, validateKey(f, contactsToken(t, change)), name)
	}
	forged, err := jose.HS256([]byte("other"), contactsClaims(nil))
	require.NoError(t, err)
	assert.Equal(t, 401, validateKey(f, forged))
	assert.Equal(t, 401, validateKey(f, ""))
	assert.Equal(t, 11, f.Stats().Unauthorized)
}

func TestContactsManagerRevokes(t *testing.T) {
	f := newContacts(t)
	synctest.Test(t, func(t *testing.T) {
		shown, unseen := contactsToken(t, nil), contactsToken(t, nil)
		assert.Equal(t, 200, validateKey(f, shown))
		time.Sleep(time.Second)
		assert.Equal(t, 1, f.RevokeAll())
		assert.Equal(t, 401, validateKey(f, shown))
		assert.Equal(t, 401, validateKey(f, unseen), "signed in an earlier second")
		assert.Equal(t, 200, validateKey(f, contactsToken(t, nil)), "signed anew")
	})
}

func TestContactsManagerUsers(t *testing.T) {
	f := newContacts(t)
	auth := "Bearer " + contactsToken(t, nil)
	post := func(body string) reply {
		return ask(f, "POST", "/api/v1/server/users/u%2F1", body, "Authorization", auth)
	}
	assert.Equal(t, 400, post(`{"user_info":{"userId":"u/1","fullName":"N"}}`).status, "neither email nor phone")
	assert.Equal(t, 400, post(`{"user_info":{"userId":"u2","fullName":"N","email":"e"}}`).status, "another user")
	body := `{"expiry_seconds":60,"user_info":{"userId":"u/1","fullName":"N","email":"e"}}`
	first := post(body)
	require.Equal(t, 200, first.status, first.body)
	data := first.json(t)["data"].(map[string]any)
	assert.Equal(t, true, data["created"])
	assert.Equal(t, 200, validateKey(f, data["token"].(map[string]any)["token"].(string)), "the token it signs is one of its own")
	assert.Equal(t, false, post(body).json(t)["data"].(map[string]any)["created"])

	remove := func() reply { return ask(f, "DELETE", "/api/v1/server/users/u%2F1", "", "Authorization", auth) }
	assert.Equal(t, 200, remove().status)
	assert.Equal(t, 404, remove().status)
	assert.Equal(t, 401, ask(f, "DELETE", "/api/v1/server/users/u", "").status)
}
