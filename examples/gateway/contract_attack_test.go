package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// talk opens a connection to srv and writes raw.
func talk(t *testing.T, srv *httptest.Server, raw string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// The vendor's token endpoints cannot be reached through the proxy, however
// their path is written.
func TestTokenEndpointsAreOutOfReach(t *testing.T) {
	g, srv, _ := start(t, nil)
	ada := demoBearer(t, srv, "ada")
	call(t, srv, "GET", "/consent/notices", ada, "") // the proxy has its token
	before := g.demo.redacto.Stats()
	const to = "/consent/public/organisations/6b1c4a0e-7a51-4c0f-9a3e-2f5d8e1b7c10/workspaces/0d9f2b34-51c8-4e7a-8f60-a1b2c3d4e5f6/"
	for _, path := range []string{
		"tokens/generate", "tokens", "TOKENS/refresh", "tokens;v=1/generate", "tokens;/generate", "tokens%20/generate", "%20tokens/x", "tokens%09/x",
		"tok%65ns/generate", "tokens%3Bx/generate", "x/../tokens/generate", "./tokens/generate", "/tokens/generate", "tokens%2Fgenerate", "x;y/tokens;z/refresh",
	} {
		_, r := talk(t, srv, "POST "+to+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+ada+"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 404 && res.StatusCode != 307 && res.StatusCode != 301 { // ServeMux cleans a path by a redirect
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
	}
	if after := g.demo.redacto.Stats(); after.Generates != before.Generates || after.Refreshes != before.Refreshes {
		t.Errorf("the token endpoints were reached: %+v, then %+v", before, after)
	}
}

// A trusted proxy is one in whichever form its address is written, and only
// then does X-Forwarded-For count.
func TestAddressesOfCallers(t *testing.T) {
	for _, c := range []struct{ trusted, peer, forwarded, want string }{
		{"", "192.0.2.1:99", "203.0.113.7", "192.0.2.1"},
		{"10.0.0.0/8", "192.0.2.1:99", "203.0.113.7", "192.0.2.1"},
		{"10.0.0.0/8", "10.1.2.3:99", "203.0.113.7", "203.0.113.7"},
		{"10.0.0.0/8", "[::ffff:10.1.2.3]:99", "203.0.113.7", "203.0.113.7"},
		{"::ffff:10.0.0.0/104", "10.1.2.3:99", "203.0.113.7", "203.0.113.7"},
		{"::ffff:10.1.2.3", "10.1.2.3:99", "203.0.113.7", "203.0.113.7"},
		{"10.1.2.3", "10.1.2.3:99", "::ffff:203.0.113.7", "203.0.113.7"},
		{"10.0.0.0/8", "10.1.2.3:99", "198.51.100.1, 203.0.113.7, 10.9.9.9", "203.0.113.7"},
		{"10.0.0.0/8", "10.1.2.3:99", "10.4.4.4,10.5.5.5", "10.4.4.4"},
		{"10.0.0.0/8", "10.1.2.3:99", "198.51.100.1, garbage", "10.1.2.3"},
		{"10.0.0.0/8", "10.1.2.3:99", "", "10.1.2.3"},
		{"10.0.0.0/8", "10.1.2.3:99", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"fe80::/10", "[fe80::1%eth0]:99", "203.0.113.7", "203.0.113.7"},
		{"", "[fe80::1%eth0]:99", "", "fe80::/64"},
		{"", "[::ffff:192.0.2.1]:99", "", "192.0.2.1"},
		{"0.0.0.0/0,::/0", "192.0.2.1:99", "203.0.113.7", "203.0.113.7"},
	} {
		cfg, err := readConfig(func(n string) string { return map[string]string{"TRUSTED_PROXIES": c.trusted}[n] }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/", nil)
		r.RemoteAddr = c.peer
		r.Header.Set("X-Forwarded-For", c.forwarded)
		if got := cfg.address(r); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if p, _ := netip.ParsePrefix("::ffff:10.0.0.0/8"); p.IsValid() {
		_, err := readConfig(func(n string) string { return map[string]string{"TRUSTED_PROXIES": p.String()}[n] }, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Error("a prefix that takes in more than mapped addresses passes for one of IPv4")
		}
	}
}

// A caller that sends its body a byte now and then does not hold an endpoint,
// also not one that has refused it already.
func TestSlowBodiesEnd(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	c, err := readConfig(func(string) string { return "" }, log)
	if err != nil {
		t.Fatal(err)
	}
	c.bodyTime = 100 * time.Millisecond
	_, srv := serveConfig(t, c, log)
	ada := demoBearer(t, srv, "ada")
	post := func(path, contentType, bearer string) (net.Conn, *bufio.Reader) {
		return talk(t, srv, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+bearer+"\r\nContent-Type: "+contentType+"\r\nContent-Length: 100\r\n\r\n{")
	}
	for _, path := range []string{"/api/consent/token", "/api/consent/refresh-token", "/generate-token", "/kudo/generate", "/api/consent/create-user", "/demo/token", "/livez", "/protected", "/nowhere"} {
		for _, contentType := range []string{"application/json", "text/plain"} {
			_, r := post(path, contentType, ada)
			if res, err := http.ReadResponse(r, nil); err != nil || !res.Close {
				t.Errorf("%s: %v %v", path, res, err)
			}
		}
	}
	_, r := post("/endpoint", "text/plain", "nobody")
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 401 {
		t.Errorf("a slow upload by nobody: %v %v", res, err)
	}
	conn, r := post("/endpoint", "text/plain", ada)
	_ = conn.SetReadDeadline(time.Now().Add(3 * c.bodyTime))
	if _, err := r.Peek(1); err == nil {
		t.Error("a slow upload by a known caller was cut off")
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(conn, strings.Repeat("x", 99))
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 200 {
		t.Errorf("a slow upload: %v %v", res, err)
	}
}

// create-user keeps the rules for bodies that every endpoint has.
func TestCreateUserBodies(t *testing.T) {
	_, srv, _ := start(t, nil)
	ada := demoBearer(t, srv, "ada")
	for _, c := range []struct {
		contentType, body string
		status            int
		code              string
	}{
		{"application/json; charset=utf-8", `{"name":"Ada"}`, 201, ""},
		{"", ``, 415, "unsupported_media_type"},
		{"application/json", ``, 400, "invalid_json"},
		{"application/json", `{}`, 200, ""},
		{"text/plain", `{}`, 415, "unsupported_media_type"},
		{"application/x-www-form-urlencoded", `name=Ada`, 415, "unsupported_media_type"},
		{"application/json", `{"name":"` + strings.Repeat("x", 16<<10) + `"}`, 413, "body_too_large"},
		{"application/json", `{} {}`, 400, "invalid_json"},
		{"application/json", `[]`, 400, "invalid_json"},
		{"application/json", "\ufeff{}", 400, "invalid_json"},
		{"application/json", `{"name":7}`, 400, "invalid_field"},
		{"application/json", `{"org_user_id":"bob"}`, 403, "identity_mismatch"},
		{"application/json", `{"ORG_USER_ID":"bob"}`, 200, ""}, // names match exactly: it is about ada
	} {
		req, _ := http.NewRequest("POST", srv.URL+"/api/consent/create-user", strings.NewReader(c.body))
		if c.contentType != "" {
			req.Header.Set("Content-Type", c.contentType)
		}
		req.Header.Set("Authorization", "Bearer "+ada)
		status, header, v := do(t, srv, req)
		code, _ := v["code"].(string)
		if status != c.status || code != c.code {
			t.Errorf("%s %.40s: %d %q, want %d %q", c.contentType, c.body, status, code, c.status, c.code)
		}
		if header.Get("Cache-Control") != "no-store" {
			t.Errorf("%.40s: Cache-Control %q", c.body, header.Get("Cache-Control"))
		}
	}
}

// do makes one call.
func do(t *testing.T, srv *httptest.Server, req *http.Request) (int, http.Header, map[string]any) {
	t.Helper()
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, object(b)
}

// A file that holds a secret may be replaced at any time, under any load.
func TestSecretFilesUnderLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	write := func(s string) {
		next := file + ".next"
		if err := os.WriteFile(next, []byte(s), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Rename(next, file); err != nil {
			t.Error(err)
		}
	}
	write("value-0")
	var logs bytes.Buffer
	e := &env{get: func(n string) string { return map[string]string{"KEY_FILE": file}[n] }, log: slog.New(slog.NewTextHandler(&logs, nil))}
	s := e.secret("KEY")
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer stop()
		for i := range 300 {
			write(fmt.Sprintf("value-%d", i))
		}
	}()
	together(8, func(int) {
		for ctx.Err() == nil {
			if v := s.value(); !strings.HasPrefix(v, "value-") {
				t.Errorf("value %q", v)
				return
			}
		}
	})
	if v := s.value(); v != "value-299" {
		t.Errorf("the last value is %q", v)
	}
	for name, spoil := range map[string]func() error{
		"empty": func() error { return os.WriteFile(file, []byte(" \n"), 0o600) },
		"gone":  func() error { return os.Remove(file) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if v := s.value(); v != "value-299" {
			t.Errorf("%s: %q", name, v)
		}
	}
	if text := logs.String(); !strings.Contains(text, "KEY_FILE") || strings.Contains(text, "value-") {
		t.Errorf("log: %s", text)
	}
}
