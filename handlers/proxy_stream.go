package handlers

import (
	"bufio"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/internal/attached"
	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
)

const (
	// askEvery is how often Authorize is asked again while an answer is under
	// way.
	askEvery = 15 * time.Second
	// writeTime is how long a caller may take to read a part of an answer.
	writeTime = time.Minute
)

var errEnded = errors.New("handlers: proxy: the caller's right to the stream has ended")

// stream is the life of one forwarded call.
type stream struct {
	p   *proxy
	r   *http.Request // as the caller sent it
	ctx context.Context
	end context.CancelCauseFunc

	token *attached.Expiry
	mu    sync.Mutex
	done  bool
	ask   *time.Timer
	over  *time.Timer
}

func (p *proxy) begin(r *http.Request) *stream {
	s := &stream{p: p, r: r}
	ctx, token := attached.Watch(r.Context())
	s.token = token
	s.ctx, s.end = context.WithCancelCause(ctx)
	return s
}

func (s *stream) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	for _, t := range []*time.Timer{s.ask, s.over} {
		if t != nil {
			t.Stop()
		}
	}
	s.end(nil)
}

// watch starts to check whether the caller may still have res. An event stream
// and a WebSocket also end when a token with which they began ends: the attached
// one, or the caller's own.
func (s *stream) watch(res *http.Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ask = time.AfterFunc(askEvery, s.askAgain)
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	events := kind == "text/event-stream"
	if !events && res.StatusCode != http.StatusSwitchingProtocols {
		return
	}
	if events {
		res.Body = &eventBody{res.Body, s.ctx}
	}
	at := s.token.Time()
	if caller, _ := s.r.Context().Value(attached.Caller{}).(time.Time); at.IsZero() || !caller.IsZero() && caller.Before(at) {
		at = caller
	}
	if !at.IsZero() {
		left := time.Until(at)
		if left <= 0 {
			// The token has ended, but its verifier still accepts it for a while
			// (leeway). The stream gets one interval more.
			left = askEvery
		}
		s.over = time.AfterFunc(left, func() { s.end(errEnded) })
	}
}

func (s *stream) askAgain() {
	err := errEnded
	_ = flight.Guard(func() { err = s.p.Authorize(s.r, &providers.Request{}) })
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.done:
	case err != nil:
		s.end(errEnded)
	default:
		s.ask.Reset(askEvery)
	}
}

// eventBody is an event stream that ends without an error when its time is
// over. A reader ignores an event that is not complete.
type eventBody struct {
	io.ReadCloser
	ctx context.Context
}

func (b *eventBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && context.Cause(b.ctx) == errEnded {
		err = io.EOF
	}
	return n, err
}

// patient returns w for callers who may read slowly but must not stop: they
// must read each part of the answer within writeTime. flush sends the rest
// under that limit. If the server has a WriteTimeout, that one applies instead.
func patient(w http.ResponseWriter, r *http.Request) (out http.ResponseWriter, flush func()) {
	s, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok || s.WriteTimeout > 0 {
		return w, func() {}
	}
	pw := &patientWriter{ResponseWriter: w, conn: http.NewResponseController(w)}
	return pw, func() {
		if !pw.hijacked {
			_ = pw.FlushError()
		}
	}
}

type patientWriter struct {
	http.ResponseWriter
	conn     *http.ResponseController
	hijacked bool
}

func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bound runs write under the deadline and then removes the deadline. Over
// HTTP/2 a deadline that stays would end an idle stream.
func (w *patientWriter) bound(write func() error) error {
	_ = w.conn.SetWriteDeadline(time.Now().Add(writeTime))
	defer func() { _ = w.conn.SetWriteDeadline(time.Time{}) }()
	return write()
}

func (w *patientWriter) Write(b []byte) (n int, err error) {
	err = w.bound(func() error {
		n, err = w.ResponseWriter.Write(b)
		return err
	})
	return n, err
}

func (w *patientWriter) FlushError() error { return w.bound(w.conn.Flush) }

func (w *patientWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := w.conn.Hijack()
	if err == nil {
		w.hijacked = true
		conn = patientConn{conn}
	}
	return conn, buf, err
}

// patientConn is the caller's side of a WebSocket.
type patientConn struct{ net.Conn }

func (c patientConn) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(writeTime))
	return c.Conn.Write(b)
}
