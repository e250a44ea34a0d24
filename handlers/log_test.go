package handlers_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

// An outage of the upstream is told once a minute and not for each call, with
// what to do.
func TestAnOutageIsToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		config := proxyConfig("https://api.test")
		config.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		var fails error
		config.Transport = roundTrip(func(*http.Request) (*http.Response, error) { return nil, fails })
		h, err := handlers.Proxy(config)
		require.NoError(t, err)
		count := func(level string) int { return strings.Count(log.String(), "level="+level) }
		calls := func(err error) {
			fails = err
			for range 10 {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
			}
		}
		calls(errors.New("connection refused"))
		require.Equal(t, 1, count("ERROR"), log.String())
		require.Equal(t, 9, count("DEBUG"))
		require.Contains(t, log.String(), "connection refused")
		require.Contains(t, log.String(), "do=\"the vendor cannot be reached")
		calls(&providers.Error{Code: providers.CodeBusy})
		require.Equal(t, 1, count("WARN"), "another state")
		require.Equal(t, 1, count("ERROR"))
		time.Sleep(time.Minute)
		calls(errors.New("connection refused"))
		require.Equal(t, 2, count("ERROR"), "it lasts")
	})
}

// Without a Logger failures reach slog.Default.
func TestWithoutALoggerFailuresAreVisible(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	config := proxyConfig("https://api.test")
	config.Allow = []string{"/x"}
	config.Transport = roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
	h, err := handlers.Proxy(config)
	require.NoError(t, err)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/other", nil))
	require.Empty(t, log.String(), "a caller's fault is for Debug")
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
	require.Contains(t, log.String(), "level=ERROR")
}
