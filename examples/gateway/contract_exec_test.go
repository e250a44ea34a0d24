package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// build makes the binary that users run.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// What is wrong with a configuration is one clear line, and exit status 1.
func TestBinaryRefusesToStart(t *testing.T) {
	bin := build(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // the subtests are parallel
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	tenants := "REDACTO_TENANTS=" + org + ":" + workspace
	const issuer = "AUTH_ISSUER=https://issuer.example.com"
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"half Redacto":         {[]string{"CMS_API_KEY=" + planted}, "Redacto is half configured: REDACTO_TENANTS missing"},
		"half Redacto, tenant": {[]string{tenants}, "CMS_API_KEY missing"},
		"half Redox":           {[]string{"REDOX_CLIENT_ID=c", "REDOX_KEY_ID=k"}, "Redox is half configured: REDOX_PRIVATE_KEY_FILE missing"},
		"half next key":        {[]string{"REDOX_CLIENT_ID=c", "REDOX_KEY_ID=k", "REDOX_PRIVATE_KEY_FILE=" + file("a", "x"), "REDOX_NEXT_KEY_ID=n"}, "REDOX_NEXT_PRIVATE_KEY_FILE missing"},
		"half ContactsManager": {[]string{"CM_API_KEY=" + planted, "CM_ORGANIZATION_ID=o"}, "ContactsManager is half configured: CM_API_SECRET missing"},
		"half Kudo":            {[]string{"KUDO_AUTH=" + planted}, "Kudo is half configured: KUDO_ACCESS_KEY missing"},
		"half issuer":          {[]string{issuer}, "AUTH_AUDIENCE missing"},
		"no issuer":            {[]string{"KUDO_ACCESS_KEY=" + planted}, "AUTH_ISSUER and AUTH_AUDIENCE missing"},
		"no such key":          {[]string{"REDOX_CLIENT_ID=c", "REDOX_KEY_ID=k", "REDOX_PRIVATE_KEY_FILE=" + dir + "/none", issuer, "AUTH_AUDIENCE=a"}, "REDOX_PRIVATE_KEY_FILE"},
		"key is a folder":      {[]string{"REDOX_CLIENT_ID=c", "REDOX_KEY_ID=k", "REDOX_PRIVATE_KEY_FILE=" + dir, issuer, "AUTH_AUDIENCE=a"}, "REDOX_PRIVATE_KEY_FILE"},
		"key is no key":        {[]string{"REDOX_CLIENT_ID=c", "REDOX_KEY_ID=k", "REDOX_PRIVATE_KEY_FILE=" + file("b", planted), issuer, "AUTH_AUDIENCE=a"}, "redox: Key"},
		"empty secret":         {[]string{"KUDO_ACCESS_KEY_FILE=" + file("c", " \n"), issuer, "AUTH_AUDIENCE=a"}, "KUDO_ACCESS_KEY_FILE"},
		"secret twice":         {[]string{"KUDO_ACCESS_KEY=" + planted, "KUDO_ACCESS_KEY_FILE=" + file("d", planted), issuer, "AUTH_AUDIENCE=a"}, "are both set"},
		"tenant is no UUID":    {[]string{"CMS_API_KEY=" + planted, "REDACTO_TENANTS=a:b", issuer, "AUTH_AUDIENCE=a"}, "Tenants"},
		"vendor over http":     {[]string{"KUDO_ACCESS_KEY=" + planted, "KUDO_BASE_URL=http://kudo.example.com", issuer, "AUTH_AUDIENCE=a"}, "must be https"},
		"Redis":                {[]string{"REDIS_URL=http://:" + planted + "@x", "STORE_KEYS=" + storeKeys}, "REDIS_URL"},
		"unsealed Redis":       {[]string{"REDIS_URL=redis://:" + planted + "@x"}, "STORE_KEYS missing"},
		"database":             {[]string{"DATABASE_URL=oracle://:" + planted + "@x", "STORE_KEYS=" + storeKeys}, "DATABASE_URL: not like"},
		"no room for a file":   {[]string{"DATABASE_URL=sqlite:" + dir, "STORE_KEYS=" + storeKeys}, "DATABASE_URL"},
		"several":              {[]string{"RATE_LIMIT=lots", "TRUSTED_PROXIES=everybody", "CORS_ORIGINS=*", "AUTH_LEEWAY=long"}, "RATE_LIMIT"},
		"address in use":       {[]string{"ADDR=" + l.Addr().String()}, "address already in use"},
		"address is none":      {[]string{"ADDR=nowhere"}, "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, bin)
			cmd.Env = append(c.env, "PATH="+os.Getenv("PATH"))
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("%v", err)
			}
			text := stderr.String()
			if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "gateway: ") || !strings.Contains(text, c.want) {
				t.Errorf("stderr: %s", text)
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout: %s", stdout.String())
			}
			if strings.Contains(text, planted) {
				t.Errorf("shows a secret: %s", text)
			}
		})
	}
}

// SIGTERM lets a call under way end, and the binary exits 0.
func TestBinaryDrains(t *testing.T) {
	cmd := exec.Command(build(t))
	cmd.Env = []string{"ADDR=127.0.0.1:0"}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewReader(stdout)
	first, err := lines.ReadString('\n')
	_, addr, ok := strings.Cut(strings.TrimSpace(first), "http://")
	if err != nil || !ok {
		t.Fatalf("banner %q: %v", first, err)
	}
	// A call whose body is half here when the signal comes.
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	_, _ = io.WriteString(conn, "POST /generate-token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 16\r\n\r\n")
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q %v", line, err) // the handler waits for the body
	}
	_, _ = r.ReadString('\n')
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // until no connection is taken any more
		c, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		_ = c.Close()
		if time.Now().After(deadline) {
			t.Fatal("still listening")
		}
	}
	_, _ = io.WriteString(conn, `{"userId":"ada"}`)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("the call under way: %v %v", res, err)
	}
	_, _ = io.Copy(io.Discard, lines)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr.String())
	}
	if !strings.Contains(stderr.String(), "draining") {
		t.Errorf("stderr: %s", stderr.String())
	}
}
