package plainhttp_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/plainhttp"
)

func TestCheckWantsExactHostAndPort(t *testing.T) {
	require.NoError(t, plainhttp.Check("Hosts", nil))
	require.NoError(t, plainhttp.Check("Hosts", []string{"keycloak:8080", "10.0.0.7:80", "[fd00::1]:8080", "Orders:65535"}))
	bad := []string{
		"", "keycloak", "keycloak:", ":8080", "*:8080", "*.svc:8080", "keycloak:*", "keycloak:0", "keycloak:65536", "keycloak:080",
		"keycloak:+80", "http://keycloak:8080", "keycloak:8080/", "fd00::1:8080", "keycloak :80", "keycloak:http",
	}
	err := plainhttp.Check("Hosts", bad)
	for _, h := range bad {
		require.ErrorContains(t, err, `Hosts: "`+h+`" is not an exact host:port`)
		require.Error(t, plainhttp.Check("Hosts", []string{h}), h)
	}
	err = plainhttp.Check("Hosts", []string{"user:hunter2@keycloak:8080"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestAllowedMatchesExactly(t *testing.T) {
	hosts := []string{"keycloak:8080", "Orders:80", "[fd00::A]:8080"}
	for raw, want := range map[string]bool{
		"http://keycloak:8080/x":      true,
		"http://KEYCLOAK:8080":        true,
		"http://orders":               true,
		"http://orders:80":            true,
		"http://[fd00::a]:8080/":      true,
		"http://keycloak":             false,
		"http://keycloak:80":          false,
		"http://keycloak:80800":       false,
		"http://x.keycloak:8080":      false,
		"http://keycloak.:8080":       false,
		"http://\u212aeycloak:8080":   false,
		"http://order\u017f:80":       false,
		"https://keycloak:8080":       false,
		"https://orders:80":           false,
		"ftp://keycloak:8080":         false,
		"http://keycloak:8080@evil/":  false,
		"http://evil/?keycloak:8080":  false,
		"http://keycloak:8080.evil/x": false,
	} {
		u, err := url.Parse(raw)
		if err != nil {
			continue // no such request can be made
		}
		require.Equal(t, want, plainhttp.Allowed(hosts, u), raw)
	}
	require.False(t, plainhttp.Allowed(nil, &url.URL{Scheme: "http", Host: "keycloak:8080"}))
}

func TestLowerTouchesASCIIOnly(t *testing.T) {
	require.Equal(t, "a-z.\u212a\u017f\u00c9", plainhttp.Lower("A-Z.\u212a\u017f\u00c9"))
	require.Equal(t, "az09", plainhttp.Lower("az09"))
}
