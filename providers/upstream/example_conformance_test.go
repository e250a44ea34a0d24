package upstream_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/providertest"
)

func TestTheExampleKeepsTheContract(t *testing.T) {
	providertest.Run(t, providertest.Suite{
		New: func(t testing.TB, baseURL string) providers.Provider {
			a, err := NewAcme(baseURL, "canary-key", &http.Client{})
			require.NoError(t, err)
			return a
		},
		Request:      providers.Request{Subject: "alice"},
		Answer:       `{"token":"canary-token","refresh_token":"canary-next","ends":"2099-01-02T15:04:05Z"}`,
		RefreshToken: "canary-presented",
		Secrets:      []string{"canary-key", "canary-token", "canary-next"},
	})
}

func TestTheExampleIsShort(t *testing.T) {
	text, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), "// Acme is")
	provider, _, ok := strings.Cut(rest, "// A provider for a vendor of one's own")
	require.True(t, ok)
	require.LessOrEqual(t, strings.Count(provider, "\n"), 60)
}
