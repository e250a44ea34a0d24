package redacto_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redacto"
)

const (
	org = "0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a01"
	ws1 = "7d3c1f2e-8a94-4b02-8a55-3f0f6f0a9b01"
	ws2 = "7D3C1F2E-8A94-4B02-8A55-3F0F6F0A9B02" // capitals, as configured
	key = "cms-key-canary"
)

func one() redacto.Config { return redacto.Config{Tenants: []string{org + ":" + ws1}, APIKey: key} }

func two() redacto.Config {
	return redacto.Config{Tenants: []string{org + ":" + ws1, org + ":" + ws2}, APIKey: key}
}

func build(t testing.TB, base string, cfg redacto.Config) *redacto.Provider {
	t.Helper()
	cfg.BaseURL = base
	p, err := redacto.New(cfg)
	require.NoError(t, err)
	return p
}

// recorded is a request that reached the upstream.
type recorded struct {
	method, path string
	header       http.Header
	body         string
}

// upstream answers every request alike and keeps the last.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex
	last recorded
	hits int
}

func serve(t testing.TB, status int, header http.Header, body string) *upstream {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.last = recorded{r.Method, r.RequestURI, r.Header.Clone(), string(b)}
		u.hits++
		u.mu.Unlock()
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) seen() (recorded, int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last, u.hits
}

func fake(t testing.TB) (*providertest.Fake, string) {
	t.Helper()
	f, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{org + ":" + ws1: key, org + ":" + ws2: key}})
	require.NoError(t, err)
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return f, srv.URL
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, v), path)
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
