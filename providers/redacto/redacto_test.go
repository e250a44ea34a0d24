package redacto_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redacto"
)

func TestConformance(t *testing.T) {
	end := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	providertest.Run(t, providertest.Suite{
		New:          func(t testing.TB, base string) providers.Provider { return build(t, base, one()) },
		Request:      providers.Request{Subject: "u1"},
		Answer:       `{"detail":{"token":"access-canary","refresh_token":"next-canary","expires_at":"` + end + `"}}`,
		Refusal:      `{"code":422,"status":"UNPROCESSABLE_ENTITY","detail":[{"field":"email","message":"canary-of-the-upstreams-answer"}]}`,
		RefreshToken: "refresh-canary",
		Secrets:      []string{key, "access-canary", "next-canary"},
	})
}

func TestConfigReportsEveryFault(t *testing.T) {
	_, err := redacto.New(redacto.Config{
		BaseURL: "http://example.com", Prefix: "consent/../x", UsersPrefix: "/a?b", ExpiresInDays: -1,
		Tenants: []string{"../x:y", org + ":" + ws2, org + ":" + strings.ToLower(ws2)},
		APIKey:  "key-canary\n",
	})
	require.Error(t, err)
	for _, want := range []string{
		"BaseURL: must be https", "redacto: Prefix: must be", "UsersPrefix: must be", "Tenants[0]: must be two UUIDs",
		"Tenants[2]: given twice", "APIKey: must be printable", "ExpiresInDays",
	} {
		assert.ErrorContains(t, err, want)
	}
	assert.NotContains(t, err.Error(), "canary")

	_, err = redacto.New(redacto.Config{})
	assert.ErrorContains(t, err, "Tenants: at least one")
	assert.ErrorContains(t, err, "APIKey or APIKeyFunc is required")
	cfg := one()
	cfg.APIKeyFunc = func(context.Context, string) (string, error) { return "", nil }
	_, err = redacto.New(cfg)
	assert.ErrorContains(t, err, "exclude each other")
}

func TestConfigPrintsNoKey(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.NotContains(t, fmt.Sprintf(verb, one()), key)
	}
}

type answerCase struct {
	Name   string          `json:"name"`
	Op     string          `json:"op"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
	Raw    string          `json:"raw"`
	Want   struct {
		Access, Refresh, Expiry, Code, Class string
		RefreshExpiry                        string `json:"refresh_expiry"`
	} `json:"want"`
}

// Every shape of answer that vendors.md knows.
func TestAnswers(t *testing.T) {
	var cases []answerCase
	recorder.ReadJSON(t, "testdata/answers.json", &cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			// No Date: the expiries are wanted as they were sent.
			u := recorder.Serve(t, c.Status, http.Header{"Date": nil}, string(c.Body)+c.Raw)
			cfg := one()
			cfg.Now = func() time.Time { return at("2024-01-15T09:00:00Z") }
			token, err := call(t.Context(), build(t, u.URL, cfg), c.Op)
			if c.Want.Code != "" {
				var e *providers.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, c.Want.Code, string(e.Code))
				assert.Equal(t, c.Want.Class, e.Class.String())
				assert.Equal(t, c.Status, e.Status)
				assert.Equal(t, "redacto: "+c.Op, e.Op)
				assert.Equal(t, c.Want.Refresh, token.RefreshToken)
				assert.Empty(t, token.AccessToken)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.Want.Access, token.AccessToken)
			assert.Equal(t, c.Want.Refresh, token.RefreshToken)
			assert.Equal(t, "Bearer", token.TokenType)
			assert.Equal(t, at(c.Want.Expiry), token.Expiry)
			assert.Equal(t, at(c.Want.RefreshExpiry), token.RefreshExpiry)
		})
	}
}

func call(ctx context.Context, p *redacto.Provider, op string) (providers.Token, error) {
	if op == "refresh" {
		return p.Refresh(ctx, providers.Request{}, "presented")
	}
	return p.Generate(ctx, providers.Request{Subject: "u1"})
}

// An expiry is read on the vendor's clock and returned on ours.
func TestExpiryIsCorrectedByDate(t *testing.T) {
	now := at("2024-01-15T09:00:00Z")
	cfg := one()
	cfg.Now = func() time.Time { return now }
	body := `{"detail":{"token":"e30.eyJleHAiOjE3MDUzMTgyMDB9.s","refresh_token":"e30.eyJleHAiOjE3MDU0MDEwMDB9.s","expires_at":"2024-01-16T10:30:00Z"}}`
	u := recorder.Serve(t, 200, http.Header{"Date": {now.Add(time.Hour).Format(http.TimeFormat)}}, body)
	token, err := build(t, u.URL, cfg).Generate(t.Context(), providers.Request{Subject: "u"})
	require.NoError(t, err)
	assert.Equal(t, at("2024-01-15T10:30:00Z"), token.Expiry)
	assert.Equal(t, at("2024-01-16T09:30:00Z"), token.RefreshExpiry)
	assert.Equal(t, now, token.IssuedAt)
}

// A request's tenant selects; what goes upstream is the configured spelling.
func TestConfiguredTenantGoesUpstream(t *testing.T) {
	u := recorder.Serve(t, 200, nil, `{"detail":{"token":"a"}}`)
	cfg := two()
	cfg.Prefix, cfg.ExpiresInDays = "/consent", 3
	p := build(t, u.URL+"/proxied", cfg)
	_, err := p.Generate(t.Context(), providers.Request{Tenant: strings.ToUpper(org) + ":" + strings.ToLower(ws2), Subject: "u"})
	require.NoError(t, err)
	got, _ := u.Seen()
	assert.Equal(t, "/proxied/consent/organisations/"+org+"/workspaces/"+ws2+"/tokens/generate", got.Path)
	assert.JSONEq(t, `{"org_user_id":"u","expires_in_days":3}`, got.Body)
}

func TestBadRequestsNeverLeave(t *testing.T) {
	u := recorder.Serve(t, 200, nil, `{"detail":{"token":"a"}}`)
	p := build(t, u.URL, two())
	for name, c := range map[string]struct {
		req  providers.Request
		code providers.Code
	}{
		"no tenant":      {providers.Request{Subject: "u"}, providers.CodeTenantRequired},
		"path traversal": {providers.Request{Tenant: "../../../admin/api-keys?x=:" + ws1, Subject: "u"}, providers.CodeTenantInvalid},
		"half a tenant":  {providers.Request{Tenant: org, Subject: "u"}, providers.CodeTenantInvalid},
		"another tenant": {providers.Request{Tenant: ws1 + ":" + org, Subject: "u"}, providers.CodeTenantNotAllowed},
		"nobody":         {providers.Request{Tenant: org + ":" + ws1}, providers.CodeIdentityRequired},
		"unknown param":  {providers.Request{Tenant: org + ":" + ws1, Subject: "u", Params: map[string]any{"expires_in_days": "9"}}, providers.CodeInvalidField},
		"email as param": {providers.Request{Tenant: org + ":" + ws1, Params: map[string]any{"email": "e"}}, providers.CodeInvalidField},
		"unknown name":   {providers.Request{Tenant: org + ":" + ws1, Identifiers: map[string]string{"fax": "1"}}, providers.CodeInvalidField},
	} {
		for _, f := range []func() error{
			func() error { _, err := p.Generate(t.Context(), c.req); return err },
			func() error { _, err := p.Key(c.req); return err },
		} {
			var e *providers.Error
			require.ErrorAs(t, f(), &e, name)
			assert.Equal(t, c.code, e.Code, name)
			assert.Equal(t, providers.Permanent, e.Class, name)
		}
	}
	_, err := p.Refresh(t.Context(), providers.Request{Tenant: "x"}, "r")
	assert.Equal(t, providers.CodeTenantInvalid, providers.AsError(err).Code)
	_, hits := u.Seen()
	assert.Zero(t, hits)
}

func TestKeyNamesTheUser(t *testing.T) {
	p := build(t, "", two())
	k := func(ws, user, email, mobile string) string {
		t.Helper()
		got, err := p.Key(providers.Request{Tenant: org + ":" + ws, Subject: user, Identifiers: map[string]string{"email": email, "mobile": mobile}})
		require.NoError(t, err)
		return got
	}
	same := k(ws1, "u", "", "")
	assert.Equal(t, same, k(strings.ToUpper(ws1), "u", "e", "m"), "further identifiers do not count, nor do capitals of the tenant")
	assert.Equal(t, k(ws1, "", "e", ""), k(ws1, "", "e", "m"))
	for i, other := range []string{k(ws2, "u", "", ""), k(ws1, "U", "", ""), k(ws1, "", "u", ""), k(ws1, "", "", "u")} {
		assert.NotEqual(t, same, other, i)
	}
	assert.Equal(t, providers.Exclusive, p.Mode())
}

func TestAPIKeyFunc(t *testing.T) {
	u := recorder.Serve(t, 200, nil, `{"detail":{"token":"a"}}`)
	cfg := two()
	cfg.APIKey = ""
	var fail error
	keys := map[string]string{org + ":" + ws1: "first", org + ":" + ws2: "second"}
	cfg.APIKeyFunc = func(_ context.Context, tenant string) (string, error) { return keys[tenant], fail }
	p := build(t, u.URL, cfg)
	req := providers.Request{Tenant: org + ":" + strings.ToLower(ws2), Subject: "u"}
	for _, want := range []string{"second", "rotated"} {
		_, err := p.Generate(t.Context(), req)
		require.NoError(t, err)
		got, _ := u.Seen()
		assert.Equal(t, want, got.Header.Get("X-CMS-API-KEY"))
		keys[org+":"+ws2] = "rotated"
	}
	for _, bad := range []string{"", "key\n", "a key"} {
		keys[org+":"+ws2] = bad
		_, err := p.Generate(t.Context(), req)
		e := providers.AsError(err)
		assert.Equal(t, providers.CodeInternal, e.Code)
		assert.Equal(t, providers.Permanent, e.Class, "the same key will never do")
		assert.Contains(t, e.Description, "APIKeyFunc returned")
		assert.NotContains(t, e.Description, "key\n")
	}
	fail = errors.New("the caller's own cause")
	ctx, cancel := context.WithDeadlineCause(t.Context(), time.Now().Add(-time.Second), fail)
	defer cancel()
	_, err := p.Generate(ctx, req)
	assert.Equal(t, providers.CodeTimeout, providers.AsError(err).Code)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	fail = errors.New("vault is down")
	_, err = p.Refresh(t.Context(), req, "r")
	require.ErrorIs(t, err, fail)
	assert.NotContains(t, err.Error(), "vault")
	_, hits := u.Seen()
	assert.Equal(t, 2, hits)
}

// Against the vendor's rules: a refreshed pair lives, the one before is dead.
func TestWithTheFake(t *testing.T) {
	f, base := fake(t)
	p := build(t, base, two())
	req := providers.Request{Tenant: org + ":" + ws2, Subject: "u"}
	first, err := p.Generate(t.Context(), req)
	require.NoError(t, err)
	second, err := p.Refresh(t.Context(), req, first.RefreshToken)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(time.Hour), second.Expiry, time.Minute, "the JWT's exp, not expires_at a day ahead")
	assert.WithinDuration(t, time.Now().Add(24*time.Hour), second.RefreshExpiry, time.Minute)
	_, err = p.Refresh(t.Context(), req, first.RefreshToken)
	assert.Equal(t, providers.GrantDead, providers.AsError(err).Class)
	assert.Equal(t, 2, f.Stats().Issued)
}
