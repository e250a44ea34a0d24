package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

// tokenRoutes hand out tokens; each has a good call with a user of its own.
var tokenRoutes = []struct {
	vendor, path string
	good         func(i int) string
}{
	{"redacto", "/api/consent/token", func(i int) string { return fmt.Sprintf(`{"org_user_id":"user-%d"}`, i) }},
	{"redacto", "/api/consent/refresh-token", func(i int) string { return fmt.Sprintf(`{"refresh_token":"refresh-%d"}`, i) }},
	{"", "/generate-token", func(i int) string { return fmt.Sprintf(`{"userId":"user-%d"}`, i) }},
	{"kudo", "/kudo/generate", func(i int) string { return fmt.Sprintf(`{"file":"file-%d"}`, i) }},
}

func TestBadInputPerRoute(t *testing.T) {
	vars, _, _ := realVars(t)
	_, srv, _ := start(t, vars)
	for _, route := range tokenRoutes {
		for _, c := range []struct {
			name, method, contentType, query, body string
			status                                 int
			code                                   string
		}{
			{"GET", "GET", "", "", "", 405, "method_not_allowed"},
			{"HEAD", "HEAD", "", "", "", 405, ""},
			{"OPTIONS", "OPTIONS", "", "", "", 405, "method_not_allowed"},
			{"DELETE with a body", "DELETE", "application/json", "", `{}`, 405, "method_not_allowed"},
			{"TRACE", "TRACE", "", "", "", 405, "method_not_allowed"},
			{"form", "POST", "application/x-www-form-urlencoded", "", "userId=ada", 415, "unsupported_media_type"},
			{"no type", "POST", "", "", "{}", 415, "unsupported_media_type"},
			{"type with a tail", "POST", "application/json, text/plain", "", "{}", 415, "unsupported_media_type"},
			{"json in the charset", "POST", "text/plain; charset=application/json", "", "{}", 415, "unsupported_media_type"},
			{"large", "POST", "application/json", "", `{"x":"` + strings.Repeat("x", 16<<10) + `"}`, 413, "body_too_large"},
			{"empty", "POST", "application/json", "", "", 400, "invalid_json"},
			{"broken", "POST", "application/json", "", `{"userId":`, 400, "invalid_json"},
			{"array", "POST", "application/json", "", `[]`, 400, "invalid_json"},
			{"twice", "POST", "application/json", "", `{"file":"a","file":"b"}`, 400, "invalid_json"},
			{"byte order mark", "POST", "application/json", "", "\ufeff{}", 400, "invalid_json"},
			{"UTF-16", "POST", "application/json; charset=utf-16", "", "\xff\xfe{\x00}\x00", 400, "invalid_json"},
			{"gzip", "POST", "application/json", "", "\x1f\x8b\x08\x00\x00", 400, "invalid_json"},
			{"query", "POST", "application/json", "?a=%zz", `{}`, 400, "invalid_field"},
		} {
			req, _ := http.NewRequest(c.method, srv.URL+route.path+c.query, strings.NewReader(c.body))
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			status, header, v := do(t, srv, req)
			if code, _ := v["code"].(string); status != c.status || code != c.code {
				t.Errorf("%s, %s: %d %q, want %d %q", route.path, c.name, status, code, c.status, c.code)
			}
			if header.Get("Cache-Control") != "no-store" || (status == 405) != (header.Get("Allow") == "POST") {
				t.Errorf("%s, %s: %v", route.path, c.name, header)
			}
		}
	}
}

// What a vendor does wrong has one answer, whichever route it goes through, and
// none of the vendor's words.
func TestVendorFaultsPerRoute(t *testing.T) {
	vars, _, vendors := realVars(t)
	_, srv, logs := start(t, vars)
	const words = "the vendor's own words"
	n := 0
	for _, route := range tokenRoutes {
		if route.vendor == "" {
			continue
		}
		for _, c := range []struct {
			f       providertest.Fault
			status  int
			code    string
			refresh string // where refresh differs
		}{
			{providertest.Fault{Status: 400, Body: `{"message":"` + words + `"}`}, 422, "upstream_rejected_input", "refresh_rejected"},
			{providertest.Fault{Status: 422, Body: `{"message":"` + words + `"}`}, 422, "upstream_rejected_input", "refresh_rejected"},
			{providertest.Fault{Status: 401, Body: words}, 502, "upstream_credentials_rejected", "refresh_rejected"},
			{providertest.Fault{Status: 403, Body: words}, 502, "upstream_credentials_rejected", "refresh_rejected"},
			{providertest.Fault{Status: 404, Body: `{"message":"` + words + `"}`}, 502, "upstream_error", "refresh_rejected"},
			{providertest.Fault{Status: 429, RetryAfter: "7", Body: words}, 503, "upstream_busy", ""},
			{providertest.Fault{Status: 503, RetryAfter: "7", Body: words}, 503, "upstream_busy", ""},
			{providertest.Fault{Status: 500, Body: "<html>" + words}, 502, "upstream_error", ""},
			{providertest.Fault{Body: "<html>" + words}, 502, "upstream_bad_response", ""},
			{providertest.Fault{Body: `{"detail":"` + words}, 502, "upstream_bad_response", ""},
			{providertest.Fault{Body: `{"detail":{"words":"` + words + `"}}`}, 502, "upstream_bad_response", ""},
			{providertest.Fault{Body: `{"token":"` + strings.Repeat("x", 1<<20) + `"}`}, 502, "upstream_bad_response", ""},
			{providertest.Fault{Drop: true}, 502, "upstream_unreachable", ""},
		} {
			n++
			vendors[route.vendor].SetFault(c.f)
			status, header, v := call(t, srv, "POST", route.path, "", route.good(n))
			want, wantStatus := c.code, c.status
			if strings.Contains(route.path, "refresh") && c.refresh != "" {
				want, wantStatus = c.refresh, 401
			}
			if status != wantStatus || v["code"] != want {
				t.Errorf("%s, %.60v: %d %v, want %d %s", route.path, c.f, status, v["code"], wantStatus, want)
			}
			if (status == 503) != (header.Get("Retry-After") == "7") || (status == 401) != (header.Get("WWW-Authenticate") != "") {
				t.Errorf("%s, %.60v: %v", route.path, c.f, header)
			}
			if text := fmt.Sprint(v, header); strings.Contains(text, words) || strings.Contains(text, "127.0.0.1") || strings.Contains(text, "goroutine") {
				t.Errorf("%s, %.60v: %s", route.path, c.f, text)
			}
		}
		vendors[route.vendor].SetFault(providertest.Fault{})
	}
	if strings.Contains(logs.String(), words) {
		t.Error("the vendor's words are in the log")
	}
}

// CORS grants go to exactly the listed origins, on every answer, errors and
// proxied ones too; and nobody's budget is spent by preflights.
func TestCrossOriginCalls(t *testing.T) {
	const app = "https://app.example.com"
	_, srv, _ := start(t, map[string]string{"CORS_ORIGINS": app, "RATE_LIMIT": "40/1000h"})
	ada := demoBearer(t, srv, "ada")
	ask := func(method, path, origin, bearer string, more ...string) (int, http.Header) {
		req, _ := http.NewRequest(method, srv.URL+path, nil)
		req.Header.Set("Origin", origin)
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		for i := 0; i+1 < len(more); i += 2 {
			req.Header.Set(more[i], more[i+1])
		}
		status, header, _ := do(t, srv, req)
		return status, header
	}
	for path, want := range map[string]int{"/protected": 401, "/api/consent/token": 415, "/nowhere": 404, "/endpoint": 401, "/consent/x": 401} {
		if status, h := ask("POST", path, app, ""); status != want || h.Get("Access-Control-Allow-Origin") != app || h.Get("Access-Control-Allow-Credentials") != "true" ||
			!strings.Contains(strings.Join(h["Vary"], ","), "Origin") || !strings.Contains(h.Get("Access-Control-Expose-Headers"), "Retry-After") {
			t.Errorf("%s: %d %v", path, status, h)
		}
	}
	if status, h := ask("GET", "/fhir/R4/Patient", app, ada); status != 200 || len(h["Access-Control-Allow-Origin"]) != 1 {
		t.Errorf("proxied: %d %v", status, h)
	}
	for _, origin := range []string{"https://evil.example", "null", "http://app.example.com", "https://app.example.com.evil.example", "https://app.example.com:8443", "https://evilapp.example.com", app + "/"} {
		for range 10 { // more than the budget: a preflight costs nothing
			if _, h := ask("OPTIONS", "/api/consent/token", origin, "", "Access-Control-Request-Method", "POST"); h.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("preflight from %s: %v", origin, h)
			}
		}
		if _, h := ask("POST", "/api/consent/token", origin, ""); h.Get("Access-Control-Allow-Origin") != "" || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("call from %s: %v", origin, h)
		}
	}
	if status, h := ask("OPTIONS", "/api/consent/token", app, "", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type"); status > 299 || h.Get("Access-Control-Allow-Origin") != app {
		t.Errorf("preflight: %d %v", status, h)
	}
}

// A WebSocket goes through the gateway's proxy and its renewing transport; the
// 401 of a token that died early is not seen.
func TestWebSocketThroughTheGateway(t *testing.T) {
	vars, _, bearer := otherVars(t)
	tokens := 0
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/auth/token" {
			tokens++
			_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":300}`, tokens)
			return
		}
		if r.Header.Get("Authorization") != "Bearer token-2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Header.Get("Upgrade") != "websocket" {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = rw.WriteString(strings.ToUpper(line))
		_ = rw.Flush()
	}))
	t.Cleanup(vendor.Close)
	vars["REDOX_BASE_URL"] = vendor.URL
	_, srv, _ := start(t, vars)
	connect := func(protocol, bearer string) (net.Conn, *bufio.Reader, *http.Response) {
		conn, r := talk(t, srv, "GET /fhir/ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+bearer+"\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, r, res
	}
	if _, _, res := connect("websocket", "nobody"); res.StatusCode != 401 || tokens != 0 {
		t.Errorf("a stranger: %d, %d tokens", res.StatusCode, tokens)
	}
	ada := bearer("ada")
	conn, r, res := connect("websocket", ada)
	if res.StatusCode != 101 || tokens != 2 {
		t.Fatalf("status %d, %d tokens", res.StatusCode, tokens)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if line, err := r.ReadString('\n'); line != "HELLO\n" {
		t.Errorf("%q %v", line, err)
	}
	if _, _, res := connect("h2c", ada); res.StatusCode != 426 {
		t.Errorf("h2c: %d", res.StatusCode)
	}
}

// Expect, DELETE with a body and an upload too large to be kept go through the
// proxy; the last one fails once if its token died, and then works.
func TestUploadsThroughTheGateway(t *testing.T) {
	g, srv, _ := start(t, nil)
	ada := demoBearer(t, srv, "ada")
	_, r := talk(t, srv, "DELETE /fhir/R4/Patient/1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+ada+"\r\nContent-Length: 5\r\n\r\nhello")
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 200 {
		t.Fatalf("DELETE: %v %v", res, err)
	}
	g.demo.redox.RevokeAll()
	big := func() int {
		req, _ := http.NewRequest("POST", srv.URL+"/endpoint", struct{ io.Reader }{io.LimitReader(zeros{}, 5<<20)})
		req.Header.Set("Authorization", "Bearer "+ada)
		status, _, v := do(t, srv, req)
		if status == 200 && v["body_bytes"] != float64(5<<20) {
			t.Errorf("%v bytes", v["body_bytes"])
		}
		return status
	}
	if first := big(); first != 200 && first != 502 {
		t.Errorf("status %d", first)
	}
	if second := big(); second != 200 {
		t.Errorf("status %d after the renewal", second)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
