package examples_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redox"
)

// build makes the program of ./name.
func build(t *testing.T, name string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", bin, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// listen runs the program of ./name and returns where it listens.
func listen(t *testing.T, name string, env ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	cmd := exec.Command(build(t, name))
	cmd.Env, cmd.Stderr = append(env, "ADDR="+addr), os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return "http://" + addr
		}
		if time.Now().After(end) {
			t.Fatal(name, "does not listen:", err)
		}
	}
}

func serve(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// signIn returns an issuer's variables, and a token of it.
func signIn(t *testing.T, claims map[string]any) (env []string, token string) {
	t.Helper()
	idp, err := authtest.New("ES256")
	if err != nil {
		t.Fatal(err)
	}
	idp.URL = serve(t, idp)
	if token, err = idp.Token(claims); err != nil {
		t.Fatal(err)
	}
	return []string{"AUTH_ISSUER=" + idp.URL, "AUTH_AUDIENCE=" + idp.Audience}, token
}

func send(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func TestMount(t *testing.T) {
	const tenant = "11111111-2222-4333-8444-555555555555:66666666-7777-4888-8999-aaaaaaaaaaaa"
	vendor, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{tenant: "key"}})
	if err != nil {
		t.Fatal(err)
	}
	env, token := signIn(t, map[string]any{"sub": "ada"})
	base := listen(t, "mount", append(env, "REDACTO_BASE_URL="+serve(t, vendor), "TENANT="+tenant, "CMS_API_KEY=key")...)
	if status, body := send(t, "POST", base+"/api/consent/token", token, `{}`); status != 200 || !strings.Contains(body, "refresh_token") {
		t.Error(status, body)
	}
	if status, body := send(t, "POST", base+"/api/consent/token", "", `{"org_user_id":"ada"}`); status != 401 {
		t.Error(status, body)
	}
	if status, body := send(t, "POST", base+"/api/consent/token", token, `{"org_user_id":"grace"}`); status != 403 {
		t.Error(status, body)
	}
	if status, body := send(t, "POST", base+"/api/visitor/token", "", `{"identifier":"anonymous-7"}`); status != 200 || !strings.Contains(body, "refresh_token") {
		t.Error(status, body)
	}
	for _, body := range []string{`{"identifier":"ada"}`, `{"org_user_id":"anonymous-7","email":"ada@example.com"}`, `{}`} {
		if status, answer := send(t, "POST", base+"/api/visitor/token", "", body); status != 403 {
			t.Error(body, status, answer)
		}
	}
}

// An expired token is renewed once, and the call goes on: ContactsManager's by
// signing anew, an OIDC issuer's by the refresh token in a cookie.
func TestRenew(t *testing.T) {
	const secret = "an API secret of 32 bytes or more"
	idp, err := authtest.New("ES256")
	if err != nil {
		t.Fatal(err)
	}
	idp.URL = serve(t, idp)
	refreshes := 0
	tokens := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refreshes++
		if r.FormValue("refresh_token") != "refresh-1" {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
			return
		}
		access, _ := idp.Token(map[string]any{"sub": "ada"})
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"`+access+`","token_type":"Bearer","expires_in":300,"refresh_token":"refresh-2"}`)
	}))
	base := listen(t, "renew", "AUTH_ISSUER="+idp.URL, "AUTH_AUDIENCE="+idp.Audience, "TOKEN_URL="+tokens, "CLIENT_ID=c", "CLIENT_SECRET=s",
		"CM_API_KEY=k", "CM_API_SECRET="+secret, "CM_ORGANIZATION_ID=org-1")
	get := func(path, token, cookie string) (int, string, http.Header) {
		t.Helper()
		r, _ := http.NewRequest("GET", base+path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if cookie != "" {
			r.Header.Set("Cookie", "__Host-refresh="+cookie)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b), res.Header
	}
	past := time.Now().Add(-time.Hour).Unix()
	expired, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "org-1", "user_id": "ada", "exp": past}).SignedString([]byte(secret))
	status, body, header := get("/contacts", expired, "")
	if status != 200 || body != "hello ada\n" || header.Get("X-Access-Token") == "" {
		t.Error(status, body, header)
	}
	fresh, _ := idp.Token(map[string]any{"sub": "ada"})
	if status, body, header := get("/orders", fresh, ""); status != 200 || header.Get("X-Access-Token") != "" {
		t.Error(status, body, header)
	}
	old, _ := idp.Token(map[string]any{"sub": "ada", "exp": past})
	if status, _, _ := get("/orders", old, ""); status != 401 {
		t.Error("without the cookie:", status)
	}
	status, body, header = get("/orders", old, "refresh-1")
	if status != 200 || body != "hello ada\n" || header.Get("X-Access-Token") == "" || !strings.Contains(header.Get("Set-Cookie"), "__Host-refresh=refresh-2") {
		t.Error(status, body, header)
	}
	if status, _, _ := get("/orders", old, "refresh-9"); status != 401 {
		t.Error("with another cookie:", status)
	}
	if refreshes != 2 {
		t.Error(refreshes, "refreshes")
	}
}

func TestProtect(t *testing.T) {
	env, token := signIn(t, map[string]any{"sub": "ada", "scope": "orders:read"})
	base := listen(t, "protect", env...)
	if status, body := send(t, "GET", base+"/orders", token, ""); status != 200 || body != "orders of ada\n" {
		t.Error(status, body)
	}
	if status, body := send(t, "POST", base+"/orders", token, ""); status != 403 {
		t.Error(status, body)
	}
	if status, body := send(t, "GET", base+"/orders", "", ""); status != 401 {
		t.Error(status, body)
	}
}

func TestCallout(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKCS8PrivateKey(key)
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	published, err := redox.New(redox.Config{ClientID: "client", Key: oauth.Key{ID: "key-1", Signer: key}})
	if err != nil {
		t.Fatal(err)
	}
	vendor, err := providertest.NewRedox(providertest.RedoxConfig{ClientID: "client", JWKS: published.JWKS()})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(build(t, "callout"))
	cmd.Env = []string{"REDOX_BASE_URL=" + serve(t, vendor), "REDOX_CLIENT_ID=client", "REDOX_KEY_ID=key-1", "REDOX_PRIVATE_KEY_FILE=" + file}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "200 OK\n" {
		t.Errorf("%v: %s", err, out)
	}
}
