package authtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"
)

// fault says how the Issuer misbehaves.
type fault struct {
	down    bool
	delay   time.Duration
	instead http.Handler
}

// Down makes every request fail with 503; false ends it.
func (i *Issuer) Down(down bool) { i.set(func(f *fault) { f.down = down }) }

// Slow delays every answer. The delay ends early with the request's context.
func (i *Issuer) Slow(d time.Duration) { i.set(func(f *fault) { f.delay = d }) }

// Serve answers requests for the key set by h; nil ends it.
func (i *Issuer) Serve(h http.Handler) { i.set(func(f *fault) { f.instead = h }) }

// ServeSet publishes body as the key set without checking it.
func (i *Issuer) ServeSet(body []byte) {
	i.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
}

func (i *Issuer) set(change func(*fault)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(&i.fault)
}

// ServeHTTP serves /jwks and the discovery documents below the path of URL.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	u, _ := url.Parse(i.URL)
	jwks := r.URL.Path == u.Path+"/jwks"
	if jwks {
		i.fetches++
	}
	f := i.fault
	i.mu.Unlock()
	if f.delay > 0 {
		timer := time.NewTimer(f.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case f.down:
		http.Error(w, "down", http.StatusServiceUnavailable)
	case jwks && f.instead != nil:
		f.instead.ServeHTTP(w, r)
	case jwks:
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(i.JWKS())
	case r.URL.Path == u.Path+"/.well-known/openid-configuration", r.URL.Path == "/.well-known/oauth-authorization-server"+u.Path:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/jwks"})
	default:
		http.NotFound(w, r)
	}
}

// Client returns a client that reaches the Issuer without a network. It reaches
// no other server.
func (i *Issuer) Client() *http.Client { return &http.Client{Transport: inProcess{i}} }

type inProcess struct{ issuer *Issuer }

// RoundTrip runs the handler and passes its answer on while it is written, so
// that an answer may be larger than memory or never end.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	u, err := url.Parse(p.issuer.URL)
	if err != nil || r.URL.Host != u.Host {
		return nil, errors.New("authtest: " + r.URL.Host + " is not the issuer")
	}
	ctx, cancel := context.WithCancel(r.Context())
	body, pipe := io.Pipe()
	w := &answer{header: http.Header{}, body: pipe, ready: make(chan struct{})}
	go func() {
		p.issuer.ServeHTTP(w, r.Clone(ctx))
		if err := ctx.Err(); err != nil { // the answer was cut short
			_ = pipe.CloseWithError(err)
			return
		}
		w.WriteHeader(http.StatusOK)
		_ = pipe.Close()
	}()
	select {
	case <-w.ready:
	case <-ctx.Done():
		cancel()
		_ = body.CloseWithError(ctx.Err())
		return nil, r.Context().Err()
	}
	stop := context.AfterFunc(ctx, func() { _ = pipe.CloseWithError(ctx.Err()) })
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, ContentLength: -1, Request: r, Body: closing{body, func() { stop(); cancel() }},
	}, nil
}

// answer is the ResponseWriter of an in-process request.
type answer struct {
	header, sent http.Header
	status       int
	body         *io.PipeWriter
	ready        chan struct{}
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status, a.sent = status, a.header.Clone()
		close(a.ready)
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

type closing struct {
	*io.PipeReader
	done func()
}

func (c closing) Close() error {
	c.done()
	return c.PipeReader.Close()
}
