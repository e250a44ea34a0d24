package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/providertest"
)

const (
	secondOrg       = "aaaaaaaa-2222-4333-8444-555555555555"
	secondWorkspace = "bbbbbbbb-7777-4888-8999-aaaaaaaaaaaa"
)

// twoTenants is realVars with a second tenant at Redacto.
func twoTenants(t *testing.T) (map[string]string, func(sub string, more map[string]any) string) {
	t.Helper()
	vars, issuer, _ := realVars(t)
	vendor, err := providertest.NewRedacto(providertest.RedactoConfig{
		Keys: map[string]string{org + ":" + workspace: planted + "cms", secondOrg + ":" + secondWorkspace: planted + "cms"}, Prefixes: []string{"/consent"},
	})
	require.NoError(t, err)
	vars["REDACTO_BASE_URL"] = serveHandler(t, vendor)
	vars["REDACTO_TENANTS"] += "," + secondOrg + ":" + secondWorkspace
	return vars, func(sub string, more map[string]any) string {
		claims := map[string]any{"sub": sub}
		for k, v := range more {
			claims[k] = v
		}
		token, err := issuer.Token(claims)
		require.NoError(t, err)
		return token
	}
}

func pathIn(o, w, rest string) string {
	return "/consent/organisations/" + o + "/workspaces/" + w + "/" + rest
}

// What a page shows that has only the pair opens the proxy of its vendor and
// tenant, and no other route: neither one of the application nor one by which
// users are changed.
func TestAPagesTokenOpensItsVendorAlone(t *testing.T) {
	vars, bearer := twoTenants(t)
	_, srv, _ := start(t, vars)
	query := "?organisation_uuid=" + org + "&workspace_uuid=" + workspace
	status, _, v := call(t, srv, "POST", "/api/consent/token"+query, "", `{"org_user_id":"ada"}`)
	require.Equal(t, 200, status)
	token, refresh := v["token"].(string), v["refresh_token"].(string)
	for _, c := range []struct {
		method, path, bearer, body string
		status                     int
	}{
		{"GET", pathIn(org, workspace, "purposes"), token, "", 200},
		{"GET", "/consent/notices", token, "", 200}, // in the grant's own tenant
		{"GET", pathIn(secondOrg, secondWorkspace, "purposes"), token, "", 403},
		{"GET", "/consent/notices?organisation_uuid=" + secondOrg + "&workspace_uuid=" + secondWorkspace, token, "", 403},
		{"GET", pathIn(org, workspace, "purposes") + "?organisation_uuid=" + secondOrg, token, "", 400},
		{"GET", pathIn(org, workspace, "purposes"), refresh, "", 401},
		{"GET", pathIn(org, workspace, "purposes"), token + "x", "", 401},
		{"GET", pathIn(org, workspace, "purposes"), token[:len(token)-1], "", 401},
		{"GET", pathIn(org, workspace, "purposes"), "", "", 401},
		{"POST", "/api/consent/create-user" + query, token, `{}`, 401},
		{"POST", "/api/consent/update-user" + query, token, `{}`, 401},
		{"POST", "/api/consent/link-users" + query, token, `{}`, 401},
		{"POST", pathIn(org, workspace, "consent-ledger/consent-users/"), token, `{"org_user_id":"bob"}`, 404},
		{"PATCH", pathIn(org, workspace, "consent-ledger/consent-users/bob/"), token, `{"name":"x"}`, 404},
		{"POST", pathIn(org, workspace, "Consent-Users;x/link-users"), token, `{}`, 404},
		{"POST", pathIn(org, workspace, "tokens/generate"), token, `{"org_user_id":"bob"}`, 404},
		{"POST", pathIn(org, workspace, "consent-ledger/consent-users/"), bearer("ada", nil), `{"org_user_id":"bob"}`, 404},
		{"GET", "/protected", token, "", 401},
		{"GET", "/fhir/R4/Patient", token, "", 401},
		{"POST", "/endpoint", token, `{}`, 401},
		{"POST", "/generate-token", token, `{"userId":"ada"}`, 401},
		{"GET", "/forward-auth", token, "", 404},
	} {
		got, _, v := call(t, srv, c.method, c.path, c.bearer, c.body)
		assert.Equal(t, c.status, got, "%s %s: %v", c.method, c.path, v)
	}
	r, _ := http.NewRequest("GET", srv.URL+"/consent/notices", nil)
	r.Header["Authorization"] = []string{"Bearer " + token, "Bearer " + token}
	got, _, _ := do(t, srv, r)
	assert.Equal(t, 400, got, "two credentials")
}

// Another's email, and another tenant: what the body says of persons never
// reaches the vendor unless it is verified, and the tenant is the one named.
func TestUserManagementAsAnAttacker(t *testing.T) {
	vars, bearer := twoTenants(t)
	_, srv, _ := start(t, vars)
	ada := bearer("ada", map[string]any{"email": "ada@example.com", "email_verified": true})
	unverified := bearer("eve", map[string]any{"email": "ada@example.com", "email_verified": false})
	first, second := `"organisation_uuid":"`+org+`","workspace_uuid":"`+workspace+`"`, `"organisation_uuid":"`+secondOrg+`","workspace_uuid":"`+secondWorkspace+`"`
	for _, c := range []struct {
		name, bearer, body string
		status             int
		email              any
	}{
		{"another's email", ada, `{` + first + `,"primary_email":"bob@example.com"}`, 403, nil},
		{"another's id", ada, `{` + first + `,"org_user_id":"bob"}`, 403, nil},
		{"another's mobile", ada, `{` + first + `,"primary_mobile":"+15550100"}`, 403, nil},
		{"an email that nobody verified", unverified, `{` + first + `,"primary_email":"ada@example.com"}`, 403, nil},
		{"no email said", unverified, `{` + first + `}`, 201, nil},
		{"the verified one", ada, `{` + second + `,"primary_email":"ada@example.com","name":"Ada"}`, 201, "ada@example.com"},
		{"from the claims alone", ada, `{` + first + `}`, 201, "ada@example.com"},
		{"no tenant of two", ada, `{}`, 400, nil},
		{"nobody's tenant", ada, `{"organisation_uuid":"` + org + `","workspace_uuid":"` + secondWorkspace + `"}`, 403, nil},
		{"no caller", "", `{` + first + `}`, 401, nil},
	} {
		status, _, v := call(t, srv, "POST", "/api/consent/create-user", c.bearer, c.body)
		assert.Equal(t, c.status, status, "%s: %v", c.name, v)
		if c.status == 201 {
			detail := v["detail"].(map[string]any)
			email := detail["primary_email"]
			if email == "" {
				email = nil
			}
			assert.Equal(t, c.email, email, c.name)
			if strings.Contains(c.body, secondOrg) {
				assert.Equal(t, secondWorkspace, detail["workspace_uuid"], "the tenant of the request")
			}
		}
	}
	status, _, v := call(t, srv, "GET", pathIn(secondOrg, secondWorkspace, "purposes"), ada, "")
	assert.Equal(t, 200, status, "%v", v)
	status, _, _ = call(t, srv, "GET", "/consent/notices", ada, "")
	assert.Equal(t, 400, status, "no tenant of two")
}

// Once a vendor is real, an anonymous caller names nobody, unless the variable
// that is named like the danger says so.
func TestWhoMayNameAnybody(t *testing.T) {
	vars, issuer, _ := realVars(t)
	delete(vars, "CM_ANYONE")
	delete(vars, "KUDO_ANYONE")
	vars["REDACTO_ANYONE"], vars["KUDO_EDITOR_URL"] = "0", "https://editor.example.com/"
	ada, err := issuer.Token(map[string]any{"sub": "ada"})
	require.NoError(t, err)
	g, srv, _ := start(t, vars)
	assert.False(t, g.open)
	for _, c := range []struct {
		path, bearer, body string
		status             int
	}{
		{"/generate-token", "", `{"userId":"ada"}`, 401},
		{"/generate-token", ada, `{"userId":"bob"}`, 403},
		{"/generate-token", ada, `{"userId":"ada"}`, 200},
		{"/kudo/generate", "", `{"file":"a","userId":"ada"}`, 401},
		{"/kudo/generate", ada, `{"file":"a","userId":"bob"}`, 403},
		{"/kudo/generate", ada, `{"file":"a"}`, 200},
		{"/kudo/open", "", `{"file":"a"}`, 401},
		{"/api/consent/token", "", `{"org_user_id":"ada"}`, 401},
		{"/api/consent/token", ada, `{"org_user_id":"bob"}`, 403},
		{"/api/consent/token", ada, `{}`, 200},
	} {
		status, _, v := call(t, srv, "POST", c.path, c.bearer, c.body)
		assert.Equal(t, c.status, status, "%s %s: %v", c.path, c.body, v)
	}
	delete(vars, "REDACTO_ANYONE")
	g, srv, _ = start(t, vars)
	assert.True(t, g.open, "Redacto's document lets anyone name anybody")
	for path, want := range map[string]int{"/api/consent/token": 200, "/generate-token": 401, "/kudo/generate": 401} {
		status, _, v := call(t, srv, "POST", path, "", `{"identifier":"anonymous-7","userId":"ada","file":"a"}`)
		assert.Equal(t, want, status, "%s: %v", path, v)
	}
}

// A page of another site cannot have sessions created at Kudo.
func TestKudoOpenIsForOwnPages(t *testing.T) {
	vars, _, vendors := realVars(t)
	vars["KUDO_EDITOR_URL"] = "https://editor.example.com/"
	_, srv, _ := start(t, vars)
	client := *srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, c := range []struct {
		method string
		header map[string]string
		status int
	}{
		{"GET", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}, 303},
		{"POST", map[string]string{"Sec-Fetch-Site": "same-origin"}, 303},
		{"GET", nil, 403},
		{"GET", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403},
		{"GET", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"POST", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"POST", map[string]string{"Origin": "https://evil.example"}, 403},
	} {
		before := vendors["kudo"].Stats().Generates
		path, body := "/kudo/open", "file=a.dwg&userId=ada"
		if c.method == "GET" {
			path, body = path+"?"+body, ""
		}
		r, _ := http.NewRequest(c.method, srv.URL+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		res, err := client.Do(r)
		require.NoError(t, err)
		_ = res.Body.Close()
		assert.Equal(t, c.status, res.StatusCode, "%+v", c)
		if c.status != 303 {
			assert.Equal(t, before, vendors["kudo"].Stats().Generates, "a session was created")
			continue
		}
		assert.True(t, strings.HasPrefix(res.Header.Get("Location"), "https://editor.example.com/editor?apitoken="), res.Header.Get("Location"))
		assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		assert.Equal(t, "no-referrer", res.Header.Get("Referrer-Policy"))
	}
}

// Validate, renew once, carry on: a token whose only fault is its age.
func TestAnExpiredTokenIsRenewedAndTheCallGoesOn(t *testing.T) {
	vars, issuer, _ := realVars(t)
	delete(vars, "CM_ANYONE")
	ada, err := issuer.Token(map[string]any{"sub": "ada"})
	require.NoError(t, err)
	_, srv, _ := start(t, vars)
	sign := func(secret string, expired time.Duration) string {
		s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"iss": "org-1", "org_id": "org-1", "api_key": "cm-key", "user_id": "ada", "jti": "j", "iat": time.Now().Add(-expired - time.Hour).Unix(), "exp": time.Now().Add(-expired).Unix(),
		}).SignedString([]byte(secret))
		require.NoError(t, err)
		return s
	}
	_, _, v := call(t, srv, "POST", "/generate-token", ada, `{"userId":"ada"}`)
	for _, c := range []struct {
		name, token string
		status      int
		renewed     bool
	}{
		{"fresh", v["token"].(string), 200, false},
		{"expired", sign(vars["CM_API_SECRET"], time.Hour), 200, true},
		{"expired for too long", sign(vars["CM_API_SECRET"], 8*24*time.Hour), 401, false},
		{"expired and forged", sign("another secret of thirty-two bytes", time.Hour), 401, false},
		{"another issuer's", ada, 401, false},
	} {
		status, header, body := call(t, srv, "GET", "/contactsmanager/session", c.token, "")
		assert.Equal(t, c.status, status, "%s: %v", c.name, body)
		next := header.Get(renewedHeader)
		assert.Equal(t, c.renewed, next != "", c.name)
		if c.status == 200 {
			assert.Equal(t, "ada", body["user_id"])
		}
		if next != "" {
			status, header, _ = call(t, srv, "GET", "/contactsmanager/session", next, "")
			assert.Equal(t, 200, status)
			assert.Empty(t, header.Get(renewedHeader))
		}
	}
	vars["CM_ANYONE"] = "1"
	_, srv, _ = start(t, vars)
	status, _, _ := call(t, srv, "GET", "/contactsmanager/session", v["token"].(string), "")
	assert.Equal(t, 404, status, "a token that anyone may ask for proves nothing")
}

// A sign-out ends what pages show.
func TestASignOutEndsThePagesToken(t *testing.T) {
	vars, _, _ := realVars(t)
	g, srv, _ := start(t, vars)
	_, _, v := call(t, srv, "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
	token := v["token"].(string)
	status, _, _ := call(t, srv, "GET", "/consent/notices", token, "")
	require.Equal(t, 200, status)
	require.NoError(t, redactoCache(g).Purge(t.Context(), providers.Request{Tenant: org + ":" + workspace, Subject: "ada"}))
	status, _, _ = call(t, srv, "GET", "/consent/notices", token, "")
	assert.Equal(t, 401, status)
}

// What one gateway hands out is known to the other behind the same Redis.
func TestAPagesTokenIsKnownToTheOtherGateway(t *testing.T) {
	vars, _, vendors := realVars(t)
	vars["REDIS_URL"], vars["STORE_KEYS"], vars["STORE_TIMEOUT"] = startRedis(t), storeKeys, "20s"
	_, one, _ := start(t, vars)
	_, two, _ := start(t, vars)
	_, _, v := call(t, one, "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
	token, _ := v["token"].(string)
	status, _, v := call(t, two, "GET", "/consent/notices", token, "")
	assert.Equal(t, 200, status, "%v", v)
	assert.Equal(t, "ada", v["org_user_id"])
	assert.Equal(t, 1, vendors["redacto"].Stats().Generates, "nothing is asked upstream about it")
	status, _, _ = call(t, two, "GET", "/consent/notices", token+"x", "")
	assert.Equal(t, 401, status)
}
