package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redox"
)

const (
	org       = "11111111-2222-4333-8444-555555555555"
	workspace = "66666666-7777-4888-8999-aaaaaaaaaaaa"
	planted   = "planted-secret-"
)

// start serves a gateway configured by vars.
func start(t *testing.T, vars map[string]string) (*gateway, *httptest.Server, *logBuffer) {
	t.Helper()
	logs := &logBuffer{}
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := readConfig(func(n string) string { return vars[n] }, log)
	if err != nil {
		t.Fatal(err)
	}
	g, srv := serveConfig(t, c, log)
	return g, srv, logs
}

func serveConfig(t *testing.T, c config, log *slog.Logger) (*gateway, *httptest.Server) {
	t.Helper()
	g, err := newGateway(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(g)
	t.Cleanup(func() {
		g.stop()
		srv.Close()
		if err := g.close(); err != nil {
			t.Error(err)
		}
	})
	srv.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 200
	return g, srv
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// call makes one call with a JSON body, "" for none, and a bearer token, "" for none.
func call(t *testing.T, srv *httptest.Server, method, path, bearer, body string) (int, http.Header, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Error(err)
		return 0, nil, nil
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, object(b)
}

func object(b []byte) (v map[string]any) {
	_ = json.Unmarshal(b, &v)
	return v
}

func demoBearer(t *testing.T, srv *httptest.Server, sub string) string {
	t.Helper()
	status, _, v := call(t, srv, "POST", "/demo/token", "", fmt.Sprintf(`{"sub":%q}`, sub))
	if status != 200 {
		t.Fatalf("demo token: %d", status)
	}
	return v["access_token"].(string)
}

func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// 200 concurrent generates of one user: one vendor call, one token.
func TestGenerateIsCoalesced(t *testing.T) {
	g, srv, _ := start(t, nil)
	var mu sync.Mutex
	tokens := map[any]int{}
	together(200, func(int) {
		status, _, v := call(t, srv, "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
		mu.Lock()
		defer mu.Unlock()
		tokens[v["token"]]++
		if status != 200 {
			t.Errorf("status %d", status)
		}
	})
	if s := g.demo.redacto.Stats(); s.Generates != 1 || len(tokens) != 1 {
		t.Fatalf("%d vendor calls, %d tokens", s.Generates, len(tokens))
	}
}

// 200 concurrent calls of Redox: one token request. Tokens revoked early: every
// concurrent POST succeeds with its whole body, with one new token.
func TestRedoxProxyRenewsOnce(t *testing.T) {
	g, srv, _ := start(t, nil)
	bearer := demoBearer(t, srv, "ada")
	together(200, func(int) {
		if status, _, _ := call(t, srv, "GET", "/fhir/R4/Patient", bearer, ""); status != 200 {
			t.Errorf("status %d", status)
		}
	})
	if s := g.demo.redox.Stats(); s.Generates != 1 {
		t.Fatalf("%d token requests", s.Generates)
	}
	g.demo.redox.RevokeAll()
	g.demo.redox.ResetStats()
	together(200, func(i int) {
		body := fmt.Sprintf(`{"n":%d,"pad":%q}`, i, strings.Repeat("x", 10_000))
		status, _, v := call(t, srv, "POST", "/endpoint", bearer, body)
		sum := sha256.Sum256([]byte(body))
		if status != 200 || v["body_sha256"] != hex.EncodeToString(sum[:]) {
			t.Errorf("status %d, body %v bytes", status, v["body_bytes"])
		}
	})
	if s := g.demo.redox.Stats(); s.Generates != 1 {
		t.Fatalf("%d token requests after the revocation", s.Generates)
	}
}

// A token of Redacto that died early is renewed for its own user.
func TestRedactoProxyActsForTheCaller(t *testing.T) {
	g, srv, _ := start(t, nil)
	for _, sub := range []string{"ada", "bob"} {
		bearer := demoBearer(t, srv, sub)
		for range 2 {
			status, _, v := call(t, srv, "POST", "/consent/notices", bearer, `{"x":1}`)
			if status != 200 || v["org_user_id"] != sub {
				t.Fatalf("status %d for %s: %v", status, sub, v["org_user_id"])
			}
			g.demo.redacto.RevokeAll()
		}
	}
	bearer := demoBearer(t, srv, "ada")
	for _, path := range []string{"/consent/tokens/refresh", "/consent/public/organisations/x/workspaces/y/Tokens/generate", "/consent/%74okens/x"} {
		if status, _, _ := call(t, srv, "POST", path, bearer, `{}`); status != 404 {
			t.Errorf("%s: status %d", path, status)
		}
	}
}

func TestCallersAndSubjects(t *testing.T) {
	_, srv, _ := start(t, nil)
	ada := demoBearer(t, srv, "ada")
	for _, c := range []struct {
		method, path, bearer, body string
		status                     int
		code                       string
	}{
		{"GET", "/protected", "", "", 401, "not_signed_in"},
		{"GET", "/protected", ada, "", 200, ""},
		{"GET", "/protected", ada + "x", "", 401, "invalid_token"},
		{"POST", "/fhir/R4/Patient", "", "{}", 401, "not_signed_in"},
		{"POST", "/consent/x", "", "{}", 401, "not_signed_in"},
		{"POST", "/api/consent/create-user", "", "{}", 401, "not_signed_in"},
		{"POST", "/api/consent/create-user", ada, `{"primary_email":"a@example.com"}`, 403, "identity_mismatch"},
		{"POST", "/api/consent/create-user", ada, `{"name":"Ada"}`, 201, ""},
		{"POST", "/api/consent/create-user", ada, `{}`, 200, ""},
		{"POST", "/api/consent/create-user", ada, `{"org_user_id":"bob"}`, 403, "identity_mismatch"},
		{"POST", "/api/consent/create-user", ada, `[`, 400, "invalid_json"},
		{"GET", "/api/consent/create-user", ada, ``, 405, "method_not_allowed"},
		{"POST", "/generate-token", "", `{"userId":"anybody"}`, 200, ""},
		{"POST", "/generate-token", "", `{}`, 400, "identity_required"},
		{"POST", "/generate-token", ada, `{}`, 200, ""},
		{"POST", "/generate-token", ada, `{"userId":"bob"}`, 403, "identity_mismatch"},
		{"POST", "/generate-token", "wrong", `{"userId":"bob"}`, 401, "invalid_token"},
		{"POST", "/api/consent/token", "", `{}`, 400, "identity_required"},
		{"POST", "/api/consent/token?organisation_uuid=..%2F..%2Fadmin", "", `{"email":"a@example.com"}`, 400, "tenant_invalid"},
		{"POST", "/api/consent/refresh-token", "", `{}`, 400, "refresh_token_required"},
		{"POST", "/kudo/generate", "", `{"file":"a.dwg","auth":"x"}`, 400, "invalid_field"},
		{"POST", "/kudo/verify", "", `{}`, 405, "method_not_allowed"},
		{"POST", "/livez", "", ``, 405, "method_not_allowed"},
		{"POST", "/demo/token", "", `{}`, 400, "invalid_field"},
		{"GET", "/nowhere", "", "", 404, "not_found"},
	} {
		status, header, v := call(t, srv, c.method, c.path, c.bearer, c.body)
		code, _ := v["code"].(string)
		if status != c.status || code != c.code {
			t.Errorf("%s %s %s: %d %q, want %d %q", c.method, c.path, c.body, status, code, c.status, c.code)
		}
		if status == 401 && header.Get("WWW-Authenticate") == "" || status == 405 && header.Get("Allow") == "" {
			t.Errorf("%s %s: %d without its header", c.method, c.path, status)
		}
	}
}

// realVars configures all four vendors at servers that keep their rules.
func realVars(t *testing.T) (map[string]string, *authtest.Issuer, map[string]*providertest.Fake) {
	t.Helper()
	dir := t.TempDir()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(dir, "redox.pem")
	der, _ := x509.MarshalPKCS8PrivateKey(rsaKey)
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	secretFile := filepath.Join(dir, "cms")
	if err := os.WriteFile(secretFile, []byte(planted+"cms\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	published, err := redox.New(redox.Config{ClientID: "client-1", Key: oauth.Key{ID: "key-1", Signer: rsaKey}})
	if err != nil {
		t.Fatal(err)
	}
	jwks := published.JWKS()
	issuer, err := authtest.New("RS256")
	if err != nil {
		t.Fatal(err)
	}
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	issuer.URL = serve(issuer)
	vendors := map[string]*providertest.Fake{}
	vendors["redacto"], _ = providertest.NewRedacto(providertest.RedactoConfig{
		Keys: map[string]string{org + ":" + workspace: planted + "cms"}, Prefixes: []string{"/consent"},
	})
	vendors["redox"], _ = providertest.NewRedox(providertest.RedoxConfig{ClientID: "client-1", JWKS: jwks})
	vendors["kudo"], _ = providertest.NewKudo(providertest.KudoConfig{AccessKey: planted + "kudo"})
	vars := map[string]string{
		"CMS_API_KEY_FILE": secretFile, "REDACTO_BASE_URL": serve(vendors["redacto"]),
		"REDACTO_TENANTS": org + ":" + workspace, "REDACTO_PREFIX": "/consent",
		"REDOX_CLIENT_ID": "client-1", "REDOX_KEY_ID": "key-1", "REDOX_PRIVATE_KEY_FILE": keyFile,
		"REDOX_BASE_URL": serve(vendors["redox"]), "REDOX_SOURCE_ID": "source-1",
		"CM_API_KEY": "cm-key", "CM_API_SECRET": planted + "cm-secret-of-32-bytes-and-more", "CM_ORGANIZATION_ID": "org-1",
		"KUDO_ACCESS_KEY": planted + "kudo", "KUDO_BASE_URL": serve(vendors["kudo"]), "KUDO_AUTH": planted + "auth", "KUDO_SERVER": "https://api.example.com/" + planted,
		"AUTH_ISSUER": issuer.URL, "AUTH_AUDIENCE": issuer.Audience, "AUTH_LEEWAY": "0s",
		"RATE_LIMIT": "off", "CM_ANYONE": "1", "KUDO_ANYONE": "1", // as the vendors' samples do
	}
	return vars, issuer, vendors
}

// With the variables set the same routes work against other servers.
func TestRealVendors(t *testing.T) {
	vars, issuer, vendors := realVars(t)
	g, srv, logs := start(t, vars)
	if !g.open {
		t.Error("open endpoints of real vendors are not reported")
	}
	bearer, err := issuer.Token(map[string]any{"sub": "ada"})
	if err != nil {
		t.Fatal(err)
	}
	var answers strings.Builder
	expect := func(status int, method, path, bearer, body string) map[string]any {
		t.Helper()
		got, _, v := call(t, srv, method, path, bearer, body)
		j, _ := json.Marshal(v)
		answers.Write(j)
		if got != status {
			t.Errorf("%s %s: status %d: %s", method, path, got, j)
		}
		return v
	}
	v := expect(200, "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
	expect(200, "POST", "/api/consent/refresh-token", "", fmt.Sprintf(`{"refresh_token":%q,"organisation_uuid":%q,"workspace_uuid":%q}`, v["refresh_token"], org, workspace))
	expect(201, "POST", "/api/consent/create-user", bearer, `{"name":"Ada"}`)
	expect(200, "GET", "/consent/notices", bearer, "")
	expect(200, "POST", "/generate-token", "", `{"userId":"ada"}`)
	v = expect(200, "POST", "/kudo/generate", "", `{"file":"a.dwg","userId":"ada"}`)
	req, _ := http.NewRequest("GET", srv.URL+"/kudo/verify", nil)
	req.Header.Set("X-Api-Token", v["token"].(string))
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	params, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if string(bytes.TrimSpace(params)) != `{"file":"a.dwg","userId":"ada"}` {
		t.Errorf("kudo verify: %s", params)
	}
	v = expect(200, "POST", "/endpoint", bearer, `{"Meta":{}}`)
	if h := v["headers"].(map[string]any); h["Redox-Source-Id"].([]any)[0] != "source-1" {
		t.Errorf("headers at Redox: %v", h)
	}
	expect(200, "GET", "/protected", bearer, "")
	expect(404, "POST", "/demo/token", "", `{"sub":"ada"}`)

	// Faults are answered in the contract's words and reveal nothing.
	const upstreamText = "the upstream's own words"
	for _, fault := range []struct {
		vendor, path, body string
		f                  providertest.Fault
		status             int
	}{
		{"redacto", "/api/consent/token", `{"email":"f1@example.com"}`, providertest.Fault{Status: 401, Body: `{"detail":"` + upstreamText + `"}`}, 502},
		{"redacto", "/api/consent/token", `{"email":"f2@example.com"}`, providertest.Fault{Status: 429, RetryAfter: "7", Body: upstreamText}, 503},
		{"kudo", "/kudo/generate", `{"file":"f3"}`, providertest.Fault{Body: "<html>" + upstreamText}, 502},
		{"kudo", "/kudo/generate", `{"file":"f4"}`, providertest.Fault{Status: 422, Body: `{"message":"` + upstreamText + `"}`}, 422},
		{"kudo", "/kudo/generate", `{"file":"f5"}`, providertest.Fault{Drop: true}, 502},
	} {
		vendors[fault.vendor].SetFault(fault.f)
		expect(fault.status, "POST", fault.path, "", fault.body)
		vendors[fault.vendor].SetFault(providertest.Fault{})
	}
	for where, text := range map[string]string{"answers": answers.String(), "logs": logs.String()} {
		for _, s := range []string{planted, "PRIVATE KEY", upstreamText} {
			if strings.Contains(text, s) {
				t.Errorf("%s contain %q", where, s)
			}
		}
	}
}

func TestSecretFileIsReread(t *testing.T) {
	vars, _, vendors := realVars(t)
	_, srv, _ := start(t, vars)
	if err := os.WriteFile(vars["CMS_API_KEY_FILE"], []byte("a-wrong-key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, v := call(t, srv, "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`); status != 502 || v["code"] != "upstream_credentials_rejected" {
		t.Fatalf("%d %v", status, v)
	}
	if err := os.WriteFile(vars["CMS_API_KEY_FILE"], []byte(planted+"cms"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, v := call(t, srv, "POST", "/api/consent/token", "", `{"org_user_id":"bob"}`); status != 200 {
		t.Fatalf("%d %v", status, v)
	}
	if vendors["redacto"].Stats().Generates != 2 {
		t.Fatal("the key was not read anew for each call")
	}
}

func TestRateLimit(t *testing.T) {
	_, srv, _ := start(t, map[string]string{"RATE_LIMIT": "3/1000h", "TRUSTED_PROXIES": "127.0.0.1", "CORS_ORIGINS": "https://app.example.com"})
	get := func(forwarded string) *http.Response {
		req, _ := http.NewRequest("POST", srv.URL+"/generate-token", strings.NewReader(`{"userId":"ada"}`))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-For", forwarded)
		req.Header.Set("Origin", "https://app.example.com")
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return res
	}
	for i := range 4 {
		// What the caller wrote itself, on the left, counts for nothing; a /64 is one caller.
		res := get(fmt.Sprintf("203.0.113.%d, 2001:db8:1:2::%d", i, i))
		if want := map[bool]int{true: 200, false: 429}[i < 3]; res.StatusCode != want {
			t.Fatalf("call %d: status %d", i, res.StatusCode)
		}
		if res.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
			t.Errorf("status %d without CORS", res.StatusCode)
		}
		if res.StatusCode == 429 && (res.Header.Get("Retry-After") == "" || res.Header.Get("Content-Type") != "application/problem+json") {
			t.Errorf("429 with %v", res.Header)
		}
	}
	if res := get("2001:db8:1:3::1"); res.StatusCode != 200 {
		t.Fatalf("another network: status %d", res.StatusCode)
	}
}

// Each answer of verify may cost a call of the vendor, so that it has the rate
// limit too.
func TestRateLimitOfKudoVerify(t *testing.T) {
	_, srv, _ := start(t, map[string]string{"RATE_LIMIT": "3/1000h"})
	for i := range 4 {
		req, _ := http.NewRequest("GET", srv.URL+"/kudo/verify", nil)
		req.Header.Set("X-Api-Token", fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if limited := res.StatusCode == 429; limited != (i == 3) {
			t.Fatalf("call %d: status %d", i, res.StatusCode)
		}
	}
}

// An issuer inside a compose network is reached over http by name only.
func TestPlainHTTPHosts(t *testing.T) {
	vars := map[string]string{"AUTH_ISSUER": "http://keycloak:8080/realms/x", "AUTH_AUDIENCE": "a"}
	make := func() error {
		c, err := readConfig(func(n string) string { return vars[n] }, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		_, err = middleware.New(middleware.Config{Issuers: []middleware.Issuer{*c.issuer}})
		return err
	}
	if err := make(); err == nil || !strings.Contains(err.Error(), "must be https") {
		t.Errorf("without the variable: %v", err)
	}
	vars["PLAIN_HTTP_HOSTS"] = "other:80, keycloak:8080"
	if err := make(); err != nil {
		t.Errorf("named: %v", err)
	}
	vars["PLAIN_HTTP_HOSTS"] = "*:8080"
	if err := make(); err == nil || !strings.Contains(err.Error(), "PLAIN_HTTP_HOSTS") {
		t.Errorf("a wildcard: %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	for name, c := range map[string]struct {
		vars map[string]string
		want []string
	}{
		"half Redacto":      {map[string]string{"CMS_API_KEY": "k"}, []string{"REDACTO_TENANTS missing"}},
		"half Redacto, 2":   {map[string]string{"REDACTO_TENANTS": org + ":" + workspace}, []string{"CMS_API_KEY missing"}},
		"half Redox":        {map[string]string{"REDOX_CLIENT_ID": "c"}, []string{"REDOX_KEY_ID, REDOX_PRIVATE_KEY_FILE missing"}},
		"half ContactsM.":   {map[string]string{"CM_API_SECRET": planted}, []string{"CM_API_KEY, CM_ORGANIZATION_ID missing"}},
		"option only":       {map[string]string{"KUDO_SERVER": "x"}, []string{"KUDO_ACCESS_KEY missing"}},
		"half issuer":       {map[string]string{"AUTH_AUDIENCE": "a"}, []string{"AUTH_ISSUER missing"}},
		"real, no issuer":   {map[string]string{"KUDO_ACCESS_KEY": "k"}, []string{"AUTH_ISSUER and AUTH_AUDIENCE missing"}},
		"unreadable key":    {map[string]string{"REDOX_CLIENT_ID": "c", "REDOX_KEY_ID": "k", "REDOX_PRIVATE_KEY_FILE": "/nowhere/key"}, []string{"REDOX_PRIVATE_KEY_FILE", "no such file"}},
		"unreadable secret": {map[string]string{"CMS_API_KEY_FILE": "/nowhere/key", "REDACTO_TENANTS": "a:b"}, []string{"CMS_API_KEY_FILE", "no such file"}},
		"secret twice":      {map[string]string{"KUDO_ACCESS_KEY": planted, "KUDO_ACCESS_KEY_FILE": "/x"}, []string{"are both set"}},
		"rate":              {map[string]string{"RATE_LIMIT": "lots"}, []string{"RATE_LIMIT"}},
		"proxies":           {map[string]string{"TRUSTED_PROXIES": "10.0.0.0/8, nonsense"}, []string{`"nonsense"`}},
		"origins":           {map[string]string{"CORS_ORIGINS": "https://*example.com"}, []string{"not an exact origin"}},
		"several at once":   {map[string]string{"AUTH_LEEWAY": "x", "RATE_LIMIT": "x", "EMBEDDED": "maybe"}, []string{"AUTH_LEEWAY", "RATE_LIMIT", "EMBEDDED"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readConfig(func(n string) string { return c.vars[n] }, slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
			if strings.Contains(err.Error(), planted) {
				t.Errorf("%q shows a secret", err)
			}
		})
	}
}
