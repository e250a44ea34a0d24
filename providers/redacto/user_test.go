package redacto_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/redacto"
)

func TestCreateUser(t *testing.T) {
	_, base := fake(t)
	p := build(t, base, one())
	in := redacto.User{OrgUserID: "u", Email: "e@example.com", Metadata: map[string]any{"plan": "pro"}, UUID: "ours is not sent"}
	user, created, err := p.CreateUser(t.Context(), "", in)
	require.NoError(t, err)
	assert.True(t, created)
	assert.NotEqual(t, in.UUID, user.UUID)
	assert.Equal(t, []any{"u", "e@example.com", "UCID", org, ws1}, []any{user.OrgUserID, user.Email, user.OrgUserIDType, user.OrganisationUUID, user.WorkspaceUUID})

	again, created, err := p.CreateUser(t.Context(), org+":"+ws1, in)
	require.NoError(t, err)
	assert.False(t, created)
	assert.Equal(t, user, again)
}

func TestCreateUserRequest(t *testing.T) {
	u := recorder.Serve(t, 201, nil, `{"detail":{"uuid":"x","org_user_id":"u","metadata":null,"name":null}}`)
	_, created, err := build(t, u.URL, one()).CreateUser(t.Context(), "", redacto.User{OrgUserID: "u", Mobile: "+1", Name: "N"})
	require.NoError(t, err)
	assert.True(t, created)
	got, _ := u.Seen()
	assert.Equal(t, "POST", got.Method)
	assert.Equal(t, "/consent/organisations/"+org+"/workspaces/"+ws1+"/consent-ledger/consent-users/", got.Path)
	assert.Equal(t, key, got.Header.Get("X-CMS-API-KEY"))
	assert.JSONEq(t, `{"org_user_id":"u","primary_mobile":"+1","name":"N"}`, got.Body)
}

func TestCreateUserErrors(t *testing.T) {
	var cases []struct {
		Name   string          `json:"name"`
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
		Code   string          `json:"code"`
	}
	recorder.ReadJSON(t, "testdata/users.json", &cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			u := recorder.Serve(t, c.Status, nil, string(c.Body))
			user, created, err := build(t, u.URL, one()).CreateUser(t.Context(), "", redacto.User{OrgUserID: "u"})
			assert.False(t, created)
			if c.Code == "" {
				require.NoError(t, err)
				assert.Equal(t, redacto.User{OrgUserID: "u", UUID: "x"}, user)
				return
			}
			var e *providers.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.Code, string(e.Code))
			assert.Equal(t, c.Status, e.Status)
			assert.Zero(t, user, "nothing of another user is told")
		})
	}
	p := build(t, "", two())
	_, _, err := p.CreateUser(t.Context(), "", redacto.User{OrgUserID: "u"})
	assert.Equal(t, providers.CodeTenantRequired, providers.AsError(err).Code)
	_, _, err = p.CreateUser(t.Context(), org+":"+ws1, redacto.User{})
	assert.Equal(t, providers.CodeIdentityRequired, providers.AsError(err).Code)
}
