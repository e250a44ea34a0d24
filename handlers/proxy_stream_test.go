package handlers_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// pipes is a network in memory, whose time is the test's.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial serves h to one client. Its server is closed with the test.
func dial(t *testing.T, h http.Handler, change func(*http.Server)) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	l := make(pipes, 1)
	l <- server
	s := &http.Server{Handler: h}
	if change != nil {
		change(s)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() {
		close(l)
		_ = client.Close()
		_ = s.Close()
	})
	return client
}

// fixedToken is a source of one token.
type fixedToken providers.Token

func (f fixedToken) Token(context.Context) (providers.Token, error) { return providers.Token(f), nil }
func (f fixedToken) Renew(context.Context, providers.Token) (providers.Token, error) {
	return providers.Token{}, errors.New("no other")
}

// streaming is a proxy whose upstream answers with answer; its token ends after
// life, and refused tells whether Authorize refuses.
func streaming(t *testing.T, life time.Duration, refused *atomic.Bool, answer func(*http.Request) *http.Response) http.Handler {
	t.Helper()
	c := proxyConfig("https://api.example.com")
	c.Transport = &middleware.Transport{
		Source: middleware.Fixed(fixedToken{AccessToken: "ours", Expiry: time.Now().Add(life)}),
		Base:   roundTrip(func(r *http.Request) (*http.Response, error) { return answer(r), nil }),
	}
	c.Authorize = func(*http.Request, *providers.Request) error {
		if refused.Load() {
			return errors.New("signed out")
		}
		return nil
	}
	h, err := handlers.Proxy(c)
	return must(t, h, err)
}

// events is a stream of one event every 10 seconds that ends with its request.
func events(r *http.Request) *http.Response {
	read, write := io.Pipe()
	go func() {
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-r.Context().Done():
				_ = write.CloseWithError(r.Context().Err())
				return
			case <-tick.C:
				_, _ = io.WriteString(write, "data: x\n\n")
			}
		}
	}()
	return eventStream(r, read)
}

func eventStream(r *http.Request, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}, Body: body, ContentLength: -1, Request: r}
}

// echo is a WebSocket that says nothing.
func echo(r *http.Request) *http.Response {
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(far, far) }()
	return &http.Response{StatusCode: 101, Header: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}, Body: near, Request: r}
}

const handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://x\r\n\r\n"

// streams are the kinds of answer that end with a token.
var streams = map[string]struct {
	request string
	answer  func(*http.Request) *http.Response
}{
	"event stream": {"GET /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", events},
	"WebSocket":    {handshake, echo},
}

func TestStreamsEndWithTheirTokenAndAtSignOut(t *testing.T) {
	for name, s := range streams {
		for how, c := range map[string]struct {
			life, signOut, from, to time.Duration
		}{
			"the token ends": {10 * time.Minute, time.Hour, 10 * time.Minute, 10 * time.Minute},
			"sign-out":       {time.Hour, 100 * time.Second, 100 * time.Second, 115 * time.Second},
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var refused atomic.Bool
					conn := dial(t, streaming(t, c.life, &refused, s.answer), nil)
					began := time.Now()
					time.AfterFunc(c.signOut, func() { refused.Store(true) })
					go func() { _, _ = io.WriteString(conn, s.request) }()
					res, err := http.ReadResponse(bufio.NewReader(conn), nil)
					require.NoError(t, err)
					_, err = io.Copy(io.Discard, res.Body)
					if res.StatusCode == 200 {
						assert.NoError(t, err, "the stream ends in order")
					}
					_, _ = io.Copy(io.Discard, conn)
					lasted := time.Since(began)
					assert.GreaterOrEqual(t, lasted, c.from)
					assert.LessOrEqual(t, lasted, c.to)
				})
			})
		}
	}
}

// The caller's own token, which a middleware has verified, bounds the stream
// too. Authorize need not look at it again.
func TestStreamsEndWithTheCallersToken(t *testing.T) {
	for name, s := range streams {
		for how, c := range map[string]struct {
			ours, caller time.Duration // 0: the caller's token has no end
			from, to     time.Duration
		}{
			"before ours":              {time.Hour, 10 * time.Minute, 10 * time.Minute, 10 * time.Minute},
			"after ours":               {time.Hour, 2 * time.Hour, time.Hour, time.Hour},
			"without an end":           {time.Hour, 0, time.Hour, time.Hour},
			"ended, within the leeway": {time.Hour, -10 * time.Second, 15 * time.Second, 15 * time.Second},
			"and ours with it":         {-10 * time.Second, -10 * time.Second, 15 * time.Second, 15 * time.Second},
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var refused atomic.Bool
					h := streaming(t, c.ours, &refused, s.answer)
					v := &middleware.Verified{Subject: "ada"}
					if c.caller != 0 {
						v.Expiry = time.Now().Add(c.caller)
					}
					conn := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						h.ServeHTTP(w, r.WithContext(middleware.NewContext(r.Context(), v)))
					}), nil)
					began := time.Now()
					go func() { _, _ = io.WriteString(conn, s.request) }()
					res, err := http.ReadResponse(bufio.NewReader(conn), nil)
					require.NoError(t, err)
					_, err = io.Copy(io.Discard, res.Body)
					if res.StatusCode == 200 {
						assert.NoError(t, err, "the stream ends in order")
					}
					_, _ = io.Copy(io.Discard, conn)
					assert.GreaterOrEqual(t, time.Since(began), c.from)
					assert.LessOrEqual(t, time.Since(began), c.to)
				})
			})
		}
	}
}

// What is no stream is never made to look whole.
func TestADownloadIsNotCutByItsTokensEndAndNotHushedUpAtSignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Bool
		slow := func(r *http.Request) *http.Response {
			res := events(r)
			res.Header.Set("Content-Type", "application/octet-stream")
			return res
		}
		conn := dial(t, streaming(t, time.Minute, &refused, slow), nil)
		began := time.Now()
		time.AfterFunc(5*time.Minute, func() { refused.Store(true) })
		go func() { _, _ = io.WriteString(conn, "GET /file HTTP/1.1\r\nHost: x\r\n\r\n") }()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.GreaterOrEqual(t, time.Since(began), 5*time.Minute)
		assert.LessOrEqual(t, time.Since(began), 5*time.Minute+15*time.Second)
	})
}

// A client that reads an event stream to its end takes it for whole.
func TestAnEventStreamThatBreaksDoesNotEndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Bool
		broken := func(r *http.Request) *http.Response {
			return eventStream(r, io.NopCloser(io.MultiReader(strings.NewReader("data: x\n\n"), iotest.ErrReader(errors.New("reset")))))
		}
		conn := dial(t, streaming(t, time.Hour, &refused, broken), nil)
		go func() { _, _ = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n") }()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
}

func TestNoCallIsAskedAboutOnceItHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		again, answer := make(chan struct{}), make(chan struct{})
		c := proxyConfig("https://api.example.com")
		read, write := io.Pipe()
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			return eventStream(r, read), nil
		})
		c.Authorize = func(*http.Request, *providers.Request) error {
			if asked.Add(1) == 2 {
				close(again)
				<-answer
			}
			return nil
		}
		h, err := handlers.Proxy(c)
		conn := dial(t, must(t, h, err), nil)
		go func() { _, _ = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") }()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		<-again // Authorize is being asked while the stream ends
		_ = write.Close()
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		synctest.Wait()
		close(answer)
		time.Sleep(time.Hour)
		assert.EqualValues(t, 2, asked.Load())
	})
}

func TestAnAuthorizeThatPanicsEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := proxyConfig("https://api.example.com")
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) { return events(r), nil })
		calls := 0
		c.Authorize = func(*http.Request, *providers.Request) error {
			if calls++; calls > 1 {
				panic("secret")
			}
			return nil
		}
		h, err := handlers.Proxy(c)
		conn := dial(t, must(t, h, err), nil)
		go func() { _, _ = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n") }()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		began := time.Now()
		_, _ = io.Copy(io.Discard, res.Body)
		assert.Equal(t, 15*time.Second, time.Since(began))
	})
}

// A caller that stops reading holds nothing for longer than a minute.
func TestSlowReadersAreDropped(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		answer  func(r *http.Request, done chan struct{}) *http.Response // done tells that the body is closed; it is no flight
	}{
		"an answer": {"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", func(r *http.Request, done chan struct{}) *http.Response {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: &endless{done: done}, ContentLength: 1 << 40, Request: r}
		}},
		"a WebSocket": {handshake, func(r *http.Request, done chan struct{}) *http.Response {
			return &http.Response{StatusCode: 101, Header: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}, Body: &endless{done: done}, Request: r}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := make(chan struct{})
				var refused atomic.Bool
				conn := dial(t, streaming(t, time.Hour, &refused, func(r *http.Request) *http.Response { return c.answer(r, done) }), nil)
				_, err := io.WriteString(conn, c.request)
				require.NoError(t, err)
				_, err = http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				began := time.Now() // and nothing more is read
				<-done
				assert.LessOrEqual(t, time.Since(began), time.Minute)
			})
		})
	}
}

// endless is a body without end. Close closes done, for which the test waits;
// done is no flight.
type endless struct {
	done   chan struct{}
	closed atomic.Bool
}

func (e *endless) Read(p []byte) (int, error)  { return neverending('x').Read(p) }
func (e *endless) Write(p []byte) (int, error) { return len(p), nil }
func (e *endless) Close() error {
	if !e.closed.Swap(true) {
		close(e.done)
	}
	return nil
}

func TestAQuietStreamIsNotDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Bool
		quiet := func(r *http.Request) *http.Response {
			read, write := io.Pipe()
			go func() {
				for range 3 {
					time.Sleep(10 * time.Minute)
					_, _ = io.WriteString(write, "data: x\n\n")
				}
				_ = write.Close()
			}()
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: read, ContentLength: -1, Request: r}
		}
		conn := dial(t, streaming(t, 3*time.Hour, &refused, quiet), nil)
		in := bufio.NewReader(conn)
		for range 2 { // the connection serves a second call after it
			go func() { _, _ = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n") }()
			res, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			b, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			assert.Len(t, b, 27)
			time.Sleep(90 * time.Second)
		}
	})
}

// A server's own WriteTimeout is left as it is.
func TestAServersWriteTimeoutHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		var refused atomic.Bool
		h := streaming(t, time.Hour, &refused, func(r *http.Request) *http.Response {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: &endless{done: done}, ContentLength: 1 << 40, Request: r}
		})
		conn := dial(t, h, func(s *http.Server) { s.WriteTimeout = 5 * time.Second })
		_, err := io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		began := time.Now() // and nothing is read
		<-done
		assert.LessOrEqual(t, time.Since(began), 5*time.Second)
	})
}
