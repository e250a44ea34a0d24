package upstream_test

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// clock is our time in all tests that compare times.
var clock = time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)

func now() time.Time { return clock }

// serve starts an upstream that t ends. It writes no Date of its own.
func serve(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// raw starts an upstream that answers each connection's first request with
// bytes and closes.
func raw(t testing.TB, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = c.Write([]byte(answer))
			}
			_ = c.Close()
		}
	}()
	return "http://" + l.Addr().String()
}

// call posts to url, as one-time if oneTime.
func call(t testing.TB, url string, oneTime bool) (*upstream.Response, error) {
	t.Helper()
	c := upstream.New("vendor", &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, now)
	return c.Do(t.Context(), upstream.Call{
		Op: "generate", Method: http.MethodPost, URL: url, Header: http.Header{"X-Key": {"planted-key"}},
		Body: map[string]string{"refresh_token": "planted-refresh"}, OneTime: oneTime,
	})
}

// failure is the error of a call that must have one.
func failure(t testing.TB, err error) *providers.Error {
	t.Helper()
	e, ok := err.(*providers.Error)
	require.True(t, ok, "%T %v", err, err)
	require.Equal(t, "vendor: generate", e.Op)
	require.NotContains(t, e.LogValue().String(), "planted")
	return e
}
