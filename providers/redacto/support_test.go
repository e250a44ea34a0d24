package redacto_test

import (
	"net/http/httptest"
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

func fake(t testing.TB) (*providertest.Fake, string) {
	t.Helper()
	f, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{org + ":" + ws1: key, org + ":" + ws2: key}})
	require.NoError(t, err)
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return f, srv.URL
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
