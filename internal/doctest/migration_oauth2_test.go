package doctest_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/oauth2bridge"
)

// tokenServer counts the calls of its token endpoint.
type tokenServer struct {
	*httptest.Server
	calls    atomic.Int64
	down     atomic.Bool
	bodyOnly atomic.Bool // takes the client's secret in the body alone
}

func newTokenServer(t *testing.T) *tokenServer {
	t.Helper()
	s := &tokenServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _, basic := r.BasicAuth()
		switch {
		case s.down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case basic && s.bodyOnly.Load():
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
		default:
			_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, n)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// The clients of docs/from-oauth2.md.
func clientBefore(ctx context.Context, _ *testing.T, tokenURL string) *http.Client {
	c := clientcredentials.Config{ClientID: "orders", ClientSecret: "secret", TokenURL: tokenURL}
	return c.Client(ctx)
}

func clientAfter(_ context.Context, t *testing.T, tokenURL string) *http.Client {
	server, err := oauth.New(oauth.Config{ClientID: "orders", Secret: "secret", TokenURL: tokenURL, Grant: "client_credentials"})
	require.NoError(t, err)
	return &http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(sourceOf(t, server))}}
}

func clientBridged(ctx context.Context, t *testing.T, tokenURL string) *http.Client {
	c := clientcredentials.Config{ClientID: "orders", ClientSecret: "secret", TokenURL: tokenURL}
	return oauth2.NewClient(ctx, oauth2bridge.TokenSource(ctx, sourceOf(t, oauth2bridge.ProviderFunc(c.Token))))
}

// clientRenewing is clientBridged with the client for the calls of the API
// moved first.
func clientRenewing(_ context.Context, t *testing.T, tokenURL string) *http.Client {
	c := clientcredentials.Config{ClientID: "orders", ClientSecret: "secret", TokenURL: tokenURL}
	return &http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(sourceOf(t, oauth2bridge.ProviderFunc(c.Token)))}}
}

func sourceOf(t *testing.T, p providers.Provider) *tokencache.Source {
	cache, err := tokencache.New(p, tokencache.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cache.Close(context.Background())) })
	return cache.Source(providers.Request{})
}

// answered is the body of a 200, another status, or "error".
func answered(c *http.Client, url string) string {
	res, err := c.Get(url)
	if err != nil {
		return "error"
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return fmt.Sprint(res.StatusCode)
	}
	return string(b)
}

// TestMovingFromOAuth2ChangesWhatItsGuideSays runs rows of docs/from-oauth2.md
// with the client before, the client after, and the client in between.
func TestMovingFromOAuth2ChangesWhatItsGuideSays(t *testing.T) {
	var revoked atomic.Value
	revoked.Store("none")
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if token == revoked.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "token="+token)
	}))
	t.Cleanup(api.Close)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, api.URL, http.StatusFound)
	}))
	t.Cleanup(elsewhere.Close)

	for name, c := range map[string]struct {
		make                          func(context.Context, *testing.T, string) *http.Client
		revoked, redirected, bodyOnly string
		callsAtMost                   int64 // for 50 callers of an endpoint that is down
	}{
		"before":  {clientBefore, "401", "token=t1", "token=t2", 100},
		"after":   {clientAfter, "token=t2", "token=", "error", 1},
		"between": {clientBridged, "401", "token=t1", "token=t2", 2},
		// The Transport renews, although the tokens come from x/oauth2.
		"between, behind the Transport": {clientRenewing, "token=t2", "token=", "token=t2", 2},
	} {
		t.Run(name, func(t *testing.T) {
			server := newTokenServer(t)
			client := c.make(t.Context(), t, server.URL)
			require.Equal(t, "token=t1", answered(client, api.URL))
			require.Equal(t, c.redirected, answered(client, elsewhere.URL), "a redirect to another origin")
			revoked.Store("t1")
			require.Equal(t, c.revoked, answered(client, api.URL), "a token that was revoked early")
			revoked.Store("none")

			server = newTokenServer(t)
			server.bodyOnly.Store(true)
			require.Equal(t, c.bodyOnly, answered(c.make(t.Context(), t, server.URL), api.URL), "a server that takes the secret in the body")

			server = newTokenServer(t)
			server.down.Store(true)
			client = c.make(t.Context(), t, server.URL)
			began := time.Now()
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() { answered(client, api.URL) })
			}
			wg.Wait()
			if name != "before" { // a failure is remembered for 750 ms at least, and the callers of a slow machine come one by one
				c.callsAtMost *= 1 + int64(time.Since(began)/(700*time.Millisecond))
			}
			require.LessOrEqual(t, server.calls.Load(), c.callsAtMost)
			if name == "before" {
				require.Greater(t, server.calls.Load(), int64(50), "each caller calls, and tries two ways to authenticate")
			}
		})
	}
}

func TestPlainHTTPAfterMovingFromOAuth2(t *testing.T) {
	sent := false
	plain := roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = sent || r.Header.Get("Authorization") != ""
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
	})
	server := newTokenServer(t)
	c := clientcredentials.Config{ClientID: "orders", ClientSecret: "secret", TokenURL: server.URL}
	_, err := (&http.Client{Transport: &oauth2.Transport{Source: c.TokenSource(t.Context()), Base: plain}}).Get("http://api.example.com")
	require.NoError(t, err)
	require.True(t, sent, "x/oauth2 sends the token over http")

	sent = false
	client := clientAfter(t.Context(), t, server.URL)
	client.Transport.(*middleware.Transport).Base = plain
	_, err = client.Get("http://api.example.com")
	require.ErrorContains(t, err, "DangerouslyPlainHTTP")
	require.False(t, sent)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
