package oauth_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

// start is when every test that fixes the clock takes place.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// server is an authorization server without a network: it answers requests in
// the order of answers, the last one again and again, and keeps what it got.
type server struct {
	t       testing.TB
	answers []answer
	got     []received
}

type answer struct {
	status int // 0 is 200
	body   string
	header http.Header
}

type received struct {
	url    string
	header http.Header
	form   url.Values
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	require.NoError(s.t, err)
	form, err := url.ParseQuery(string(body))
	require.NoError(s.t, err)
	require.Equal(s.t, http.MethodPost, r.Method)
	require.Equal(s.t, "application/x-www-form-urlencoded", r.Header.Get("Content-Type"))
	s.got = append(s.got, received{r.URL.String(), r.Header, form})
	a := s.answers[min(len(s.got), len(s.answers))-1]
	res := &http.Response{StatusCode: max(a.status, 200), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}
	if a.status != 0 {
		res.StatusCode = a.status
	}
	if a.header != nil {
		res.Header = a.header
	}
	return res, nil
}

func (s *server) last() received { return s.got[len(s.got)-1] }

// client is a valid configuration against a server that answers so.
func client(t testing.TB, answers ...answer) (oauth.Config, *server) {
	s := &server{t: t, answers: answers}
	return oauth.Config{
		TokenURL: "https://as.example/token", ClientID: "client", Secret: "canary-secret",
		IntrospectionURL: "https://as.example/introspect", RevocationURL: "https://as.example/revoke",
		HTTPClient: &http.Client{Transport: s}, Now: func() time.Time { return start },
	}, s
}

// user is client for the refresh_token grant.
func user(t testing.TB, answers ...answer) (oauth.Config, *server) {
	c, s := client(t, answers...)
	c.Grant = "refresh_token"
	return c, s
}

func provider(t testing.TB, c oauth.Config) *oauth.Provider {
	t.Helper()
	p, err := oauth.New(c)
	require.NoError(t, err)
	return p
}

func failure(t testing.TB, err error) *providers.Error {
	t.Helper()
	e, ok := err.(*providers.Error)
	require.True(t, ok, "%T: %v", err, err)
	require.NotContains(t, e.Error(), "canary")
	require.NotContains(t, e.LogValue().String(), "canary")
	return e
}

func toJSON(t testing.TB, v any) string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

var alice = providers.Request{Subject: "alice"}
