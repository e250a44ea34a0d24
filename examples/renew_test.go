package examples_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/bearerkit/bearerkit/internal/freeport"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// listen runs the program of ./name and returns where it listens.
func listen(t *testing.T, name string, env ...string) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + port
	cmd := exec.Command(build(t, name))
	cmd.Env, cmd.Stderr = append(env, "ADDR="+addr), os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
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
