package handlers_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/kudo"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/redacto"
)

const (
	org       = "11111111-1111-4111-8111-111111111111"
	workspace = "22222222-2222-4222-8222-222222222222"
	other     = "33333333-3333-4333-8333-333333333333"
)

// The six secrets that must never leave.
const (
	cmsKey     = "planted-cms-key"
	cmSecret   = "planted-contactsmanager-secret-32b"
	kudoKey    = "planted-kudo-access-key"
	kudoAuth   = "planted-kudo-auth"
	kudoServer = "https://planted-server.internal"
	oauthPass  = "planted-client-secret"
)

var planted = []string{cmsKey, cmSecret, kudoKey, kudoAuth, kudoServer, oauthPass}

// vendor is one provider behind its handlers.
type vendor struct {
	provider providers.Provider
	wire     handlers.Wire
	good     string // a call of generate
	query    string
	remote   bool // has an upstream
	now      func() time.Time
}

func vendors(t testing.TB, base string) map[string]vendor {
	t.Helper()
	red, err := redacto.New(redacto.Config{BaseURL: base, APIKey: cmsKey, Tenants: []string{org + ":" + workspace, org + ":" + other}, Now: now})
	require.NoError(t, err)
	cm, err := contactsmanager.New(contactsmanager.Config{OrgID: "org", APIKey: "cm-api-key", APISecret: cmSecret, Now: now})
	require.NoError(t, err)
	kudoNow := func() time.Time { return time.Unix(1595917409, 0).Add(-time.Hour) }
	kud, err := kudo.New(kudo.Config{BaseURL: base, AccessKey: kudoKey, Auth: kudoAuth, Server: kudoServer, Now: kudoNow})
	require.NoError(t, err)
	plain, err := oauth.New(oauth.Config{TokenURL: base + "/oauth", ClientID: "client", Secret: oauthPass, Now: now})
	require.NoError(t, err)
	return map[string]vendor{
		"redacto":         {red, red, `{"org_user_id":"u"}`, "?organisation_uuid=" + org + "&workspace_uuid=" + workspace, true, now},
		"contactsmanager": {cm, cm, `{"userId":"u"}`, "", false, now},
		"kudo":            {kud, kud, `{"file":"test.dwg","userId":"u"}`, "", true, kudoNow},
		"oauth":           {plain, plain, `{}`, "", true, now},
	}
}

func (v vendor) config() handlers.Config {
	return handlers.Config{Provider: v.provider, Wire: v.wire, Authorize: handlers.DangerouslyAllowAnyCaller, Now: v.now}
}

func (v vendor) post(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/token"+v.query, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// upstreamServer answers every vendor's call with what answer says at the time.
func upstreamServer(t testing.TB) (base string, answer *switchable) {
	t.Helper()
	answer = &switchable{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil // the vendor's clock is the test's
		(*answer.now.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, answer
}

// switchable is a handler that changes while a server uses it.
type switchable struct {
	now atomic.Pointer[http.HandlerFunc]
}

func (s *switchable) set(h http.HandlerFunc) { s.now.Store(&h) }

func reply(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// success has every vendor's members at once.
const success = `{"token":"upstream-token","access_token":"upstream-token","token_type":"Bearer","refresh_token":"upstream-refresh","expires_at":"2024-01-16T10:30:00Z","expiration_time":1595917409,"expires_in":300}`

func TestWhatUpstreamsDo(t *testing.T) {
	base, upstream := upstreamServer(t)
	const secretText = `{"error":"planted upstream text","detail":"planted upstream text"}`
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		status int
		code   string
		after  string
		notBy  string
	}{
		{"well", reply(200, success), 200, "", "", ""},
		{"bad key, 401", reply(401, secretText), 502, "upstream_credentials_rejected", "", "oauth"},
		{"bad key, 403", reply(403, "{ Wrong token }"), 502, "upstream_credentials_rejected", "", "oauth"},
		{"invalid_client", reply(401, `{"error":"invalid_client"}`), 502, "upstream_credentials_rejected", "", ""},
		{"bad input, 400", reply(400, secretText), 422, "upstream_rejected_input", "", "oauth"},
		{"bad input, 422", reply(422, secretText), 422, "upstream_rejected_input", "", "oauth"},
		{"busy", reply(429, secretText, "Retry-After", "7"), 503, "upstream_busy", "7", ""},
		{"busy without saying how long", reply(503, ""), 503, "upstream_busy", "5", ""},
		{"busy for a day", reply(503, "", "Retry-After", "86400"), 503, "upstream_busy", "300", ""},
		{"busy until a date", reply(429, "", "Retry-After", "Mon, 15 Jan 2024 10:30:30 GMT", "Date", "Mon, 15 Jan 2024 10:30:00 GMT"), 503, "upstream_busy", "30", ""},
		{"broken", reply(500, "<html>planted upstream text"), 502, "upstream_error", "", ""},
		{"bad gateway", reply(502, "<html>nginx"), 502, "upstream_error", "", ""},
		{"a page", reply(200, "<html>planted upstream text"), 502, "upstream_bad_response", "", ""},
		{"no token", reply(200, `{"detail":{}}`), 502, "upstream_bad_response", "", ""},
		{"truncated", reply(200, success[:40]), 502, "upstream_bad_response", "", ""},
		{"oversized", reply(200, `{"x":"`+strings.Repeat("x", 1<<20)+`"}`), 502, "upstream_bad_response", "", ""},
		{"elsewhere", reply(307, "", "Location", "https://evil.example/"), 502, "upstream_bad_response", "", ""},
		{"gone", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, "upstream_unreachable", "", ""},
	} {
		for name, v := range vendors(t, base) {
			if !v.remote || strings.Contains(c.notBy, name) {
				continue
			}
			t.Run(name+"/"+c.name, func(t *testing.T) {
				upstream.set(c.answer)
				h, err := handlers.Generate(v.config())
				a := serve(t, must(t, h, err), v.post(v.good))
				assert.Equal(t, c.status, a.status, a.body)
				if c.code != "" {
					assert.Equal(t, c.code, a.json["code"])
				}
				assert.Equal(t, c.after, a.header.Get("Retry-After"))
				assert.NotContains(t, a.body, "planted")
				assertHardened(t, a.header)
			})
		}
	}
}

func TestASlowUpstreamAndAWrappersDeadline(t *testing.T) {
	base, upstream := upstreamServer(t)
	upstream.set(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http notices that a caller left only then
		<-r.Context().Done()
	})
	for name, v := range vendors(t, base) {
		if !v.remote {
			continue
		}
		ctx, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
		h, err := handlers.Generate(v.config())
		a := serve(t, must(t, h, err), v.post(v.good).WithContext(ctx))
		assert.Equal(t, 504, a.status, name)
		assert.Equal(t, "upstream_timeout", a.json["code"], name)
		stop()
	}
}

func TestRedactoRefreshIsRefused(t *testing.T) {
	base, upstream := upstreamServer(t)
	v := vendors(t, base)["redacto"]
	h, err := handlers.Refresh(v.config())
	must(t, h, err)
	for status, want := range map[int]string{
		400: "refresh_rejected", 401: "refresh_rejected", 403: "refresh_rejected", 404: "refresh_rejected",
		410: "refresh_rejected", 422: "refresh_rejected", 429: "upstream_busy", 500: "upstream_error",
	} {
		upstream.set(reply(status, `{"message":"planted upstream text"}`))
		a := serve(t, h, v.post(`{"refresh_token":"r"}`))
		assert.Equal(t, want, a.json["code"], status)
		assert.NotContains(t, a.body, "planted")
	}
}

func TestRedactoTenants(t *testing.T) {
	base, upstream := upstreamServer(t)
	var path string
	upstream.set(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.EscapedPath()
		reply(200, success)(w, r)
	})
	v := vendors(t, base)["redacto"]
	h, err := handlers.Generate(v.config())
	must(t, h, err)
	ids := func(o, w string) string { return "organisation_uuid=" + o + "&workspace_uuid=" + w }
	in := func(o, w string) string {
		return `{"org_user_id":"u","organisation_uuid":"` + o + `","workspace_uuid":"` + w + `"}`
	}
	for _, c := range []struct{ name, query, body, want string }{
		{"query", ids(org, workspace), `{"org_user_id":"u"}`, ""},
		{"body", "", in(org, workspace), ""},
		{"both", ids(org, workspace), in(org, workspace), ""},
		{"capitals", ids(strings.ToUpper(org), workspace), `{"org_user_id":"u"}`, ""},
		{"neither", "", `{"org_user_id":"u"}`, "tenant_required"},
		{"nothing of both", ids("", ""), in("", ""), "tenant_required"},
		{"no UUID", ids(org, "w"), `{}`, "tenant_invalid"},
		{"undefined", ids("undefined", "undefined"), `{}`, "tenant_invalid"},
		{"traversal", ids("..%2F..%2F..%2Fadmin%2Fapi-keys%3Fx%3D", workspace), `{}`, "tenant_invalid"},
		{"encoded twice", ids("%252e%252e", workspace), `{}`, "tenant_invalid"},
		{"fragment", ids(org+"%23", workspace), `{}`, "tenant_invalid"},
		{"NUL", ids(org+"%00", workspace), `{}`, "tenant_invalid"},
		{"backslash", ids("%5C..%5C", workspace), `{}`, "tenant_invalid"},
		{"4 KiB", ids(strings.Repeat("a", 4096), workspace), `{}`, "tenant_invalid"},
		{"semicolon", ids(org+";x", workspace), `{}`, "invalid_field"},
		{"two values", ids(org, workspace), in(org, other), "tenant_conflict"},
		{"repeated", ids(org, workspace) + "&organisation_uuid=" + org, `{}`, "tenant_conflict"},
		{"not ours", ids(other, workspace), `{}`, "tenant_not_allowed"},
		{"wrong type", "", `{"organisation_uuid":7}`, "invalid_field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path = ""
			r := post(c.body)
			r.URL.RawQuery = c.query
			a := serve(t, h, r)
			if c.want == "" {
				assert.Equal(t, 200, a.status, a.body)
				assert.Equal(t, "/consent/public/organisations/"+org+"/workspaces/"+workspace+"/tokens/generate", path)
				return
			}
			assert.Equal(t, c.want, a.json["code"])
			assert.Empty(t, path, "reached the upstream")
		})
	}
}
