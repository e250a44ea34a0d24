// Load puts wrk in front of the gateway and of what one would write without it,
// one after the other, and prints a Markdown table. It needs Go and wrk.
//
//	go -C internal/bench run ./load -for 10s
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

const (
	tenant = "6b1c4a0e-7a51-4c0f-9a3e-2f5d8e1b7c10:0d9f2b34-51c8-4e7a-8f60-a1b2c3d4e5f6"
	body   = `{"org_user_id":"ada"}`
)

func main() {
	each := flag.Duration("for", 10*time.Second, "how long each target is loaded")
	flag.Parse()
	dir, err := os.MkdirTemp("", "load")
	if err == nil {
		err = errors.Join(run(dir, *each), os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// target is one line of the table.
type target struct{ name, method, url, header, body string }

func run(dir string, each time.Duration) error {
	gateway, stop, err := startGateway(dir)
	if err != nil {
		return err
	}
	defer stop()
	bearer, err := demoToken(gateway)
	if err != nil {
		return err
	}
	bare := httptest.NewServer(http.HandlerFunc(answer))
	defer bare.Close()
	proxy := httptest.NewServer(proxyTo(bare.URL, nil))
	defer proxy.Close()
	sample, err := handWritten()
	if err != nil {
		return err
	}
	defer sample.Close()

	auth := "Bearer " + bearer
	fmt.Println("| target | requests/s | p50 | p99 | failures |\n|---|---|---|---|---|")
	for _, t := range []target{
		{"a bare handler", "GET", bare.URL, auth, ""},
		{"httputil.ReverseProxy to it", "GET", proxy.URL, auth, ""},
		{"gateway /protected", "GET", gateway + "/protected", auth, ""},
		{"gateway /fhir/… (verifies, attaches the token, proxies)", "GET", gateway + "/fhir/R4/Patient", auth, ""},
		{"a bare handler, POST", "POST", bare.URL, auth, body},
		{"httputil.ReverseProxy that adds the key, to the vendor", "POST", sample.URL, auth, body},
		{"gateway /api/consent/token", "POST", gateway + "/api/consent/token", auth, body},
	} {
		if err := t.load(dir, each); err != nil {
			return err
		}
	}
	return nil
}

// answer reads the request and answers about as much as a token endpoint does.
func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"token":"`+strings.Repeat("x", 200)+`"}`)
}

func proxyTo(base string, rewrite func(*httputil.ProxyRequest)) http.Handler {
	u, _ := url.Parse(base)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	quiet := log.New(io.Discard, "", 0) // wrk hangs up in the middle of its last requests
	return &httputil.ReverseProxy{Transport: transport, ErrorLog: quiet, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		if rewrite != nil {
			rewrite(r)
		}
	}}
}

// handWritten is the usual proxy of a token endpoint: it keeps the key and
// forwards each call.
func handWritten() (*httptest.Server, error) {
	fake, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{tenant: "key"}})
	if err != nil {
		return nil, err
	}
	vendor := httptest.NewServer(fake)
	org, workspace, _ := strings.Cut(tenant, ":")
	path := "/consent/public/organisations/" + org + "/workspaces/" + workspace + "/tokens/generate"
	return httptest.NewServer(proxyTo(vendor.URL, func(r *httputil.ProxyRequest) {
		r.Out.URL.Path = path
		r.Out.Header.Set("X-CMS-API-Key", "key")
		r.Out.Header.Del("Authorization")
	})), nil
}

// startGateway builds the gateway of this tree and runs it with its fakes.
func startGateway(dir string) (base string, stop func(), err error) {
	bin := filepath.Join(dir, "gateway")
	build := exec.Command("go", "build", "-o", bin, "./gateway")
	build.Dir = "../../examples"
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := l.Addr().String()
	_ = l.Close()
	cmd := exec.Command(bin)
	cmd.Env = []string{"ADDR=" + addr}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if res, err := http.Get("http://" + addr + "/readyz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return "http://" + addr, stop, nil
			}
		}
	}
	stop()
	return "", nil, errors.New("the gateway does not get ready")
}

func demoToken(gateway string) (string, error) {
	res, err := http.Post(gateway+"/demo/token", "application/json", strings.NewReader(`{"sub":"ada"}`))
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	err = json.NewDecoder(res.Body).Decode(&answer)
	return answer.AccessToken, err
}

var (
	perSecond = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	latency   = regexp.MustCompile(`(50|99)%\s+(\S+)`)
	failures  = regexp.MustCompile(`(?:Non-2xx or 3xx responses: (\d+)|Socket errors: (.+))`)
)

func (t target) load(dir string, each time.Duration) error {
	script := filepath.Join(dir, "request.lua")
	lua := fmt.Sprintf("wrk.method = %q\nwrk.headers[\"Authorization\"] = %q\n", t.method, t.header)
	if t.body != "" {
		lua += fmt.Sprintf("wrk.headers[\"Content-Type\"] = \"application/json\"\nwrk.body = %q\n", t.body)
	}
	if err := os.WriteFile(script, []byte(lua), 0o600); err != nil {
		return err
	}
	out, err := exec.Command("wrk", "-t1", "-c64", "-d", each.String(), "--latency", "-s", script, t.url).CombinedOutput()
	if err != nil {
		return fmt.Errorf("wrk: %w: %s", err, bytes.TrimSpace(out))
	}
	rate, failed := perSecond.FindSubmatch(out), "none"
	if rate == nil {
		return fmt.Errorf("wrk said: %s", out)
	}
	if m := failures.FindSubmatch(out); m != nil {
		failed = string(m[1]) + string(m[2])
	}
	p := map[string]string{}
	for _, m := range latency.FindAllSubmatch(out, -1) {
		p[string(m[1])] = string(m[2])
	}
	fmt.Printf("| %s | %s | %s | %s | %s |\n", t.name, rate[1], p["50"], p["99"], failed)
	return nil
}
