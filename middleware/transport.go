package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// TokenSource yields the current token of one grant. *tokencache.Source is one.
type TokenSource interface {
	// Token returns the token to present now.
	Token(context.Context) (providers.Token, error)
	// Renew returns a token newer than rejected, which a server refused.
	Renew(ctx context.Context, rejected providers.Token) (providers.Token, error)
}

// Fixed is a [Transport.Source] that uses s for every request.
func Fixed(s TokenSource) func(*http.Request) (TokenSource, error) {
	return func(*http.Request) (TokenSource, error) { return s, nil }
}

// Transport is an http.RoundTripper that attaches a token to a clone of each
// request. When the server answers 401 it renews the token and sends the
// request once more, so that a RoundTrip costs two sends at most. It wraps a
// caller's retrying RoundTripper (as Base) or is wrapped by one.
//
// The first 401 reaches the caller, its body unread, if the renewal fails or
// brings the same token, if the request's body cannot be sent again, if the
// request's context is done, or if the challenge asks for something a newer
// token would not have: see [ChallengeFrom]. A second 401 is final.
//
// A token is attached only over https or to a loopback host, and only while
// every hop of a redirect chain stays within Origins, or without Origins,
// within the origin the caller addressed (RFC 6454). From the first hop
// outside, requests go bare, and their 401s renew nothing.
//
// The zero value fails every request; only Source is required. A Transport is
// safe for concurrent use; its fields must not change after the first request.
type Transport struct {
	// Source chooses whose token a request carries, from its context, claims
	// or headers. Its error, or the TokenSource's, fails the request unsent.
	Source func(*http.Request) (TokenSource, error)
	// Base sends the requests. Nil means http.DefaultTransport.
	Base http.RoundTripper
	// Origins are those that may see the token, like "https://api.example.com".
	Origins []string
	// Attach puts the token on a request, whose Header and URL it may write
	// to. Nil means "Authorization: Bearer" (RFC 6750 section 2.1).
	Attach func(*http.Request, providers.Token)
	// Rejected reports whether a 403 means that the token was refused, as
	// Kudo's "Wrong token" does. start is up to 512 bytes of the answer's
	// body. Nil means that no 403 does.
	Rejected func(res *http.Response, start []byte) bool
	// MaxReplayBody is how many bytes of a body without GetBody are kept to
	// be sent again. 0 means 256 KiB, negative none. A body of which the
	// first send read nothing needs no copy and is sent again at any size.
	MaxReplayBody int
}

const (
	defaultReplayBody = 256 << 10
	maxDrain          = 64 << 10
	maxPeek           = 512
)

// RoundTrip implements http.RoundTripper. Errors of Source are returned as
// they are; errors.As finds the *providers.Error in them.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	within, err := t.originAllowed(req)
	if err != nil {
		return nil, closeBody(req, err)
	}
	if !within {
		return t.send(req, req)
	}
	if req.URL.Scheme != "https" && !upstream.Loopback(req.URL.Hostname()) {
		return nil, closeBody(req, fmt.Errorf("middleware: no token over %s to %s", req.URL.Scheme, req.URL.Host))
	}
	source, tok, err := t.token(req)
	if err != nil {
		return nil, closeBody(req, err)
	}
	body := newReplay(req, t.MaxReplayBody)
	res, err := t.attempt(req, body.first(), tok)
	if err != nil || !t.refused(res) {
		body.settle()
		return res, err
	}
	body.freeze()
	next, ok := renew(req.Context(), source, tok)
	if !ok {
		body.settle()
		return res, nil
	}
	// Reading on keeps an HTTP/1 connection alive. HTTP/2 has no need of it, and
	// a server still waiting for the first body would never end its answer.
	drain := res.ProtoMajor == 1 && body.sent()
	second, ok := body.second()
	if !ok {
		return res, nil
	}
	if drain {
		_, _ = io.CopyN(io.Discard, res.Body, maxDrain)
	}
	_ = res.Body.Close()
	return t.attempt(req, second, next)
}

// CloseIdleConnections passes the call on to Base.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return http.DefaultTransport
}

func (t *Transport) token(req *http.Request) (TokenSource, providers.Token, error) {
	if t.Source == nil {
		return nil, providers.Token{}, errors.New("middleware: Transport.Source is nil")
	}
	source, err := t.Source(req)
	if err != nil {
		return nil, providers.Token{}, err
	}
	if source == nil {
		return nil, providers.Token{}, errors.New("middleware: Transport.Source returned no TokenSource")
	}
	tok, err := source.Token(req.Context())
	if err == nil && tok.AccessToken == "" {
		err = errors.New("middleware: TokenSource returned an empty token")
	}
	return source, tok, err
}

// attempt sends a clone of req. Header, and URL if there is an Attach, are the
// only parts of the clone that are written to; Trailer stays shared, for its
// values arrive while the body is read.
func (t *Transport) attempt(req *http.Request, body io.ReadCloser, tok providers.Token) (*http.Response, error) {
	clone := req.WithContext(req.Context())
	clone.Header = req.Header.Clone()
	if clone.Header == nil {
		clone.Header = make(http.Header, 1)
	}
	clone.Body = body
	if t.Attach != nil {
		u := *req.URL
		clone.URL = &u
		t.Attach(clone, tok)
	} else {
		clone.Header.Set("Authorization", "Bearer "+tok.AccessToken)
	}
	return t.send(clone, req)
}

// send makes Response.Request the caller's request: the clone's token stays in
// here, and http.Client's redirects find their way back along it.
func (t *Transport) send(out, req *http.Request) (*http.Response, error) {
	res, err := t.base().RoundTrip(out)
	if res != nil {
		res.Request = req
	}
	return res, err
}

// refused reports whether a newer token may turn res into a success.
func (t *Transport) refused(res *http.Response) bool {
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		return ChallengeFrom(res) == nil
	case res.StatusCode == http.StatusForbidden && t.Rejected != nil:
		start, err := io.ReadAll(io.LimitReader(res.Body, maxPeek))
		rest := io.Reader(res.Body)
		if err != nil {
			rest = failing{err}
		}
		res.Body = readCloser{io.MultiReader(bytes.NewReader(start), rest), res.Body}
		return t.Rejected(res, start)
	}
	return false
}

func renew(ctx context.Context, source TokenSource, tok providers.Token) (providers.Token, bool) {
	if ctx.Err() != nil {
		return providers.Token{}, false
	}
	next, err := source.Renew(ctx, tok)
	ok := err == nil && next.AccessToken != "" && next.AccessToken != tok.AccessToken && ctx.Err() == nil
	return next, ok
}

func closeBody(req *http.Request, err error) error {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return err
}

type readCloser struct {
	io.Reader
	io.Closer
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
