package peers_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	gosundheit "github.com/AppsFlyer/go-sundheit"
	dexserver "github.com/dexidp/dex/server"
	dex "github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers/oauth"
)

// newHTTPServer serves h until the test ends and returns its address.
func newHTTPServer(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// newDex starts dex with its mock connector, which signs one user in without a
// page. It rotates refresh tokens and allows no second use.
func newDex(t *testing.T) *server {
	t.Helper()
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	store := memory.New(logger)
	require.NoError(t, store.CreateClient(dex.Client{ID: "web", Secret: specialSecret, Name: "web", RedirectURIs: []string{callback}}))
	require.NoError(t, store.CreateConnector(dex.Connector{ID: "mock", Type: "mockCallback", Name: "mock"}))
	policy, err := dexserver.NewRefreshTokenPolicy(logger, false, "", "", "0s") // false: do not leave it out
	require.NoError(t, err)
	s := listen(t, func(issuer string) http.Handler {
		d, err := dexserver.NewServer(t.Context(), dexserver.Config{
			Issuer: issuer, Storage: store, SkipApprovalScreen: true, Logger: logger, RefreshTokenPolicy: policy,
			IDTokensValidFor: time.Minute, PrometheusRegistry: prometheus.NewRegistry(), HealthChecker: gosundheit.New(),
		})
		require.NoError(t, err)
		return d
	})
	s.authorize, s.scope = s.url+"/auth", "openid offline_access"
	s.users = oauth.Config{TokenURL: s.url + "/token", ClientID: "web", Secret: specialSecret, Grant: "refresh_token"}
	return s
}
