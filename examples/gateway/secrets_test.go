package main

import (
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

// secretStage is a gateway with six planted secrets, before vendors that repeat
// all they are sent.
type secretStage struct {
	*record
	srv     *httptest.Server
	secrets map[string]string
	ada     string
	vendors map[string]*providertest.Fake
}

func newSecretStage(t *testing.T) *secretStage {
	t.Helper()
	vars, issuer, vendors := realVars(t)
	redis, password := startRedis(t), planted+"redis/+ pass"
	if out, err := exec.Command("redis-cli", "-u", redis, "config", "set", "requirepass", password).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	vars["STORE_TIMEOUT"] = "20s"
	vars["REDIS_URL"] = strings.Replace(redis, "redis://", "redis://:"+url.PathEscape(password)+"@", 1)
	vars["STORE_KEYS"] = storeKeys
	vars["CORS_ORIGINS"] = "https://app.example.com"
	vars["METRICS_ADDR"] = "127.0.0.1:0"
	s := &secretStage{record: &record{}, vendors: vendors, secrets: map[string]string{}}
	for name, base := range map[string]string{"redacto": "REDACTO_BASE_URL", "redox": "REDOX_BASE_URL", "kudo": "KUDO_BASE_URL"} {
		vendor := httptest.NewServer(s.repeating(name, vendors[name]))
		t.Cleanup(vendor.Close)
		vars[base] = vendor.URL
	}
	keyFile, err := os.ReadFile(vars["REDOX_PRIVATE_KEY_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(keyFile)
	maps.Copy(s.secrets, map[string]string{
		"CMS_API_KEY": planted + "cms", "CM_API_SECRET": vars["CM_API_SECRET"], "KUDO_ACCESS_KEY": vars["KUDO_ACCESS_KEY"],
		"KUDO_AUTH": vars["KUDO_AUTH"], "KUDO_SERVER": vars["KUDO_SERVER"], "REDIS_URL's password": password, "STORE_KEYS": storeKeys[51:],
		"Redox's private key": string(block.Bytes[len(block.Bytes)/2:][:48]), "Redox's key file": strings.Split(string(keyFile), "\n")[5],
	})
	g, srv, logs := start(t, vars)
	s.srv = srv
	t.Cleanup(func() { s.add("a late log", logs.String()) })
	if s.ada, err = issuer.Token(map[string]any{"sub": "ada"}); err != nil {
		t.Fatal(err)
	}
	s.secrets["the caller's bearer"] = s.ada
	s.secrets["the caller's signature"] = s.ada[strings.LastIndexByte(s.ada, '.')+1:]
	s.drive(t)
	s.add("log", logs.String())
	s.add("metrics", scrape(g))
	return s
}

// repeating is a vendor that puts all it was sent into its refusals. What it is
// sent and what it issues are secrets from then on.
func (s *secretStage) repeating(name string, vendor http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := httputil.DumpRequest(r, true)
		s.keep(name+"'s bearer", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		got := httptest.NewRecorder()
		if name == "redox" && r.URL.Path == "/v2/auth/token" {
			_, form, _ := strings.Cut(string(sent), "\r\n\r\n")
			q, _ := url.ParseQuery(form)
			s.keep("a client assertion", q.Get("client_assertion"))
		}
		vendor.ServeHTTP(got, r)
		v := object(got.Body.Bytes())
		detail, _ := v["detail"].(map[string]any)
		for _, token := range []any{v["token"], v["access_token"], detail["token"], detail["refresh_token"]} {
			if text, ok := token.(string); ok {
				s.keep(name+"'s token", text)
			}
		}
		maps.Copy(w.Header(), got.Header())
		if got.Code < 300 && v != nil || !strings.Contains(r.URL.Path, "token") && name != "kudo" {
			w.WriteHeader(got.Code) // the API's own answers are the caller's
			_, _ = w.Write(got.Body.Bytes())
			return
		}
		text, _ := json.Marshal(string(sent))
		for _, header := range []string{"X-Echo", "Server", "WWW-Authenticate", "Date", "Location", "Retry-After"} {
			w.Header().Set(header, string(text))
		}
		w.WriteHeader(got.Code)
		if got.Code < 300 {
			_, _ = w.Write(append([]byte("<html>"), sent...))
			return
		}
		_, _ = fmt.Fprintf(w, `{"error":%s,"error_description":%s,"message":%s,"detail":{"message":%s}}`, text, text, text, text)
	})
}

// keep makes a secret of value, under a name of its own.
func (s *secretStage) keep(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(value) >= 16 {
		s.secrets[fmt.Sprintf("%s %x", name, sha256.Sum256([]byte(value)))[:len(name)+8]] = value
	}
}

// ask makes a call and records the answer, but for the members that have to
// carry a token, which become secrets from here on.
func (s *secretStage) ask(t *testing.T, method, path, bearer, body string, header ...string) map[string]any {
	t.Helper()
	req, err := http.NewRequest(method, s.srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", "https://app.example.com")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.srv.Client().Do(req)
	if err != nil {
		s.add("an error of http.Client", err.Error())
		return nil
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	v := object(b)
	kept := string(b)
	if res.StatusCode == 200 && !strings.HasPrefix(path, "/fhir") && !strings.HasPrefix(path, "/endpoint") && !strings.HasPrefix(path, "/consent") {
		for _, name := range []string{"token", "refresh_token"} {
			if token, _ := v[name].(string); token != "" {
				s.keep(name+" of "+path, token)
				kept = strings.Replace(kept, token, "", 1)
			}
		}
	}
	s.add("answer of "+path, fmt.Sprint(method, res.StatusCode, res.Header, res.Trailer, kept))
	return v
}

// drive makes good and bad calls of every route while the vendors work, fail and
// repeat what they get.
func (s *secretStage) drive(t *testing.T) {
	t.Helper()
	text := func(path string) string { return `{"message":"` + path + `","error":"x"}` }
	faults := []providertest.Fault{{}, {Drop: true}, {Body: "<html>"}, {Body: `{"token":`}}
	for _, status := range []int{301, 400, 401, 403, 404, 409, 422, 429, 500, 503} {
		faults = append(faults, providertest.Fault{Status: status, Body: text("planted"), RetryAfter: "1"})
	}
	for i, fault := range faults {
		for _, v := range s.vendors {
			v.SetFault(fault)
		}
		user := fmt.Sprint("user-", i)
		pair := s.ask(t, "POST", "/api/consent/token", "", fmt.Sprintf(`{"org_user_id":%q}`, user))
		refresh, _ := pair["refresh_token"].(string)
		for _, token := range []string{refresh, fmt.Sprintf("unknown-%d", i), ""} {
			s.ask(t, "POST", "/api/consent/refresh-token", "", fmt.Sprintf(`{"refresh_token":%q}`, token))
		}
		s.ask(t, "POST", "/api/consent/token", "", fmt.Sprintf(`{"org_user_id":%q}`, user), "Cache-Control", "no-cache")
		s.ask(t, "POST", "/api/consent/create-user", s.ada, `{"name":"Ada"}`)
		s.ask(t, "POST", "/generate-token", "", `{"userId":"ada"}`)
		s.ask(t, "POST", "/generate-token", s.ada, `{"userId":"bob"}`)
		session, _ := s.ask(t, "POST", "/kudo/generate", "", fmt.Sprintf(`{"file":"file-%d"}`, i))["token"].(string)
		for _, token := range []string{session, sessionToken, "not one"} {
			s.ask(t, "GET", "/kudo/verify", "", "", "X-Api-Token", token)
		}
		s.ask(t, "POST", "/kudo/generate", "", `{"file":"f","auth":"mine"}`)
		for _, path := range []string{"/consent/notices", "/fhir/R4/Patient", "/endpoint", "/protected"} {
			for _, bearer := range []string{s.ada, s.ada + "x", ""} {
				s.ask(t, "POST", path, bearer, `{}`, "Cookie", "a=b", "X-CMS-API-KEY", "mine")
			}
		}
		for _, path := range []string{"/", "/livez", "/readyz", "/.well-known/jwks.json", "/nowhere", "/debug/vars", "/page/page_try.js", "/api/consent/token", "/demo/state"} {
			s.ask(t, "GET", path, "", "")
		}
		for _, path := range []string{"/api/consent/token", "/api/consent/refresh-token", "/generate-token", "/kudo/generate"} {
			for _, body := range []string{"", "[", `{"a":1,"a":2}`, `{"organisation_uuid":"../../admin"}`} {
				s.ask(t, "POST", path, "", body)
			}
		}
		for _, v := range s.vendors {
			v.RevokeAll()
		}
	}
}

// None of the planted secrets, and none of the tokens issued, comes out of the
// process in any form, but in the member of an answer that has to carry it.
func TestNoSecretComesOut(t *testing.T) {
	s := newSecretStage(t)
	kinds := map[string]int{}
	for name, secret := range s.secrets {
		if kinds[strings.TrimRight(name, "0123456789abcdef")]++; len(secret) < 16 {
			t.Errorf("%s is not planted: %d bytes", name, len(secret))
		}
	}
	t.Logf("%d secrets: %v", len(s.secrets), kinds)
	for _, want := range []string{"token of /api/consent/token ", "refresh_token of /api/consent/token ", "token of /kudo/generate ", "token of /generate-token ", "redacto's token ", "redox's token ", "a client assertion ", "redox's bearer ", "redacto's bearer "} {
		if kinds[want] == 0 {
			t.Errorf("there was no %s", want)
		}
	}
	if n := len(s.out); n < 19 || s.out["log"].Len() < 1000 {
		t.Errorf("%d places, %d bytes of log", n, s.out["log"].Len())
	}
	if found := s.find(s.secrets); len(found) > 0 {
		t.Errorf("%d leaks:\n%s", len(found), strings.Join(found, "\n"))
	}
}
