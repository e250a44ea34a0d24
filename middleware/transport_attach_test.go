package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// An Attach that writes to the URL writes to the clone's: neither the caller's
// request nor the second send nor an error of http.Client shows the token.
func TestAttachMayWriteToTheURL(t *testing.T) {
	var seen []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.RawQuery)
		if r.URL.Query().Get("apitoken") != "token-2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, "/next", http.StatusFound)
	}))
	defer srv.Close()
	transport := &middleware.Transport{Source: middleware.Fixed(newGrantSource()), Attach: func(r *http.Request, t providers.Token) {
		q := r.URL.Query()
		q.Add("apitoken", t.AccessToken)
		r.URL.RawQuery = q.Encode()
	}}
	req, err := http.NewRequest(http.MethodGet, srv.URL+"/editor?file=a", nil)
	require.NoError(t, err)
	res, err := transport.RoundTrip(req)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, res.Body)
	require.NoError(t, res.Body.Close())
	require.Equal(t, []string{"apitoken=token-1&file=a", "apitoken=token-2&file=a"}, seen)
	require.Equal(t, "file=a", req.URL.RawQuery)
	require.Same(t, req, res.Request)
}
