package main

import (
	"context"
	"io"
	"log/slog"
	"net"
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	vars := map[string]string{"ADDR": addr, "READYZ_GRACE": "1s"}
	go func() { done <- run(ctx, func(n string) string { return vars[n] }, slog.New(slog.DiscardHandler)) }()
	status := func(path string) int {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // a new connection each time
		res, err := client.Get("http://" + addr + path)
		if err != nil {
			return 0
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	for status("/readyz") != http.StatusOK {
		if len(done) > 0 {
			t.Fatal(<-done)
		}
		time.Sleep(time.Millisecond) // until it listens
	}
	stop()
	began := time.Now()
	red, served, refused := time.Duration(0), 0, time.Duration(0)
	for refused == 0 {
		switch status("/readyz") {
		case http.StatusServiceUnavailable:
			if red == 0 {
				red = time.Since(began)
			}
			switch status("/livez") {
			case http.StatusOK:
				served++
			case 0:
				refused = time.Since(began)
			}
		case 0:
			refused = time.Since(began)
		}
	}
	if red == 0 || served == 0 || refused < time.Second {
		t.Errorf("red after %v, %d calls served while red, connections refused after %v", red, served, refused)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
