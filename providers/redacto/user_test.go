package redacto_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/internal/wire"
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

func TestUpdateUser(t *testing.T) {
	_, base := fake(t)
	p := build(t, base, one())
	_, err := p.UpdateUser(t.Context(), "", redacto.User{OrgUserID: "u/1", Name: "N"})
	assert.Equal(t, providers.CodeRejectedInput, providers.AsError(err).Code, "nobody yet")
	_, _, err = p.CreateUser(t.Context(), "", redacto.User{OrgUserID: "u/1", Email: "e@example.com"})
	require.NoError(t, err)
	user, err := p.UpdateUser(t.Context(), "", redacto.User{OrgUserID: "u/1", Mobile: "+1", Metadata: map[string]any{"plan": "pro"}})
	require.NoError(t, err)
	assert.Equal(t, []any{"u/1", "e@example.com", "+1", map[string]any{"plan": "pro"}}, []any{user.OrgUserID, user.Email, user.Mobile, user.Metadata})
	assert.NotEmpty(t, user.UUID)
}

// The caller's map is the caller's, who may share it between goroutines. What
// the vendor has dropped is not reported as kept.
func TestUpdateUserLeavesTheCallersMetadataAlone(t *testing.T) {
	for answer, want := range map[string]map[string]any{
		`{"detail":{"uuid":"x","metadata":{"added":1}}}`:  {"added": 1.0},
		`{"uuid":"x","metadata":{"mine":{"deep":false}}}`: {"mine": map[string]any{"deep": false}},
		`{"detail":{"uuid":"x","metadata":{}}}`:           {},
		`{"detail":{"uuid":"x"}}`:                         {"mine": map[string]any{"deep": true}},
		`{"detail":{"uuid":"x","metadata":null}}`:         {"mine": map[string]any{"deep": true}},
		``: {"mine": map[string]any{"deep": true}},
	} {
		mine := map[string]any{"mine": map[string]any{"deep": true}}
		u := recorder.Serve(t, 200, nil, answer)
		got, err := build(t, u.URL, one()).UpdateUser(t.Context(), "", redacto.User{OrgUserID: "u", Metadata: mine})
		require.NoError(t, err)
		assert.Equal(t, want, got.Metadata, answer)
		assert.Equal(t, map[string]any{"mine": map[string]any{"deep": true}}, mine, answer)
		got.Metadata["later"] = true
		assert.NotContains(t, mine, "later", "the result is the caller's to change")
	}
}

func TestUserCalls(t *testing.T) {
	u := recorder.Serve(t, 200, nil, "")
	cfg := one()
	users := "/consent/organisations/" + org + "/workspaces/" + ws1
	update := func(in redacto.User) (string, string) {
		t.Helper()
		got, err := build(t, u.URL, cfg).UpdateUser(t.Context(), "", in)
		require.NoError(t, err)
		in.CreatedAt = ""
		assert.Equal(t, in, got, "without an answer, what was sent")
		seen, _ := u.Seen()
		return seen.Method + " " + seen.Path, seen.Body
	}
	where, body := update(redacto.User{OrgUserID: "a b/../%2e?#", Email: "e", CreatedAt: "ours is not sent"})
	assert.Equal(t, "PATCH "+users+"/consent-ledger/consent-users/a%20b%2F..%2F%252e%3F%23/", where)
	assert.JSONEq(t, `{"primary_email":"e"}`, body)
	cfg.UpdateUserCall = "PUT /v2/users/{uuid}"
	where, _ = update(redacto.User{UUID: "x", Name: "N"})
	assert.Equal(t, "PUT "+users+"/v2/users/x", where)

	_, hits := u.Seen()
	for _, bad := range []redacto.User{{}, {OrgUserID: "u"}, {UUID: ".."}, {UUID: "."}} {
		_, err := build(t, u.URL, cfg).UpdateUser(t.Context(), "", bad)
		assert.Equal(t, providers.CodeIdentityRequired, providers.AsError(err).Code)
	}
	_, after := u.Seen()
	assert.Equal(t, hits, after)
	for _, bad := range []string{"PATCH", "GET /x/{uuid}", "PATCH x", "PATCH /", "PATCH /a/../b", "PATCH /{id}", "PATCH /a?b", "PATCH //a"} {
		cfg.UpdateUserCall, cfg.LinkUsersCall = bad, bad
		_, err := redacto.New(cfg)
		require.ErrorContains(t, err, "UpdateUserCall: must", bad)
		require.ErrorContains(t, err, "LinkUsersCall: must", bad)
	}
}

func TestUpdateUserBelievesNoOtherUser(t *testing.T) {
	u := recorder.Serve(t, 200, nil, `{"detail":{"uuid":"x","org_user_id":"another","primary_email":"planted"}}`)
	user, err := build(t, u.URL, one()).UpdateUser(t.Context(), "", redacto.User{OrgUserID: "u"})
	assert.Equal(t, providers.CodeBadResponse, providers.AsError(err).Code)
	assert.Zero(t, user)
}

func TestLinkUsers(t *testing.T) {
	_, base := fake(t)
	p := build(t, base, one())
	for _, name := range []string{"a", "b", "c", "d"} {
		_, _, err := p.CreateUser(t.Context(), "", redacto.User{OrgUserID: name})
		require.NoError(t, err)
	}
	links, err := p.LinkUsers(t.Context(), "", "a", []string{"b", "nobody"})
	require.NoError(t, err)
	assert.Equal(t, redacto.Links{Linked: []string{"b"}, NotFound: []string{"nobody"}}, links)
	links, err = p.LinkUsers(t.Context(), "", "c", []string{"b", "d"})
	require.NoError(t, err)
	assert.Equal(t, redacto.Links{Linked: []string{"d"}, Conflicts: []string{"b"}}, links)
	links, err = p.LinkUsers(t.Context(), "", "c", []string{"d"})
	require.NoError(t, err)
	assert.Equal(t, redacto.Links{AlreadyLinked: []string{"d"}}, links)
	_, err = p.LinkUsers(t.Context(), "", "b", []string{"a"})
	assert.Equal(t, providers.CodeRejectedInput, providers.AsError(err).Code, "a primary may not be an alias")

	for _, bad := range [][]string{{"", "b"}, {"a"}, {"a", ""}, {"a", "b", "a"}} {
		_, err := p.LinkUsers(t.Context(), "", bad[0], bad[1:])
		assert.Equal(t, providers.Permanent, providers.AsError(err).Class)
	}
	u := recorder.Serve(t, 200, nil, `{"linked":[{"org_user_id":"b"}],"already_linked":[{"alias_org_user_id":"c"}],"conflicts":null}`)
	links, err = build(t, u.URL, one()).LinkUsers(t.Context(), "", "a", []string{"b", "c"})
	require.NoError(t, err)
	assert.Equal(t, redacto.Links{Linked: []string{"b"}, AlreadyLinked: []string{"c"}}, links)
	seen, _ := u.Seen()
	assert.JSONEq(t, `{"primary_org_user_id":"a","alias_org_user_ids":["b","c"]}`, seen.Body)
}

// Only the vendor's own words are about the caller's input: a page may come from
// a proxy before it.
func TestRefusalsOfUserManagement(t *testing.T) {
	const structured = `{"detail":"no"}`
	for _, c := range []struct {
		status int
		body   string
		input  bool
	}{
		{404, structured, true}, {409, structured, true}, {403, structured, false}, {500, structured, false},
		{404, "<html>", false}, {409, "<html>", false},
	} {
		u := recorder.Serve(t, c.status, nil, c.body)
		p := build(t, u.URL, one())
		_, err := p.UpdateUser(t.Context(), "", redacto.User{OrgUserID: "u"})
		assert.Equal(t, c.input, providers.AsError(err).Code == providers.CodeRejectedInput, "update: %d %s", c.status, c.body)
		_, err = p.LinkUsers(t.Context(), "", "u", []string{"v"})
		assert.Equal(t, c.input, providers.AsError(err).Code == providers.CodeRejectedInput, "link: %d %s", c.status, c.body)
		if c.status != 409 {
			_, created, err := p.CreateUser(t.Context(), "", redacto.User{OrgUserID: "u"})
			require.Error(t, err)
			assert.False(t, created)
		}
	}
}

func TestTheUserInABody(t *testing.T) {
	users := build(t, "", one()).Users()
	decode := func(body string) (providers.Request, error) {
		o, err := wire.Parse([]byte(body))
		require.NoError(t, err)
		return users.Decode(nil, o)
	}
	req, err := decode(`{"org_user_id":"u","primary_email":"e","primary_mobile":"m","uuid":"i","alias_org_user_id":"a","name":"N","metadata":{"n":1}}`)
	require.NoError(t, err)
	assert.Equal(t, "u", req.Subject)
	assert.Equal(t, map[string]string{"email": "e", "mobile": "m", "uuid": "i", "alias": "a"}, req.Identifiers)
	assert.Equal(t, map[string]any{"name": "N", "metadata": map[string]any{"n": json.Number("1")}}, req.Params)
	req, err = decode(`{"org_user_id":"u","name":""}`)
	require.NoError(t, err)
	assert.Empty(t, req.Params, "an empty name clears none")
	assert.Empty(t, req.Identifiers)
	for _, bad := range []string{
		`{"email":"e","primary_email":"other"}`, `{"mobile":1}`, `{"identifier":"u","org_user_id":"other"}`,
		`{"org_user_id":1}`, `{"primary_email":1}`, `{"primary_mobile":{}}`, `{"uuid":[]}`, `{"alias_org_user_id":true}`, `{"name":1}`,
		`{"metadata":"x"}`, `{"metadata":{"x":"\ud800"}}`,
	} {
		_, err := decode(bad)
		assert.Equal(t, providers.CodeInvalidField, providers.AsError(err).Code, bad)
	}
}
