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
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/freeport"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// application keeps the last request that reached it.
type application struct {
	mu   sync.Mutex
	last *http.Request
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = r
	_, _ = io.WriteString(w, "welcome")
}

// reached returns the last request and forgets it.
func (a *application) reached() *http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.last
	a.last = nil
	return r
}

// site is a real proxy between a client and the application.
type site struct {
	address string
	idp     *authtest.Issuer
	app     *application
	asked   atomic.Pointer[http.Request] // the last subrequest
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find()
	require.NoError(t, err)
	return "127.0.0.1:" + port
}

// start runs proxy with its file of this directory, the addresses replaced.
func start(t *testing.T, proxy string) *site {
	t.Helper()
	idp, err := authtest.New("ES256")
	require.NoError(t, err)
	auth, err := middleware.New(middleware.Config{Logger: slog.New(slog.DiscardHandler), Issuers: []middleware.Issuer{{
		Issuer: idp.URL, Audiences: []string{idp.Audience}, Algorithms: []string{"ES256"}, Discover: true, HTTPClient: idp.Client(),
	}}})
	require.NoError(t, err)
	h, err := handler(auth, proxy)
	require.NoError(t, err)
	mux := http.NewServeMux()
	s := &site{address: freePort(t), idp: idp, app: &application{}}
	mux.Handle("GET /forward-auth", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Store(r.Clone(context.Background()))
		h.ServeHTTP(w, r)
	}))
	checks := httptest.NewServer(mux)
	t.Cleanup(checks.Close)
	backend := httptest.NewServer(s.app)
	t.Cleanup(backend.Close)

	file := map[string]string{"nginx": "nginx.conf", "caddy": "Caddyfile"}[proxy]
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	config := strings.NewReplacer(
		"127.0.0.1:9001", checks.Listener.Addr().String(), "127.0.0.1:9002", backend.Listener.Addr().String(),
		":8080 {", "http://"+s.address+" {",
	).Replace(string(text))
	s.run(t, proxy, config)
	return s
}

func (s *site) run(t *testing.T, proxy, config string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "config")
	var cmd *exec.Cmd
	switch proxy {
	case "nginx":
		config = fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events {}
http {
    access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
    server { listen %[2]s;
%[3]s
    }
}`, dir, s.address, config)
		cmd = exec.Command("nginx", "-p", dir, "-c", path)
	case "caddy":
		config = "{\n\tadmin off\n\tauto_https off\n}\n" + config
		cmd = exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", path)
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	}
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", proxy, err, out.String())
		default:
			require.True(t, time.Now().Before(deadline), "%s does not listen", proxy)
		}
	}
}

// send sends a request as it is written; net/http would not send some of these
// names as they are.
func (s *site) send(t *testing.T, lines ...string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, strings.Join(append(lines, "Host: "+s.address, "Connection: close", "", ""), "\r\n"))
	require.NoError(t, err)
	b, err := io.ReadAll(conn)
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// identities returns every header of r that some server takes for one of the
// identity headers, as "name=value".
func identities(r *http.Request) (found []string) {
	for name, values := range r.Header {
		folded := strings.ToLower(strings.Map(func(c rune) rune {
			if c == '_' || c == '.' || c == '~' {
				return '-'
			}
			return c
		}, name))
		if folded == "x-auth-subject" || folded == "x-auth-issuer" || folded == "x-auth-scopes" {
			for _, v := range values {
				found = append(found, name+"="+v)
			}
		}
	}
	return found
}

func TestProxiesPassOnWhoTheCallerIs(t *testing.T) {
	for _, proxy := range []string{"nginx", "caddy"} {
		t.Run(proxy, func(t *testing.T) {
			s := start(t, proxy)
			good, err := s.idp.Token(map[string]any{"sub": "ada, née byron", "scope": "read write"})
			require.NoError(t, err)
			res := s.send(t, "POST /orders?page=2 HTTP/1.1", "Authorization: Bearer "+good, "Content-Length: 0")
			require.Equal(t, 200, res.StatusCode)
			r := s.app.reached()
			require.NotNil(t, r)
			require.Equal(t, "POST /orders?page=2", r.Method+" "+r.RequestURI)
			require.ElementsMatch(t, []string{"X-Auth-Subject=ada%2C%20n%C3%A9e%20byron", "X-Auth-Issuer=" + s.idp.URL, "X-Auth-Scopes=read,write"}, identities(r))
			require.Empty(t, r.Header.Get("Authorization"), "the application has no use for the token")

			for name, authorization := range map[string]string{"none": "X-None: x", "bad": "Authorization: Bearer x.y.z", "malformed": "Authorization: Bearer"} {
				res := s.send(t, "GET / HTTP/1.1", authorization)
				if proxy == "caddy" && name == "malformed" {
					require.Equal(t, 400, res.StatusCode)
				} else {
					require.Equal(t, 401, res.StatusCode, name)
				}
				require.Contains(t, res.Header.Get("WWW-Authenticate"), "Bearer", name)
				require.Nil(t, s.app.reached(), name)
			}
		})
	}
}

// What a client says about itself never reaches the application: it is
// replaced, dropped, or the whole request is refused.
func TestSpoofedIdentityHeadersNeverArrive(t *testing.T) {
	spoofs := map[string][]string{
		"the name itself":      {"X-Auth-Subject: root"},
		"in lower case":        {"x-auth-subject: root"},
		"twice":                {"X-Auth-Subject: root", "X-Auth-Subject: root"},
		"underscores":          {"X_Auth_Subject: root"},
		"one underscore":       {"X-Auth_Subject: root"},
		"another underscore":   {"X_Auth-Subject: root"},
		"capitals, underscore": {"X_AUTH_SUBJECT: root"},
		"another identity":     {"X-Auth-Scopes: admin"},
		"its underscore":       {"X_Auth_Scopes: admin", "X-Auth_Scopes: admin"},
		"the issuer":           {"X-Auth-Issuer: https://evil.test"},
		"dots":                 {"X.Auth.Subject: root"},
		"all at once":          {"X-Auth-Subject: root", "X_Auth_Subject: root", "X-Auth-Scopes: admin", "X_Auth_Scopes: admin"},
		"connection option":    {"X-Auth-Subject: root", "Connection: X-Auth-Subject"},
	}
	for _, proxy := range []string{"nginx", "caddy"} {
		t.Run(proxy, func(t *testing.T) {
			s := start(t, proxy)
			// A token without scopes: its X-Auth-Scopes is empty.
			good, err := s.idp.Token(map[string]any{"sub": "ada"})
			require.NoError(t, err)
			passed := 0
			for name, lines := range spoofs {
				for _, authorization := range []string{"Authorization: Bearer " + good, "X-None: x"} {
					res := s.send(t, append([]string{"GET / HTTP/1.1", authorization}, lines...)...)
					r := s.app.reached()
					if authorization == "X-None: x" {
						require.Nil(t, r, "%s: without a token", name)
						require.GreaterOrEqual(t, res.StatusCode, 400)
						continue
					}
					if r == nil {
						require.GreaterOrEqual(t, res.StatusCode, 400, name)
						continue
					}
					passed++
					for _, identity := range identities(r) {
						require.Contains(t, []string{"X-Auth-Subject=ada", "X-Auth-Issuer=" + s.idp.URL, "X-Auth-Scopes="}, identity, name)
					}
				}
			}
			require.Positive(t, passed, "no request passed, so that nothing was shown")
			t.Logf("%d spoofs, %d of them passed on without what the client said", len(spoofs), passed)
		})
	}
}

// The original request is described by the proxy alone, whatever the client
// says.
func TestClientsCannotDescribeTheOriginalRequest(t *testing.T) {
	for proxy, prefix := range map[string]string{"nginx": "X-Original-", "caddy": "X-Forwarded-"} {
		t.Run(proxy, func(t *testing.T) {
			s := start(t, proxy)
			good, err := s.idp.Token(nil)
			require.NoError(t, err)
			s.send(t, "DELETE /admin?q=1 HTTP/1.1", "Authorization: Bearer "+good, "Content-Length: 0",
				"X-Original-Method: GET", "X-Original-URI: /public", "X-Original-Host: evil.test",
				"X-Forwarded-Method: GET", "X-Forwarded-Uri: /public", "X-Forwarded-Host: evil.test")
			r := s.asked.Load()
			require.NotNil(t, r)
			require.Equal(t, []string{"DELETE"}, r.Header[prefix+"Method"])
			require.Equal(t, []string{"/admin?q=1"}, r.Header[prefix+"Uri"])
			require.Equal(t, []string{s.address}, r.Header[prefix+"Host"])
			require.NotNil(t, s.app.reached())
		})
	}
}

// An outage of the issuer is 503, which a client tries again later.
func TestProxiesKeepAnOutage(t *testing.T) {
	for _, proxy := range []string{"nginx", "caddy"} {
		t.Run(proxy, func(t *testing.T) {
			s := start(t, proxy)
			good, err := s.idp.Token(nil)
			require.NoError(t, err)
			s.idp.Down(true)
			res := s.send(t, "GET / HTTP/1.1", "Authorization: Bearer "+good)
			require.Equal(t, 503, res.StatusCode)
			require.NotEmpty(t, res.Header.Get("Retry-After"))
			require.Nil(t, s.app.reached())
		})
	}
}

// The document shows the files that the tests run.
func TestTheDocumentShowsTheseFiles(t *testing.T) {
	doc, err := os.ReadFile("../../docs/forward-auth-and-grpc.md")
	require.NoError(t, err)
	for _, file := range []string{"nginx.conf", "Caddyfile"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(doc), "\n"+string(text)+"```", file)
	}
}
