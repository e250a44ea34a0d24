package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

// other is a server of all vendors at once that shares nothing with
// providertest: it answers what vendors.md quotes and keeps what it was sent.
type other struct {
	mu   sync.Mutex
	seen map[string]*http.Request // by path
	body map[string]string
}

const sessionToken = "bbf18f21-3d0d-4a4c-b650-9c14d4075ce0"

func (o *other) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	o.mu.Lock()
	o.seen[r.URL.Path], o.body[r.URL.Path] = r, string(b)
	o.mu.Unlock()
	inAnHour := time.Now().Add(time.Hour)
	switch consent := "/consent/organisations/" + org + "/workspaces/" + workspace; r.URL.Path {
	case consent + "/tokens/generate", consent + "/tokens/refresh":
		_, _ = fmt.Fprintf(w, `{"code":200,"status":"OK","detail":{"token":"redacto-%s","refresh_token":"refresh-%s","expires_at":%q}}`,
			filepath.Base(r.URL.Path), filepath.Base(r.URL.Path), inAnHour.UTC().Format(time.RFC3339))
	case consent + "/consent-ledger/consent-users/":
		w.WriteHeader(201)
		_, _ = fmt.Fprintf(w, `{"detail":{"uuid":%q,"organisation_uuid":%q,"workspace_uuid":%q,"org_user_id":"ada","org_user_id_type":"UCID"}}`, sessionToken, org, workspace)
	case "/v2/auth/token":
		_, _ = io.WriteString(w, `{"access_token":"redox-token","token_type":"Bearer","expires_in":300}`)
	case "/generate":
		_, _ = fmt.Fprintf(w, `{"token":%q,"expiration_time":%d}`, sessionToken, inAnHour.Unix())
	case "/verify":
		_, _ = io.WriteString(w, `{"file":"a.dwg","userId":"ada","param":"value","auth":"`+planted+`auth","server":"x"}`)
	default:
		w.Header().Set("Set-Cookie", "vendor=1")
		_, _ = fmt.Fprintf(w, `{"echo":%q}`, b)
	}
}

// expect is one request as a vendor's pages show it. A header of "" is absent.
func (o *other) expect(t *testing.T, method, path, body string, header map[string]string) *http.Request {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.seen[path]
	if r == nil {
		t.Errorf("nothing came to %s, but to %v", path, slices.Sorted(maps.Keys(o.seen)))
		return nil
	}
	if r.Method != method || body != "" && o.body[path] != body {
		t.Errorf("%s %s %s, want %s %s", r.Method, path, o.body[path], method, body)
	}
	for name, want := range header {
		if got := strings.Join(r.Header[http.CanonicalHeaderKey(name)], "|"); got != want {
			t.Errorf("%s: %s is %q, want %q", path, name, got, want)
		}
	}
	return r
}

// otherVars points the gateway at one other server.
func otherVars(t *testing.T) (map[string]string, *other, func(sub string) string) {
	t.Helper()
	vars, issuer, _ := realVars(t)
	o := &other{seen: map[string]*http.Request{}, body: map[string]string{}}
	s := httptest.NewServer(o)
	t.Cleanup(s.Close)
	for _, name := range []string{"REDACTO_BASE_URL", "REDOX_BASE_URL", "KUDO_BASE_URL"} {
		vars[name] = s.URL
	}
	return vars, o, func(sub string) string {
		token, err := issuer.Token(map[string]any{"sub": sub})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
}

// Each route sends the vendor what its pages say, byte for byte.
func TestRequestsOnTheWire(t *testing.T) {
	vars, o, bearer := otherVars(t)
	_, srv, _ := start(t, vars)
	ada := bearer("ada")
	ok := func(status int, method, path, bearer, body string) map[string]any {
		t.Helper()
		got, _, v := call(t, srv, method, path, bearer, body)
		if got != status {
			t.Errorf("%s %s: %d %v", method, path, got, v)
		}
		return v
	}
	const consent = "/consent/organisations/" + org + "/workspaces/" + workspace
	cms := map[string]string{"X-CMS-API-KEY": planted + "cms", "Content-Type": "application/json", "Authorization": "", "Cookie": ""}

	v := ok(200, "POST", "/api/consent/token", "", `{"email":"a@example.com","org_user_id":"ada","mobile":null,"expires_in_days":3650}`)
	o.expect(t, "POST", consent+"/tokens/generate", `{"email":"a@example.com","org_user_id":"ada","expires_in_days":1}`, cms)
	if v["token"] != "redacto-generate" || v["refresh_token"] != "refresh-generate" || v["token_type"] != "Bearer" {
		t.Errorf("redacto: %v", v)
	}
	v = ok(200, "POST", "/api/consent/refresh-token", "", fmt.Sprintf(`{"refresh_token":"refresh-generate","organisation_uuid":%q,"workspace_uuid":%q}`, strings.ToUpper(org), workspace))
	o.expect(t, "POST", consent+"/tokens/refresh", `{"refresh_token":"refresh-generate"}`, cms)
	if v["token"] != "redacto-refresh" {
		t.Errorf("redacto: %v", v)
	}
	ok(201, "POST", "/api/consent/create-user", ada, `{"name":"Ada"}`)
	o.expect(t, "POST", consent+"/consent-ledger/consent-users/", `{"org_user_id":"ada","name":"Ada"}`, cms)
	ok(200, "PUT", "/consent/x%20y?q=1", bearer("eve"), `{"a":1}`)
	if r := o.expect(t, "PUT", "/consent/x y", `{"a":1}`, map[string]string{"Authorization": "Bearer redacto-generate", "X-CMS-API-KEY": "", "X-Forwarded-For": ""}); r != nil && r.RequestURI != "/consent/x%20y?q=1" {
		t.Errorf("target %s", r.RequestURI)
	}

	v = ok(200, "POST", "/kudo/generate", "", `{"file":"a.dwg","userId":"ada","locale":"de","n":12345678901234567890}`)
	o.expect(t, "POST", "/generate", fmt.Sprintf(`{"auth":%q,"file":"a.dwg","locale":"de","n":12345678901234567890,"server":%q,"userId":"ada"}`, vars["KUDO_AUTH"], vars["KUDO_SERVER"]),
		map[string]string{"X-Api-Key": planted + "kudo", "Content-Type": "application/json"})
	if v["token"] != sessionToken || len(v) != 2 {
		t.Errorf("kudo: %v", v)
	}
	req, _ := http.NewRequest("GET", srv.URL+"/kudo/verify", nil)
	req.Header.Set("X-Api-Token", sessionToken)
	if status, _, v := do(t, srv, req); status != 200 || !reflect.DeepEqual(v, map[string]any{"file": "a.dwg", "userId": "ada", "param": "value"}) {
		t.Errorf("kudo verify: %d %v", status, v)
	}
	o.expect(t, "GET", "/verify", "", map[string]string{"X-Api-Token": sessionToken, "Content-Type": "application/json", "X-Api-Key": ""})

	ok(200, "POST", "/fhir/R4/redox-fhir-sandbox/Development/Patient/_search", ada, `{"x":1}`)
	o.expect(t, "POST", "/fhir/R4/redox-fhir-sandbox/Development/Patient/_search", `{"x":1}`, map[string]string{"Authorization": "Bearer redox-token", "Redox-Source-Id": "source-1"})
	o.expect(t, "POST", "/v2/auth/token", "", map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Authorization": ""})
	checkAssertion(t, o.body["/v2/auth/token"], vars["REDOX_BASE_URL"])
}

// part decodes one part of a JWT.
func part(t *testing.T, token string, i int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %d parts", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[i])
	if err != nil {
		t.Fatal(err)
	}
	return object(b)
}

func checkAssertion(t *testing.T, form, base string) {
	t.Helper()
	q, err := url.ParseQuery(form)
	if err != nil {
		t.Fatal(err)
	}
	assertion := q.Get("client_assertion")
	q.Del("client_assertion")
	if want := (url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}); !reflect.DeepEqual(q, want) {
		t.Errorf("form %v", q)
	}
	if h := part(t, assertion, 0); !reflect.DeepEqual(h, map[string]any{"alg": "RS384", "kid": "key-1", "typ": "JWT"}) {
		t.Errorf("header %v", h)
	}
	c := part(t, assertion, 1)
	iat, exp := c["iat"].(float64), c["exp"].(float64)
	if c["iss"] != "client-1" || c["sub"] != "client-1" || c["aud"] != base+"/v2/auth/token" || c["jti"] == "" || len(c) != 6 ||
		exp-iat < 60 || exp-iat > 300 || time.Since(time.Unix(int64(iat), 0)).Abs() > time.Minute {
		t.Errorf("claims %v", c)
	}
}

// A ContactsManager token has the claims of the vendor's Python SDK.
func TestContactsManagerClaims(t *testing.T) {
	vars, _, bearer := otherVars(t)
	_, srv, _ := start(t, vars)
	status, _, v := call(t, srv, "POST", "/generate-token", bearer("ada"), `{"deviceInfo":{"deviceType":"phone"}}`)
	if status != 200 || v["message"] != "Token generated for user ada" || v["success"] != true {
		t.Fatalf("%d %v", status, v)
	}
	token := v["token"].(string)
	if h := part(t, token, 0); !reflect.DeepEqual(h, map[string]any{"alg": "HS256", "typ": "JWT"}) {
		t.Errorf("header %v", h)
	}
	c := part(t, token, 1)
	want := map[string]any{
		"iss": "org-1", "org_id": "org-1", "api_key": "cm-key", "user_id": "ada", "device_info": map[string]any{"deviceType": "phone"},
		"jti": c["jti"], "iat": c["iat"], "exp": v["expiresAt"],
	}
	if !reflect.DeepEqual(c, want) || c["exp"].(float64)-c["iat"].(float64) != 86400 {
		t.Errorf("claims %v", c)
	}
}

// The documented frontends' calls, as package handlers keeps them, get answers
// of the same shape from the assembled gateway.
func TestDocumentedCallsAtTheGateway(t *testing.T) {
	vars, _, _ := otherVars(t)
	vars["REDACTO_TENANTS"] = "11111111-1111-4111-8111-111111111111:22222222-2222-4222-8222-222222222222"
	vendor, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{vars["REDACTO_TENANTS"]: planted + "cms"}, Prefixes: []string{"/consent"}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(vendor)
	t.Cleanup(s.Close)
	vars["REDACTO_BASE_URL"] = s.URL
	g, _, _ := start(t, vars)
	files, _ := filepath.Glob("../../handlers/testdata/golden/*.request")
	if len(files) < 15 {
		t.Fatalf("%d requests", len(files))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".request")
		if strings.HasSuffix(name, "-refresh") || name == "kudo-verify-wrong" {
			continue // their tokens are documentation's
		}
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			head, body, _ := bytes.Cut(raw, []byte("\n\n"))
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(head) + "\n\n")))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, "kudo") {
				r.URL.Path = "/kudo" + r.URL.Path
			}
			r.RemoteAddr = "192.0.2.1:1"
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(bytes.TrimSpace(body))), int64(len(bytes.TrimSpace(body)))
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			want := golden(t, strings.TrimSuffix(file, ".request")+".response")
			if got := shape(w.Result()); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func golden(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return shape(res)
}

// shape is an answer without what differs from call to call: its status and
// header, and the members of its body with their types.
func shape(res *http.Response) string {
	b, _ := io.ReadAll(res.Body)
	res.Header.Del("Content-Length")
	members := map[string]string{}
	for name, v := range object(b) {
		members[name] = fmt.Sprintf("%T", v)
		if name == "code" || name == "message" || name == "error" {
			members[name] = fmt.Sprint(v)
		}
	}
	j, _ := json.Marshal(members)
	return fmt.Sprintf("%d\n%v\n%s", res.StatusCode, res.Header, j)
}
