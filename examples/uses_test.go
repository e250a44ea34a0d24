package examples_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/examples/demo"
)

// build makes the program of ./name.
func build(t *testing.T, name string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("go", "build", "-o", bin, "./"+name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return bin
}

// start runs the program of ./name on a free port, and returns the lines that
// it says to try and its address.
func start(t *testing.T, name string, env ...string) (try []string, base string) {
	t.Helper()
	cmd := exec.Command(build(t, name))
	cmd.Env = append(env, "ADDR=127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(stderr)
	for base == "" && lines.Scan() { // the program listens once it says so
		_, base, _ = strings.Cut(lines.Text(), "url=")
	}
	require.NotEmpty(t, base, "%s says no address", name)
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	text := bufio.NewScanner(stdout)
	require.True(t, text.Scan())
	require.Regexp(t, "^Variables: .*ADDR$", text.Text())
	require.True(t, text.Scan())
	require.Equal(t, "Try it:", text.Text())
	for len(try) < map[string]int{"protect": 3, "callout": 1, "mount": 2, "renew": 3, "forwardauth": 2}[name] && text.Scan() {
		try = append(try, strings.TrimSpace(text.Text()))
	}
	return try, base
}

// shell runs a line that a program said to try.
func shell(t *testing.T, line string) string {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-c", strings.Replace(line, "curl -i", "curl -sS -i", 1)).CombinedOutput()
	require.NoError(t, err, "%s: %s", line, out)
	return string(out)
}

func send(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(b)
}

func TestProtectRunsWithoutConfiguration(t *testing.T) {
	try, _ := start(t, "protect")
	for i, want := range []string{"200 OK", "403 Forbidden", "401 Unauthorized"} {
		require.Contains(t, shell(t, try[i]), want, try[i])
	}
	require.Contains(t, shell(t, try[0]), "orders of ada\n")
}

func TestProtectRunsWithAnIssuer(t *testing.T) {
	issuer, audience, token := demo.Issuer("orders:read")
	try, base := start(t, "protect", "AUTH_ISSUER="+issuer, "AUTH_AUDIENCE="+audience)
	require.NotContains(t, strings.Join(try, ""), "Bearer ey")
	status, body := send(t, "GET", base+"/orders", token, "")
	require.Equal(t, 200, status)
	require.Equal(t, "orders of ada\n", body)
	status, _ = send(t, "POST", base+"/orders", token, "")
	require.Equal(t, 403, status)
}

func TestCalloutRunsWithoutConfiguration(t *testing.T) {
	try, _ := start(t, "callout")
	for _, token := range []string{"1", "1", "1", "2", "2"} {
		require.Contains(t, shell(t, try[0]), "orders, read with token number "+token+"\n")
	}
}

func TestCalloutRunsWithAnOAuthServer(t *testing.T) {
	tokenURL, api, id, secret := demo.OAuth()
	_, base := start(t, "callout", "TOKEN_URL="+tokenURL, "API_URL="+api, "CLIENT_ID="+id, "CLIENT_SECRET="+secret)
	status, body := send(t, "GET", base+"/orders", "", "")
	require.Equal(t, 200, status)
	require.Equal(t, "orders, read with token number 1\n", body)
}

func TestMountRunsWithoutConfiguration(t *testing.T) {
	try, base := start(t, "mount")
	answer := shell(t, try[0])
	require.Contains(t, answer, "200 OK")
	require.Contains(t, answer, `"refresh_token"`)
	require.Contains(t, shell(t, try[1]), "200 OK")
	status, _ := send(t, "POST", base+"/api/consent/token", "", `{"org_user_id":"ada"}`)
	require.Equal(t, 401, status)
}

func TestMountRunsWithItsVariables(t *testing.T) {
	issuer, audience, token := demo.Issuer("")
	vendor, tenant, key := demo.Redacto()
	_, base := start(t, "mount", "AUTH_ISSUER="+issuer, "AUTH_AUDIENCE="+audience, "REDACTO_BASE_URL="+vendor, "TENANT="+tenant, "CMS_API_KEY="+key)
	status, body := send(t, "POST", base+"/api/consent/token", token, `{}`)
	require.Equal(t, 200, status, body)
	require.Contains(t, body, "refresh_token")
	status, _ = send(t, "POST", base+"/api/consent/token", token, `{"org_user_id":"grace"}`)
	require.Equal(t, 403, status)
	status, body = send(t, "POST", base+"/api/visitor/token", "", `{"identifier":"anonymous-7"}`)
	require.Equal(t, 200, status, body)
	require.Contains(t, body, "refresh_token")
	for _, body := range []string{`{"identifier":"ada"}`, `{"org_user_id":"anonymous-7","email":"ada@example.com"}`, `{}`} {
		status, answer := send(t, "POST", base+"/api/visitor/token", "", body)
		require.Equal(t, 403, status, "%s: %s", body, answer)
	}
}

func TestForwardAuthRunsWithoutConfiguration(t *testing.T) {
	try, _ := start(t, "forwardauth")
	answer := shell(t, try[0])
	require.Contains(t, answer, "200 OK")
	require.Contains(t, answer, "X-Auth-Subject: ada\r\n")
	require.Contains(t, answer, "X-Auth-Scopes: orders:read\r\n")
	require.Contains(t, shell(t, try[1]), "401 Unauthorized")
}

// Twice each: an expired token is renewed once, and its successor is handed out
// again to those who still show the old one.
func TestRenewRunsWithoutConfiguration(t *testing.T) {
	try, _ := start(t, "renew")
	for end := time.Now().Add(time.Minute); !strings.Contains(shell(t, try[1]), "200 OK"); { // the issuer's keys are fetched at the start
		require.True(t, time.Now().Before(end), "/orders renews nothing")
	}
	for range 2 {
		for _, line := range try[:2] {
			answer := shell(t, line)
			require.Contains(t, answer, "200 OK", line)
			require.Contains(t, answer, "X-Access-Token: ey", line)
			require.Contains(t, answer, "hello ada\n", line)
		}
	}
	require.Contains(t, shell(t, try[2]), "401 Unauthorized")
}

func TestABusyPortSaysHowToChooseAnother(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	for _, name := range []string{"protect", "callout", "mount", "renew", "forwardauth", "gateway"} {
		cmd := exec.CommandContext(t.Context(), build(t, name))
		cmd.Env = []string{"ADDR=" + l.Addr().String()}
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "choose another address, like ADDR=127.0.0.1:0", name)
	}
}
