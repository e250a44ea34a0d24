package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// grantSource is a TokenSource like the cache's: Renew moves on only from the
// version that was refused.
type grantSource struct {
	mu      sync.Mutex
	version uint64
	renews  int
	err     error
	stuck   bool // Renew returns what there is
}

func newGrantSource() *grantSource { return &grantSource{version: 1} }

func grantToken(v uint64) providers.Token {
	return providers.Token{AccessToken: fmt.Sprintf("token-%d", v), Version: v}
}

func (s *grantSource) Token(ctx context.Context) (providers.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return grantToken(s.version), ctx.Err()
}

func (s *grantSource) Renew(_ context.Context, rejected providers.Token) (providers.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return providers.Token{}, s.err
	}
	if rejected.Version == s.version && !s.stuck {
		s.version++
		s.renews++
	}
	return grantToken(s.version), nil
}

// echoUnless answers 401 with the body "refused" to every token but want, and
// else 200 with the request's body.
func echoUnless(want string, sends *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sends.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "truncated", http.StatusBadRequest)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+want {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "refused")
			return
		}
		_, _ = w.Write(body)
	})
}

func readAndClose(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return string(b)
}

func TestTransportAttachesToACloneOnly(t *testing.T) {
	var sends atomic.Int64
	srv := httptest.NewServer(echoUnless("token-1", &sends))
	defer srv.Close()
	c := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(newGrantSource())}}
	req, _ := http.NewRequest("POST", srv.URL, strings.NewReader("hello"))
	res, err := c.Do(req)
	require.NoError(t, err)
	require.Equal(t, "hello", readAndClose(t, res))
	require.Empty(t, req.Header)
	require.Same(t, req, res.Request)
	require.EqualValues(t, 1, sends.Load())
}

func TestTransportRenewsOnceAndReplays(t *testing.T) {
	var sends atomic.Int64
	srv := httptest.NewServer(echoUnless("token-2", &sends))
	defer srv.Close()
	src := newGrantSource()
	c := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(src)}}
	res, err := c.Post(srv.URL, "text/plain", strings.NewReader("hello"))
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "hello", readAndClose(t, res))
	require.Empty(t, res.Request.Header.Get("Authorization"), "Response.Request is the caller's")
	require.EqualValues(t, 2, sends.Load())
	require.Equal(t, 1, src.renews)
}

// TC-12, Done-when 3: an upstream that always answers 401 costs two sends.
func TestTransportSecond401IsFinal(t *testing.T) {
	var sends atomic.Int64
	srv := httptest.NewServer(echoUnless("never", &sends))
	defer srv.Close()
	src := newGrantSource()
	c := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(src)}}
	res, err := c.Get(srv.URL)
	require.NoError(t, err)
	require.Equal(t, 401, res.StatusCode)
	require.Equal(t, "refused", readAndClose(t, res))
	require.EqualValues(t, 2, sends.Load())
}

// TC-08: k stale 401s cost one renewal.
func TestTransportStale401sShareARenewal(t *testing.T) {
	var sends atomic.Int64
	srv := httptest.NewServer(echoUnless("token-2", &sends))
	defer srv.Close()
	src := newGrantSource()
	c := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(src)}}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			res, err := c.Post(srv.URL, "text/plain", strings.NewReader("x"))
			if err != nil || res.StatusCode != 200 {
				t.Errorf("%v %v", res, err)
				return
			}
			_ = res.Body.Close()
		})
	}
	wg.Wait()
	require.Equal(t, 1, src.renews)
	require.LessOrEqual(t, sends.Load(), int64(100))
}

func TestTransportSurfacesTheFirst401Intact(t *testing.T) {
	cases := map[string]struct {
		src       *grantSource
		challenge string
		renews    int
	}{
		"renewal failed":        {src: &grantSource{version: 1, err: errors.New("down")}},
		"same token came back":  {src: &grantSource{version: 1, stuck: true}},
		"insufficient_scope":    {src: newGrantSource(), challenge: `Bearer realm="a, b", error="insufficient_scope", scope="x y"`},
		"step-up":               {src: newGrantSource(), challenge: `Basic realm="x", Bearer error=insufficient_user_authentication, max_age="5"`},
		"step-up, second field": {src: newGrantSource(), challenge: "Negotiate\nBearer error=\"insufficient_user_authentication\", acr_values=\"gold silver\""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			sends := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sends++
				for _, v := range strings.Split(c.challenge, "\n") {
					w.Header().Add("WWW-Authenticate", v)
				}
				w.WriteHeader(401)
				_, _ = io.WriteString(w, "why")
			}))
			defer srv.Close()
			client := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(c.src)}}
			res, err := client.Post(srv.URL, "text/plain", strings.NewReader("body"))
			require.NoError(t, err)
			require.Equal(t, 401, res.StatusCode)
			require.Equal(t, "why", readAndClose(t, res))
			require.Equal(t, 1, sends)
			require.Equal(t, c.renews, c.src.renews)
		})
	}
}

func TestTransportFailsClosed(t *testing.T) {
	sent := false
	base := roundTripFunc(func(*http.Request) (*http.Response, error) { sent = true; return nil, errors.New("sent") })
	down := &providers.Error{Code: providers.CodeBusy}
	cases := map[string]struct {
		t   middleware.Transport
		url string
	}{
		"no source":       {middleware.Transport{}, "https://api.test/"},
		"nil TokenSource": {middleware.Transport{Source: middleware.Fixed(nil)}, "https://api.test/"},
		"source error":    {middleware.Transport{Source: func(*http.Request) (middleware.TokenSource, error) { return nil, down }}, "https://api.test/"},
		"token error":     {middleware.Transport{Source: middleware.Fixed(tokenFunc(func() (providers.Token, error) { return providers.Token{}, down }))}, "https://api.test/"},
		"empty token":     {middleware.Transport{Source: middleware.Fixed(tokenFunc(func() (providers.Token, error) { return providers.Token{}, nil }))}, "https://api.test/"},
		"plain http":      {middleware.Transport{Source: middleware.Fixed(newGrantSource())}, "http://api.test/"},
		"bad origin":      {middleware.Transport{Source: middleware.Fixed(newGrantSource()), Origins: []string{"api.test"}}, "https://api.test/"},
		"origin path":     {middleware.Transport{Source: middleware.Fixed(newGrantSource()), Origins: []string{"https://api.test/v1"}}, "https://api.test/"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.t.Base = base
			body := &closeCounter{Reader: strings.NewReader("x")}
			req, _ := http.NewRequest("POST", c.url, body)
			_, err := c.t.RoundTrip(req)
			require.Error(t, err)
			require.False(t, sent)
			require.EqualValues(t, 1, body.closes.Load())
			if strings.HasSuffix(name, " error") {
				require.ErrorIs(t, err, down)
			}
		})
	}
}

// One client serves many users without mixing them.
func TestTransportSourcePerRequest(t *testing.T) {
	type user struct{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}))
	defer srv.Close()
	c := http.Client{Transport: &middleware.Transport{Source: func(r *http.Request) (middleware.TokenSource, error) {
		name := r.Context().Value(user{}).(string)
		return tokenFunc(func() (providers.Token, error) { return providers.Token{AccessToken: name}, nil }), nil
	}}}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			name := fmt.Sprintf("user-%d", i)
			req, _ := http.NewRequestWithContext(context.WithValue(t.Context(), user{}, name), "GET", srv.URL, nil)
			res, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			b, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if string(b) != "Bearer "+name {
				t.Errorf("%s sent %s", name, b)
			}
		})
	}
	wg.Wait()
}

// Kudo: the token in a header of its own, and a 403 that means 401.
func TestTransportAttachAndRejected(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Api-Token") {
		case "token-1":
			w.WriteHeader(403)
			_, _ = io.WriteString(w, "{ Wrong token }")
		case "token-2":
			if r.URL.Path == "/forbidden" {
				w.WriteHeader(403)
				_, _ = io.WriteString(w, strings.Repeat("forbidden ", 200))
			}
		}
	}))
	defer srv.Close()
	src := newGrantSource()
	c := http.Client{Transport: &middleware.Transport{
		Source:   middleware.Fixed(src),
		Attach:   func(r *http.Request, t providers.Token) { r.Header.Set("X-Api-Token", t.AccessToken) },
		Rejected: func(_ *http.Response, start []byte) bool { return strings.Contains(string(start), "Wrong token") },
	}}
	res, err := c.Get(srv.URL)
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, 1, src.renews)
	res, err = c.Get(srv.URL + "/forbidden")
	require.NoError(t, err)
	require.Equal(t, 403, res.StatusCode)
	require.Equal(t, strings.Repeat("forbidden ", 200), readAndClose(t, res), "a peeked body is whole")
	require.Equal(t, 1, src.renews)
}

func TestTransportCancelledCallerGetsThe401(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		_ = r.Body.Close()
		cancel()
		return &http.Response{StatusCode: 401, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("why"))}, nil
	})
	src := newGrantSource()
	body := &closeCounter{Reader: strings.NewReader("x")}
	req, _ := http.NewRequestWithContext(ctx, "POST", "https://api.test/", body)
	res, err := (&middleware.Transport{Source: middleware.Fixed(src), Base: base}).RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, "why", readAndClose(t, res))
	require.Zero(t, src.renews)
	require.EqualValues(t, 1, body.closes.Load())
}

// A caller that leaves during the renewal is not served by a second send.
func TestTransportCancelledDuringTheRenewalSendsOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	sends := 0
	base := roundTripFunc(func(*http.Request) (*http.Response, error) {
		sends++
		return &http.Response{StatusCode: 401, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("why"))}, nil
	})
	src := &hookedSource{grantSource: newGrantSource(), onRenew: cancel}
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://api.test/", nil)
	res, err := (&middleware.Transport{Source: middleware.Fixed(src), Base: base}).RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, "why", readAndClose(t, res))
	require.Equal(t, 1, sends)
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type tokenFunc func() (providers.Token, error)

func (f tokenFunc) Token(context.Context) (providers.Token, error)                  { return f() }
func (f tokenFunc) Renew(context.Context, providers.Token) (providers.Token, error) { return f() }

type closeCounter struct {
	io.Reader
	closes atomic.Int64
}

func (c *closeCounter) Close() error {
	c.closes.Add(1)
	return nil
}
