package handlers_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

// everyHandler is each handler of the package that reads a body, over a vendor
// whose calls take until their context ends.
func everyHandler(t *testing.T, p providers.Provider) map[string]http.Handler {
	t.Helper()
	c := config(p)
	intro := c
	intro.Introspection = true
	built := map[string]http.Handler{}
	for name, build := range map[string]func() (http.Handler, error){
		"generate":   func() (http.Handler, error) { return handlers.Generate(c) },
		"refresh":    func() (http.Handler, error) { return handlers.Refresh(c) },
		"sign out":   func() (http.Handler, error) { return handlers.SignOut(c) },
		"introspect": func() (http.Handler, error) { return handlers.Verify(intro) },
	} {
		h, err := build()
		built[name] = must(t, h, err)
	}
	return built
}

func serveTCP(t *testing.T, h http.Handler, change func(*http.Server)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	if change != nil {
		change(s.Config)
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func typeOf(name string) string {
	if name == "introspect" {
		return "application/x-www-form-urlencoded"
	}
	return "application/json"
}

// exchange sends raw over a new connection, closes its sending half if halfClose,
// and returns all that comes back.
func exchange(t *testing.T, addr, raw string, halfClose bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, raw)
	require.NoError(t, err)
	if halfClose {
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	}
	got, _ := io.ReadAll(conn) // a reset is an answer too
	return string(got)
}

func TestABodyThatComesTooLateIs408(t *testing.T) {
	for name, h := range everyHandler(t, &fake{}) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := dial(t, h, func(s *http.Server) { s.ReadTimeout = time.Second })
				go func() {
					_, _ = io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: "+typeOf(name)+"\r\nContent-Length: 10\r\n\r\n{")
				}()
				b, _ := io.ReadAll(conn)
				got := string(b)
				assert.True(t, strings.HasPrefix(got, "HTTP/1.1 408 Request Timeout\r\n"), got)
				assert.Contains(t, got, "Connection: close\r\n")
				assert.Contains(t, got, `"code":"request_timeout"`)
			})
		})
	}
}

// The upstream is not to blame, whatever its transport says about a request that
// net/http has cancelled.
func TestAProxiedBodyThatComesTooLateIs408(t *testing.T) {
	for name, trip := range map[string]roundTrip{
		"error of the body": func(r *http.Request) (*http.Response, error) {
			_, err := io.Copy(io.Discard, r.Body)
			return nil, err
		},
		"cancelled first": func(r *http.Request) (*http.Response, error) {
			go func() { _, _ = io.Copy(io.Discard, r.Body) }()
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
	} {
		for how, head := range map[string]string{"length": "Content-Length: 10\r\n\r\n{", "chunked": "Transfer-Encoding: chunked\r\n\r\n1\r\n{"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var events []providers.Event
					c := proxyConfig("https://api.example.com")
					c.Transport = trip
					c.Observer = func(_ context.Context, e providers.Event) { events = append(events, e) }
					h, err := handlers.Proxy(c)
					conn := dial(t, must(t, h, err), func(s *http.Server) { s.ReadTimeout = time.Second })
					go func() {
						_, _ = io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+head)
					}()
					b, _ := io.ReadAll(conn)
					got := string(b)
					assert.True(t, strings.HasPrefix(got, "HTTP/1.1 408 Request Timeout\r\n"), got)
					assert.Contains(t, got, "Connection: close\r\n")
					require.Len(t, events, 1)
					assert.Equal(t, "refused request_timeout 408", fmt.Sprint(events[0].Kind, " ", events[0].Outcome, " ", events[0].N))
				})
			})
		}
	}
}

// Over HTTP/2 the request is not cancelled.
func TestAProxiedBodyThatComesTooLateIs408WithoutACancellation(t *testing.T) {
	c := proxyConfig("https://api.example.com")
	c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		_, err := io.Copy(io.Discard, r.Body)
		return nil, err
	})
	h, err := handlers.Proxy(c)
	must(t, h, err)
	for range 50 {
		r := httptest.NewRequest("POST", "/x", iotest.ErrReader(os.ErrDeadlineExceeded))
		require.Equal(t, 408, serve(t, h, r).status)
	}
}

func TestABodyThatBreaksOffIs400(t *testing.T) {
	for name, h := range everyHandler(t, &fake{}) {
		for how, head := range map[string]string{"short": "Content-Length: 10\r\n\r\n{", "chunked": "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				got := exchange(t, serveTCP(t, h, nil), "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: "+typeOf(name)+"\r\n"+head, true)
				assert.True(t, got == "" || strings.HasPrefix(got, "HTTP/1.1 400 Bad Request\r\n"), got)
			})
		}
	}
}

// A client that closes its sending half looks to net/http like one that has
// gone.
func TestAHalfClosedClientNeverGetsAnEmpty200(t *testing.T) {
	wait := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	slow := &fake{
		generate: func(ctx context.Context, _ providers.Request) (providers.Token, error) {
			return providers.Token{}, wait(ctx)
		},
		refresh: func(ctx context.Context, _ providers.Request, _ string) (providers.Token, error) {
			return providers.Token{}, wait(ctx)
		},
		verify: func(ctx context.Context, _ string) (providers.Verified, error) {
			return providers.Verified{}, wait(ctx)
		},
	}
	built := everyHandler(t, slow)
	delete(built, "sign out") // it goes on without its caller
	proxy := proxyConfig("https://api.example.com")
	proxy.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http notices that a caller left only then
		return nil, wait(r.Context())
	})
	h, err := handlers.Proxy(proxy)
	built["proxy"] = must(t, h, err)
	for name, h := range built {
		t.Run(name, func(t *testing.T) {
			body := `{"user":"a","refresh_token":"r"}`
			if name == "introspect" {
				body = "token=t"
			}
			got := exchange(t, serveTCP(t, h, nil), fmt.Sprintf("POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", typeOf(name), len(body), body), true)
			assert.Empty(t, got, "the connection is closed without an answer")
		})
	}
}

func TestASignOutOutlivesItsCaller(t *testing.T) {
	came, left, purged := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h, err := handlers.SignOut(cookieConfig(&fake{purge: func(ctx context.Context, _ providers.Request) error {
		close(came)
		<-left
		purged <- ctx.Err()
		return ctx.Err()
	}}))
	must(t, h, err)
	gone := make(chan struct{})
	addr := serveTCP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() {
			<-r.Context().Done()
			close(gone)
		}()
		h.ServeHTTP(w, r)
	}), nil)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	<-came
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	<-gone // net/http has cancelled the request
	close(left)
	require.NoError(t, <-purged, "the purge goes on")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	assert.Equal(t, 204, res.StatusCode, "and the answer, with the cookie's end, is written")
	assert.Contains(t, res.Header.Get("Set-Cookie"), "Max-Age=0")
	assert.Equal(t, `"cache"`, res.Header.Get("Clear-Site-Data"))
}

// ReadTimeout is about the request; an upstream that takes longer is none of
// its business.
func TestAReadTimeoutDoesNotEndASlowUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := handlers.Generate(config(&fake{generate: func(ctx context.Context, _ providers.Request) (providers.Token, error) {
			select {
			case <-time.After(10 * time.Second):
				return issued, nil
			case <-ctx.Done():
				return providers.Token{}, ctx.Err()
			}
		}}))
		conn := dial(t, must(t, h, err), func(s *http.Server) { s.ReadTimeout = time.Second })
		go func() {
			_, _ = io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"user\":\"a\"}")
		}()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		assert.Equal(t, 200, res.StatusCode)
		_, _ = io.Copy(io.Discard, res.Body)
	})
}
