package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The frontends of the documents' backends send their calls in the shapes that
// Express, FastAPI, Django and Flask read. Each gets a pair, and a new pair for
// its refresh token; the answers have the members that the listings send.
func TestFrontendsOfTheDocumentsBackends(t *testing.T) {
	vars, _, _ := realVars(t)
	_, srv, _ := start(t, vars)
	const query = "?organisation_uuid=" + org + "&workspace_uuid=" + workspace
	const ids = `"organisation_uuid":"` + org + `","workspace_uuid":"` + workspace + `"`
	for name, c := range map[string]struct{ query, body, empty string }{
		"express": {query, `{"email":"express@example.com"}`, `{}`},
		"fastapi": {"", `{"email":null,"org_user_id":"fastapi","mobile":null,` + ids + `}`, `{"email":null,"org_user_id":null,"mobile":null,` + ids + `}`},
		"django":  {query, `{"email":null,"org_user_id":null,"mobile":"+15550100"}`, `{"email":null,"org_user_id":null,"mobile":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			status, header, pair := call(t, srv, "POST", "/api/consent/token"+c.query, "", c.body)
			require.Equal(t, 200, status, "%v", pair)
			assert.Equal(t, "application/json", header.Get("Content-Type"))
			assert.Equal(t, "no-store", header.Get("Cache-Control"))
			refresh, err := json.Marshal(pair["refresh_token"])
			require.NoError(t, err)
			status, _, next := call(t, srv, "POST", "/api/consent/refresh-token", "", `{"refresh_token":`+string(refresh)+`,`+ids+`}`)
			require.Equal(t, 200, status, "%v", next)
			for _, member := range []string{"token", "refresh_token"} {
				assert.NotEmpty(t, next[member])
				assert.NotEqual(t, pair[member], next[member], "old tokens are invalidated")
			}
			assert.NotEmpty(t, next["expires_at"])
			status, _, v := call(t, srv, "POST", "/api/consent/token"+c.query, "", c.empty)
			assert.Equal(t, 400, status)
			const text = "At least one user identifier required"
			assert.Equal(t, text, v["error"], "as Express and Django say it")
			assert.Equal(t, text, v["detail"], "as FastAPI says it")
			status, header, v = call(t, srv, "GET", "/api/consent/token"+c.query, "", "")
			assert.Equal(t, 405, status)
			assert.Equal(t, "Method not allowed", v["error"], "as Django says it")
			assert.Equal(t, "POST", header.Get("Allow"))
		})
	}
	t.Run("flask", func(t *testing.T) {
		status, _, v := call(t, srv, "POST", "/generate-token", "", `{"userId":"user-123","deviceInfo":{"device_name":"iPhone 15","os_version":"iOS 17.5"}}`)
		require.Equal(t, 200, status)
		assert.Equal(t, "Token generated for user user-123", v["message"])
		assert.Equal(t, true, v["success"])
		assert.IsType(t, float64(0), v["expiresAt"])
		assert.Equal(t, "user-123", part(t, v["token"].(string), 1)["user_id"])
		status, _, v = call(t, srv, "POST", "/generate-token", "", `{}`)
		assert.Equal(t, 400, status)
		assert.Equal(t, "Error: Missing required field: userId", v["message"])
		assert.Equal(t, false, v["success"])
		status, _, v = call(t, srv, "GET", "/generate-token", "", "")
		assert.Equal(t, 405, status)
		assert.Equal(t, "Method not allowed", v["message"])
		assert.Equal(t, false, v["success"])
	})
}
