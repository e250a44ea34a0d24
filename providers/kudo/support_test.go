package kudo_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers/kudo"
)

const (
	accessKey = "access-key-canary"
	auth      = "auth-canary"
	uuid      = "bbf18f21-3d0d-4a4c-b650-9c14d4075ce0"
)

func config() kudo.Config {
	return kudo.Config{AccessKey: accessKey, Auth: auth, Server: "https://api.example.com"}
}

func build(t testing.TB, base string, cfg kudo.Config) *kudo.Provider {
	t.Helper()
	cfg.BaseURL = base
	p, err := kudo.New(cfg)
	require.NoError(t, err)
	return p
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
