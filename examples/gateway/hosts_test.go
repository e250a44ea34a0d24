package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A page of another site whose name resolves to this machine is of the same
// origin as the gateway to its browser; only the Host header tells.
func TestForeignHostNamesAreRefusedOnLoopback(t *testing.T) {
	_, srv, _ := start(t, map[string]string{"HOSTS": "app.example.com, 10.0.0.7"})
	for host, ok := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:8080": true, "127.9.9.9": true, "localhost": true, "LOCALHOST:1": true, "gateway.localhost": true,
		"[::1]:8080": true, "app.example.com": true, "APP.example.com:443": true, "app.example.com.": true, "10.0.0.7:8080": true,
		"evil.example": false, "evil.example:8080": false, "127.0.0.1.evil.example": false, "localhost.evil.example": false,
		"app.example.com.evil.example": false, "10.0.0.8": false, "xlocalhost": false, "0.0.0.0:8080": false,
	} {
		for _, path := range []string{"/", "/api/consent/token", "/demo/state", "/livez", "/nowhere"} {
			req, err := http.NewRequest(http.MethodGet, srv.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			res, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if misdirected := res.StatusCode == http.StatusMisdirectedRequest; misdirected == ok {
				t.Errorf("Host %s, %s: %d", host, path, res.StatusCode)
			} else if misdirected && !strings.Contains(string(body), `"code":"misdirected_request"`) {
				t.Errorf("Host %s: %s", host, body)
			}
		}
	}
}

// A balancer that watches /readyz has seen it red before the first connection
// is refused.
func TestReadyzIsRedBeforeTheListenerCloses(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done, base := make(chan error, 1), make(chan string, 1)
	draining, seen := make(chan struct{}), make(chan struct{})
	log := slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(announced{"msg=listening", func(line string) {
			_, url, _ := strings.Cut(strings.TrimSpace(line), "url=")
			base <- url
		}}, nil),
		slog.NewTextHandler(announced{"msg=draining", func(string) { // the grace begins when it has been looked at
			close(draining)
			<-seen
		}}, nil),
	))
	vars := map[string]string{"ADDR": "127.0.0.1:0", "READYZ_GRACE": "1s"}
	go func() { done <- run(ctx, func(n string) string { return vars[n] }, log) }()
	addr := ""
	select {
	case addr = <-base:
	case err := <-done:
		t.Fatal(err)
	}
	status := func(path string) int {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // a new connection each time
		res, err := client.Get(addr + path)
		if err != nil {
			return 0
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	for end := time.Now().Add(time.Minute); status("/readyz") != http.StatusOK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("/readyz stays red")
		}
	}
	stop()
	<-draining
	if ready, live := status("/readyz"), status("/livez"); ready != http.StatusServiceUnavailable || live != http.StatusOK {
		t.Errorf("while it drains: /readyz %d, /livez %d", ready, live)
	}
	began := time.Now()
	close(seen)
	for status("/livez") != 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if refused := time.Since(began); refused < time.Second {
		t.Errorf("connections refused after %v", refused)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
