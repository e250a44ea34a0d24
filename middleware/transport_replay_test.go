package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

const replayBound = 256 << 10

// replayServer refuses every token but the second one and keeps what each send
// brought. An early one answers before it reads the body.
type replayServer struct {
	early bool
	mu    sync.Mutex
	whole []string // bodies read to their end
	sends int
}

func (s *replayServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.sends++
	s.mu.Unlock()
	refused := r.Header.Get("Authorization") != "Bearer token-2"
	if refused && s.early {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex() // HTTP/1.1; HTTP/2 always is
		w.WriteHeader(401)
		_, _ = io.WriteString(w, "refused")
		_ = rc.Flush()
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		s.mu.Lock()
		s.whole = append(s.whole, string(body))
		s.mu.Unlock()
	}
	switch {
	case refused && !s.early:
		w.WriteHeader(401)
		_, _ = io.WriteString(w, "refused")
	case !refused && err == nil:
		_, _ = fmt.Fprintf(w, "%d %s", len(body), r.Trailer.Get("X-Sum"))
	}
}

// onceBody is a one-shot body that counts its closes.
type onceBody struct {
	io.Reader
	onEOF  func()
	mu     sync.Mutex
	closes int
	closed chan struct{}
}

func newOnceBody(r io.Reader) *onceBody { return &onceBody{Reader: r, closed: make(chan struct{})} }

func (b *onceBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF && b.onEOF != nil {
		b.onEOF()
		b.onEOF = nil
	}
	return n, err
}

func (b *onceBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closes++; b.closes == 1 {
		close(b.closed)
	}
	return nil
}

func (b *onceBody) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closes
}

// smallReads returns a few bytes a call, so that a send is under way for long.
type smallReads struct{ r io.Reader }

func (s smallReads) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 1000)]) }

func startReplayServer(t *testing.T, h http.Handler, http2 bool) (*httptest.Server, *http.Transport) {
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = http2
	if http2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv, srv.Client().Transport.(*http.Transport)
}

func TestReplayMatrix(t *testing.T) {
	cells := 0
	for _, http2 := range []bool{false, true} {
		for _, early := range []bool{false, true} {
			for _, size := range []int{0, 1, 64 << 10, replayBound, replayBound + 1, 1 << 20} {
				for _, kind := range []string{"getbody", "known length", "chunked", "small reads", "trailer", "expect"} {
					for _, cancelled := range []bool{false, true} {
						cells++
						t.Run(fmt.Sprintf("http2=%v/early=%v/%d/%s/cancelled=%v", http2, early, size, kind, cancelled), func(t *testing.T) {
							t.Parallel()
							replayCell(t, http2, early, size, kind, cancelled)
						})
					}
				}
			}
		}
	}
	t.Logf("%d cells", cells)
}

func replayCell(t *testing.T, http2, early bool, size int, kind string, cancelled bool) {
	h := &replayServer{early: early}
	srv, base := startReplayServer(t, h, http2)
	want := strings.Repeat("0123456789abcde\n", size/16+1)[:size]
	body := newOnceBody(strings.NewReader(want))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", srv.URL, body)
	require.NoError(t, err)
	req.Header.Set("X-Mine", "kept")
	switch kind {
	case "getbody":
		req.ContentLength = int64(size)
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(want)), nil }
	case "known length":
		req.ContentLength = int64(size)
	case "small reads":
		body.Reader = smallReads{body.Reader}
	case "trailer":
		req.Trailer = http.Header{"X-Sum": nil}
		body.onEOF = func() { req.Trailer.Set("X-Sum", "sum") }
	case "expect":
		req.ContentLength = int64(size)
		req.Header.Set("Expect", "100-continue")
		base.ExpectContinueTimeout = time.Minute
	}
	if size == 0 {
		req.ContentLength = 0 // net/http probes such a body before it sends
	}
	header, reader := req.Header.Clone(), req.Body
	src := newGrantSource()
	if cancelled {
		body.Reader = &cancelAfter{body.Reader, size / 2, cancel}
	}
	res, err := (&middleware.Transport{Source: middleware.Fixed(src), Base: base}).RoundTrip(req)
	if err != nil {
		require.True(t, cancelled, "%v", err)
		require.ErrorIs(t, err, context.Canceled)
	} else {
		body := io.Reader(res.Body)
		if res.StatusCode == 401 {
			// net/http stops sending a body after an early refusal, and the
			// handler here would not end its answer before it has all of it.
			body = io.LimitReader(body, int64(len("refused")))
		}
		got, rerr := io.ReadAll(body)
		_ = res.Body.Close()
		switch {
		case res.StatusCode == 200 && rerr == nil:
			sum := ""
			if kind == "trailer" {
				sum = "sum"
			}
			require.Equal(t, fmt.Sprintf("%d %s", size, sum), string(got))
		case res.StatusCode == 401 && rerr == nil:
			require.Equal(t, "refused", string(got))
			require.True(t, cancelled || size > replayBound && kind != "getbody", "a body that could be replayed was not")
		default:
			require.True(t, cancelled, "%v", rerr)
		}
		if kind == "expect" && early && !cancelled && !http2 {
			require.Equal(t, 200, res.StatusCode, "an unread body is sent again at any size")
		}
	}
	<-body.closed
	srv.Close() // waits for the handlers
	base.CloseIdleConnections()
	require.Equal(t, 1, body.count(), "closed exactly once")
	require.Equal(t, header, req.Header, "the caller's request is untouched")
	require.Same(t, reader, req.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	require.LessOrEqual(t, h.sends, 2)
	for _, got := range h.whole {
		require.True(t, got == want, "an attempt that ended well was whole: %d of %d bytes", len(got), len(want))
	}
}

type cancelAfter struct {
	r      io.Reader
	left   int
	cancel context.CancelFunc
}

func (c *cancelAfter) Read(p []byte) (int, error) {
	if c.left <= 0 {
		c.cancel()
	}
	n, err := c.r.Read(p)
	c.left -= n
	return n, err
}

// An upload that outruns the bound while the renewal is under way would lose
// its replay; it is held back instead.
func TestReplayHoldsAnUploadBackDuringRenewal(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", http2), func(t *testing.T) {
			h := &replayServer{early: true}
			srv, base := startReplayServer(t, h, http2)
			pr, pw := io.Pipe()
			refused := make(chan struct{})
			go func() {
				_, _ = pw.Write(bytes.Repeat([]byte("a"), 1000))
				<-refused
				_, _ = pw.Write(bytes.Repeat([]byte("b"), 2*replayBound))
				_ = pw.Close()
			}()
			src := &hookedSource{grantSource: newGrantSource(), onRenew: func() { close(refused) }}
			req, _ := http.NewRequest("POST", srv.URL, pr)
			res, err := (&middleware.Transport{Source: middleware.Fixed(src), Base: base}).RoundTrip(req)
			require.NoError(t, err)
			require.Equal(t, 200, res.StatusCode)
			require.Equal(t, fmt.Sprintf("%d ", 1000+2*replayBound), readAndClose(t, res))
		})
	}
}

type hookedSource struct {
	*grantSource
	onRenew func()
}

func (s *hookedSource) Renew(ctx context.Context, tok providers.Token) (providers.Token, error) {
	s.onRenew()
	return s.grantSource.Renew(ctx, tok)
}

// A first send that is still inside the caller's Read when its view is revoked
// loses nothing: the bytes go to the second send, also beyond the bound.
func TestReplayKeepsAReadUnderWay(t *testing.T) {
	inRead, finish := make(chan struct{}), make(chan struct{})
	body := newOnceBody(io.MultiReader(&blockingReader{inRead, finish, "late "}, strings.NewReader("rest")))
	firstErr := make(chan error, 1)
	sends := 0
	var second string
	base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		if sends++; sends == 1 {
			go func() {
				_, err := r.Body.Read(make([]byte, 5))
				_ = r.Body.Close()
				firstErr <- err
			}()
			<-inRead
			return &http.Response{StatusCode: 401, Header: http.Header{}, Body: http.NoBody}, nil
		}
		close(finish)
		b, err := io.ReadAll(r.Body)
		second = string(b)
		_ = r.Body.Close()
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, err
	})
	req, _ := http.NewRequest("POST", "https://api.test/", body)
	res, err := (&middleware.Transport{Source: middleware.Fixed(newGrantSource()), Base: base, MaxReplayBody: -1}).RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "late rest", second)
	require.Error(t, <-firstErr)
	require.Equal(t, 1, body.count())
}

type blockingReader struct {
	inRead, finish chan struct{}
	data           string
}

func (b *blockingReader) Read(p []byte) (int, error) {
	if b.data == "" {
		return 0, io.EOF
	}
	close(b.inRead)
	<-b.finish
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

func TestReplayGetBodyFails(t *testing.T) {
	sends := 0
	base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		sends++
		_ = r.Body.Close()
		return &http.Response{StatusCode: 401, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("why"))}, nil
	})
	req, _ := http.NewRequest("POST", "https://api.test/", newOnceBody(strings.NewReader("x")))
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	res, err := (&middleware.Transport{Source: middleware.Fixed(newGrantSource()), Base: base}).RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, "why", readAndClose(t, res))
	require.Equal(t, 1, sends)
}
