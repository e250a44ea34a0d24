package redacto_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// members are those of a body that package handlers has read.
func members(t testing.TB, body []byte) map[string]json.RawMessage {
	t.Helper()
	if len(body) == 0 {
		return nil
	}
	o, err := wire.Parse(body)
	require.NoError(t, err)
	return o
}

// The calls of the three documented frontends, from the browser's body to the
// vendor and back.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.json")
	require.NoError(t, err)
	require.Len(t, files, 7)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var g recorder.Golden
			recorder.ReadJSON(t, file, &g)
			u := recorder.Serve(t, 200, http.Header{"Date": nil}, string(g.Upstream.Answer))
			cfg := one()
			now := at("2024-01-15T10:30:00Z")
			cfg.Now = func() time.Time { return now }
			p := build(t, u.URL, cfg)

			target, err := url.Parse(g.Request.Target)
			require.NoError(t, err)
			req, err := p.Decode(target.Query(), members(t, g.Request.Body))
			require.NoError(t, err)
			var token providers.Token
			if strings.HasSuffix(g.Upstream.Path, "/refresh") {
				var body struct {
					RefreshToken string `json:"refresh_token"`
				}
				require.NoError(t, json.Unmarshal(g.Request.Body, &body))
				token, err = p.Refresh(t.Context(), req, body.RefreshToken)
			} else {
				token, err = p.Generate(t.Context(), req)
			}
			require.NoError(t, err)

			got, hits := u.Seen()
			assert.Equal(t, 1, hits)
			assert.Equal(t, g.Upstream.Method, got.Method)
			assert.Equal(t, g.Upstream.Path, got.Path)
			assert.JSONEq(t, string(g.Upstream.Body), got.Body)
			for name, want := range g.Upstream.Headers {
				assert.Equal(t, want, got.Header.Get(name), name)
			}
			answer, err := json.Marshal(p.Encode(req, token))
			require.NoError(t, err)
			assert.JSONEq(t, string(g.Response), string(answer))
		})
	}
}

func TestEncodeWithoutExpiry(t *testing.T) {
	p := build(t, "", one())
	b, err := json.Marshal(p.Encode(providers.Request{}, providers.Token{AccessToken: "a", TokenType: "Bearer"}))
	require.NoError(t, err)
	assert.JSONEq(t, `{"token":"a","token_type":"Bearer"}`, string(b))
	b, err = json.Marshal(p.Encode(providers.Request{}, providers.Token{AccessToken: "a", TokenType: "Bearer", Expiry: time.Now().Add(-time.Hour)}))
	require.NoError(t, err)
	assert.Contains(t, string(b), `"expires_in":0`)
}

func TestDecode(t *testing.T) {
	q := func(o, w string) url.Values { return url.Values{"organisation_uuid": {o}, "workspace_uuid": {w}} }
	body := func(o, w string) string { return `{"organisation_uuid":"` + o + `","workspace_uuid":"` + w + `"}` }
	first, second := org+":"+ws1, org+":"+ws2
	for name, c := range map[string]struct {
		single bool // one tenant is configured
		query  url.Values
		body   string
		tenant string
		code   providers.Code
	}{
		"query":                       {query: q(org, ws1), tenant: first},
		"body":                        {body: body(org, ws2), tenant: second},
		"both, equal":                 {query: q(org, ws1), body: body(org, ws1), tenant: first},
		"other capitals":              {query: q(strings.ToUpper(org), strings.ToLower(ws2)), body: body(org, ws2), tenant: second},
		"one in each place":           {query: url.Values{"organisation_uuid": {org}}, body: `{"workspace_uuid":"` + ws1 + `"}`, tenant: first},
		"null in the body":            {query: q(org, ws1), body: `{"organisation_uuid":null,"workspace_uuid":""}`, tenant: first},
		"absent, one tenant":          {single: true, tenant: first},
		"half, one tenant":            {single: true, query: url.Values{"workspace_uuid": {ws1}}, tenant: first},
		"wrong half, one tenant":      {single: true, query: url.Values{"workspace_uuid": {ws2}}, code: providers.CodeTenantNotAllowed},
		"absent":                      {code: providers.CodeTenantRequired},
		"empty in the query":          {query: q("", ""), code: providers.CodeTenantRequired},
		"half":                        {query: url.Values{"organisation_uuid": {org}}, code: providers.CodeTenantRequired},
		"body disagrees":              {query: q(org, ws1), body: body(org, ws2), code: providers.CodeTenantConflict},
		"repeated":                    {query: url.Values{"organisation_uuid": {org, org}, "workspace_uuid": {ws1}}, code: providers.CodeTenantConflict},
		"not served":                  {query: q(ws1, org), code: providers.CodeTenantNotAllowed},
		"another's organisation":      {query: q("0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a02", ws1), code: providers.CodeTenantNotAllowed},
		"a number":                    {body: `{"organisation_uuid":7}`, code: providers.CodeInvalidField},
		"undefined":                   {query: q("undefined", ws1), code: providers.CodeTenantInvalid},
		"undefined, one tenant":       {single: true, query: q("undefined", "undefined"), code: providers.CodeTenantInvalid},
		"path traversal":              {query: q("../../../admin/api-keys?x=", ws1), code: providers.CodeTenantInvalid},
		"escaped traversal":           {query: q("%2e%2e%2f", ws1), code: providers.CodeTenantInvalid},
		"a fragment":                  {query: q(org+"#", ws1), code: providers.CodeTenantInvalid},
		"a NUL":                       {query: q(org[:35]+"\x00", ws1), code: providers.CodeTenantInvalid},
		"a fullwidth digit":           {query: q(org[:33]+"\uff11", ws1), code: providers.CodeTenantInvalid},
		"braces":                      {query: q("{"+org+"}", ws1), code: providers.CodeTenantInvalid},
		"4 KiB":                       {query: q(strings.Repeat("a", 4096), ws1), code: providers.CodeTenantInvalid},
		"email of another type":       {query: q(org, ws1), body: `{"email":["a"]}`, code: providers.CodeInvalidField},
		"org_user_id, another type":   {query: q(org, ws1), body: `{"org_user_id":1}`, code: providers.CodeInvalidField},
		"mobile of another type":      {query: q(org, ws1), body: `{"mobile":{}}`, code: providers.CodeInvalidField},
		"members in capitals ignored": {query: q(org, ws1), body: `{"Email":1,"ORG_USER_ID":{}}`, tenant: first},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := two()
			if c.single {
				cfg = one()
			}
			req, err := build(t, "", cfg).Decode(c.query, members(t, []byte(c.body)))
			if c.code != "" {
				var e *providers.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, c.code, e.Code)
				assert.Equal(t, providers.Permanent, e.Class)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.tenant, req.Tenant)
		})
	}
}

func TestDecodeIdentifiers(t *testing.T) {
	p := build(t, "", one())
	req, err := p.Decode(nil, members(t, []byte(`{"email":"e","org_user_id":"u","mobile":null,"refresh_token":"r","expires_in_days":9}`)))
	require.NoError(t, err)
	assert.Equal(t, providers.Request{Tenant: org + ":" + ws1, Subject: "u", Identifiers: map[string]string{"email": "e"}}, req)
	for _, body := range []string{`{"identifier":"anonymous-1"}`, `{"identifier":"anonymous-1","org_user_id":""}`, `{"identifier":"anonymous-1","org_user_id":"anonymous-1"}`} {
		req, err = p.Decode(nil, members(t, []byte(body)))
		require.NoError(t, err)
		assert.Equal(t, "anonymous-1", req.Subject, "the document's listing for anonymous users")
	}
	for _, body := range []string{`{"identifier":"a","org_user_id":"b"}`, `{"identifier":1}`} {
		_, err = p.Decode(nil, members(t, []byte(body)))
		assert.Equal(t, providers.CodeInvalidField, providers.AsError(err).Code)
	}
	req, err = p.Decode(nil, nil)
	require.NoError(t, err, "who is missing may be filled in by Authorize")
	_, err = p.Key(req)
	e := providers.AsError(err)
	assert.Equal(t, providers.CodeIdentityRequired, e.Code)
	assert.Equal(t, "At least one user identifier required", e.Description)
}
