package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	err = run(t.Context(), func(n string) string { return map[string]string{"ADDR": l.Addr().String(), "READYZ_GRACE": "0s"}[n] }, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "address already in use")
}

// announced calls a function for each line of a log that has a word.
type announced struct {
	word string
	do   func(line string)
}

func (a announced) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(a.word)) {
		a.do(string(p))
	}
	return len(p), nil
}

// A vendor's call is under way, and goes on after the whole time for draining.
// The caches have a time of their own then, so that the token is kept and not
// lost: the next process has it from the store.
func TestTheCachesHaveATimeOfTheirOwnToClose(t *testing.T) {
	vars, _, vendors := realVars(t)
	began, release := make(chan struct{}, 1), make(chan struct{})
	cutOff := make(chan bool, 1)
	vars["REDACTO_BASE_URL"] = serveHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		select {
		case <-release:
			cutOff <- false
			vendors["redacto"].ServeHTTP(w, r)
		case <-r.Context().Done():
			cutOff <- true
		}
	}))
	vars["ADDR"], vars["READYZ_GRACE"] = "127.0.0.1:0", "0s"
	vars["DATABASE_URL"], vars["STORE_KEYS"] = "sqlite:"+filepath.Join(t.TempDir(), "tokens.db"), storeKeys
	vars["STORE_TIMEOUT"] = "20s"
	base := make(chan string, 1)
	var warned atomic.Bool
	log := slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(announced{"msg=listening", func(line string) {
			_, url, _ := strings.Cut(strings.TrimSpace(line), "url=")
			base <- url
		}}, nil),
		slog.NewTextHandler(announced{"cut off", func(string) { warned.Store(true) }}, nil),
		slog.NewTextHandler(announced{"msg=closing", func(string) { close(release) }}, nil), // the time for draining is over
	))
	c, err := readConfig(func(n string) string { return vars[n] }, log)
	require.NoError(t, err)
	c.drain = time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, c, log) }()
	at := <-base
	answered := make(chan int, 1)
	go func() {
		res, err := http.Post(at+"/api/consent/token", "application/json", strings.NewReader(`{"org_user_id":"ada"}`))
		if err != nil {
			answered <- 0
			return
		}
		_ = res.Body.Close()
		answered <- res.StatusCode
	}()
	<-began
	stop()
	require.False(t, <-cutOff, "the vendor's call was cut off")
	require.NoError(t, <-ended, "a request that outlasts the drain is no fault of the gateway's")
	require.True(t, warned.Load(), "the request that was cut off is logged")
	<-answered

	vars["REDACTO_BASE_URL"] = serveHandler(t, vendors["redacto"])
	_, srv, _ := start(t, vars)
	status, _, _ := call(t, srv, "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
	assert.Equal(t, 200, status)
	assert.Equal(t, providertest.Stats{Generates: 1, Issued: 1, Peak: 1}, vendors["redacto"].Stats())
}

func TestEmbeddedOffLeavesRoutesOut(t *testing.T) {
	_, srv, _ := start(t, map[string]string{"EMBEDDED": "off"})
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/": 200, "/protected": 404, "/demo/token": 404, "/api/consent/token": 404, "/.well-known/jwks.json": 404} {
		if status, _, _ := call(t, srv, "GET", path, "", ""); status != want {
			t.Errorf("%s: status %d", path, status)
		}
	}
}
