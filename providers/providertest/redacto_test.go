package providertest_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

const (
	orgA = "0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a01"
	wsA  = "7d3c1f2e-8a94-4b02-8a55-3f0f6f0a9b01"
	wsB  = "7d3c1f2e-8a94-4b02-8a55-3f0f6f0a9b02"
)

func newRedacto(t *testing.T) *providertest.Fake {
	t.Helper()
	f, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{orgA + ":" + wsA: "cms-a", orgA + ":" + wsB: "cms-b"}})
	require.NoError(t, err)
	return f
}

func tokensPath(ws, op string) string {
	return "/consent/public/organisations/" + orgA + "/workspaces/" + ws + "/tokens/" + op
}

type pair struct{ access, refresh string }

func redactoPair(t *testing.T, r reply) pair {
	t.Helper()
	require.Equal(t, 200, r.status, r.body)
	d := r.json(t)["detail"].(map[string]any)
	_, err := time.Parse(time.RFC3339, d["expires_at"].(string))
	require.NoError(t, err)
	return pair{d["token"].(string), d["refresh_token"].(string)}
}

func generateRedacto(t *testing.T, f *providertest.Fake, body string) pair {
	t.Helper()
	return redactoPair(t, ask(f, "POST", tokensPath(wsA, "generate"), body, "X-CMS-API-KEY", "cms-a"))
}

func refreshRedacto(f *providertest.Fake, ws, key, token string) reply {
	return ask(f, "POST", tokensPath(ws, "refresh"), fmt.Sprintf(`{"refresh_token":%q}`, token), "X-CMS-API-KEY", key)
}

func apiStatus(f *providertest.Fake, token string) int {
	return ask(f, "GET", "/consent/notices/1", "", "Authorization", "Bearer "+token).status
}

func TestRedactoKillsEarlierPairs(t *testing.T) {
	f := newRedacto(t)
	first := generateRedacto(t, f, `{"org_user_id":"u1","email":"e1"}`)
	other := generateRedacto(t, f, `{"org_user_id":"u2"}`)
	assert.Equal(t, 200, apiStatus(f, first.access))

	second := generateRedacto(t, f, `{"email":"e1","mobile":null}`)
	assert.Equal(t, 401, apiStatus(f, first.access), "an identifier in common ends the earlier pair")
	assert.Equal(t, 400, refreshRedacto(f, wsA, "cms-a", first.refresh).status, "its refresh token too")
	assert.Equal(t, 200, apiStatus(f, second.access))
	assert.Equal(t, 200, apiStatus(f, other.access), "another user's pair lives")

	third := redactoPair(t, refreshRedacto(f, wsA, "cms-a", second.refresh))
	assert.Equal(t, 401, apiStatus(f, second.access), "a refresh ends the old pair")
	assert.Equal(t, 400, refreshRedacto(f, wsA, "cms-a", second.refresh).status, "a refresh token works once")
	assert.Equal(t, 200, apiStatus(f, third.access))

	fourth := generateRedacto(t, f, `{"email":"e1"}`)
	assert.Equal(t, 401, apiStatus(f, third.access), "a refreshed pair keeps its user")
	s := f.Stats()
	assert.Equal(t, []int{4, 3, 3, 5}, []int{s.Generates, s.Refreshes, s.Killed, s.Issued})

	assert.Equal(t, 2, f.RevokeAll())
	assert.Equal(t, 401, apiStatus(f, fourth.access))
	assert.Equal(t, 401, apiStatus(f, other.access))
}

func TestRedactoRefusals(t *testing.T) {
	f := newRedacto(t)
	p := generateRedacto(t, f, `{"org_user_id":"u"}`)
	generate := func(ws, key, body string) reply {
		return ask(f, "POST", tokensPath(ws, "generate"), body, "X-CMS-API-KEY", key)
	}
	assert.Equal(t, 401, generate(wsA, "cms-b", `{"email":"e"}`).status, "another workspace's key")
	assert.Equal(t, 404, generate("unknown", "cms-a", `{"email":"e"}`).status)
	assert.Equal(t, 400, generate(wsA, "cms-a", `{"email":null}`).status)
	assert.Equal(t, 422, generate(wsA, "cms-a", `{"email":"e","expires_in_days":0}`).status)
	assert.Equal(t, 422, generate(wsA, "cms-a", `{"email":1}`).status)
	assert.Equal(t, 400, refreshRedacto(f, wsB, "cms-b", p.refresh).status, "another workspace's refresh token")
	assert.Equal(t, 200, refreshRedacto(f, wsA, "cms-a", p.refresh).status, "which that did not spend")
	assert.Equal(t, 6, f.Stats().Refused)
}

func TestRedactoBothPrefixes(t *testing.T) {
	f := newRedacto(t)
	path := strings.Replace(tokensPath(wsA, "generate"), "/public", "", 1)
	redactoPair(t, ask(f, "POST", path, `{"email":"e"}`, "X-CMS-API-KEY", "cms-a"))

	f, err := providertest.NewRedacto(providertest.RedactoConfig{
		Keys: map[string]string{orgA + ":" + wsA: "cms-a"}, Prefixes: []string{"/v9"}, DeadStatus: 410,
	})
	require.NoError(t, err)
	path = strings.Replace(tokensPath(wsA, "refresh"), "/consent/public", "/v9", 1)
	assert.Equal(t, 410, ask(f, "POST", path, `{"refresh_token":"none"}`, "X-CMS-API-KEY", "cms-a").status)
}

func TestRedactoLifetimes(t *testing.T) {
	f := newRedacto(t)
	synctest.Test(t, func(t *testing.T) {
		p := generateRedacto(t, f, `{"email":"e","expires_in_days":2}`)
		time.Sleep(time.Hour)
		assert.Equal(t, 401, apiStatus(f, p.access))
		time.Sleep(46 * time.Hour)
		p = redactoPair(t, refreshRedacto(f, wsA, "cms-a", p.refresh))
		time.Sleep(25 * time.Hour)
		assert.Equal(t, 400, refreshRedacto(f, wsA, "cms-a", p.refresh).status)
	})
}

func TestRedactoAPIEchoes(t *testing.T) {
	f := newRedacto(t)
	p := generateRedacto(t, f, `{"org_user_id":"u"}`)
	got := ask(f, "PUT", "/consent/x?y=1", "hello", "Authorization", "Bearer "+p.access, "X-Extra", "1").json(t)
	assert.Equal(t, "u", got["org_user_id"])
	assert.Equal(t, wsA, got["workspace_uuid"])
	assert.Equal(t, "y=1", got["query"])
	assert.InEpsilon(t, 5, got["body_bytes"], 0)
	assert.Equal(t, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", got["body_sha256"])
	headers := got["headers"].(map[string]any)
	assert.Equal(t, []any{"1"}, headers["X-Extra"])
	assert.NotContains(t, headers, "Authorization")
}

func TestRedactoConsentUsers(t *testing.T) {
	f := newRedacto(t)
	path := "/consent/organisations/" + orgA + "/workspaces/" + wsA + "/consent-ledger/consent-users/"
	assert.Equal(t, 401, ask(f, "POST", path, `{"org_user_id":"u"}`).status)
	assert.Equal(t, 422, ask(f, "POST", path, `{}`, "X-CMS-API-KEY", "cms-a").status)

	made := ask(f, "POST", path, `{"org_user_id":"u","primary_email":"e","metadata":{"k":1}}`, "X-CMS-API-KEY", "cms-a")
	require.Equal(t, 201, made.status)
	user := made.json(t)["detail"].(map[string]any)
	assert.Equal(t, "UCID", user["org_user_id_type"])
	assert.Equal(t, "e", user["primary_email"])

	p := generateRedacto(t, f, `{"org_user_id":"u"}`)
	again := ask(f, "POST", path, `{"org_user_id":"u"}`, "Authorization", "Bearer "+p.access)
	require.Equal(t, 409, again.status)
	conflict := again.json(t)["detail"].(map[string]any)
	assert.Equal(t, "ORG_USER_ID_EXISTS", conflict["conflict_type"])
	assert.Equal(t, user["uuid"], conflict["existing_user"].(map[string]any)["uuid"])
}

func TestRedactoForgetsWhatHasEnded(t *testing.T) {
	f := newRedacto(t)
	synctest.Test(t, func(t *testing.T) {
		f.SetLifetimes(time.Second, time.Second)
		for i := range 1500 {
			generateRedacto(t, f, fmt.Sprintf(`{"email":"e%d"}`, i))
		}
		time.Sleep(2 * time.Second)
		assert.Zero(t, f.RevokeAll())
	})
}

func TestFakesWantTheirConfig(t *testing.T) {
	_, err := providertest.NewRedacto(providertest.RedactoConfig{})
	require.Error(t, err)
	_, err = providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{"no-workspace": "k"}})
	require.Error(t, err)
	_, err = providertest.NewKudo(providertest.KudoConfig{})
	require.Error(t, err)
	_, err = providertest.NewContactsManager(providertest.ContactsManagerConfig{OrgID: "o"})
	require.Error(t, err)
	_, err = providertest.NewRedox(providertest.RedoxConfig{ClientID: "c"})
	require.Error(t, err)
	_, err = providertest.NewRedox(providertest.RedoxConfig{ClientID: "c", JWKS: []byte(`{"keys":[]}`)})
	require.Error(t, err)
}
