package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/internal/attached"
	"github.com/bearerkit/bearerkit/internal/replay"
	"github.com/bearerkit/bearerkit/providers"
)

// TokenSource yields the current token of one grant. *tokencache.Source is one.
type TokenSource interface {
	// Token returns the token to present now.
	Token(context.Context) (providers.Token, error)
	// Renew returns a newer token than rejected, which a server refused.
	Renew(ctx context.Context, rejected providers.Token) (providers.Token, error)
}

// Fixed returns a [Transport.Source] that uses s for every request.
func Fixed(s TokenSource) func(*http.Request) (TokenSource, error) {
	return func(*http.Request) (TokenSource, error) { return s, nil }
}

// Transport is an http.RoundTripper that attaches a token to a clone of each
// request. If the server answers 401, it renews the token and sends the request
// once more. A RoundTrip therefore sends at most two requests. A RoundTripper
// that retries may be its Base or may wrap it.
//
// The caller gets the first 401, with its body unread, in these cases: the
// renewal fails or returns the same token; the request's body cannot be sent
// again; the request's context is done; or the challenge asks for something
// that a newer token would not have, see [ChallengeFrom]. A second 401 is
// final. Observer and RenewalErrors tell why a renewal failed.
//
// A token is attached only over https, to a loopback host, or to a host of
// DangerouslyPlainHTTP. Every hop of a redirect chain must also be within
// Origins or, without Origins, within the origin that the caller addressed (RFC
// 6454). From the first hop outside, and from a hop that leads from https to
// http, requests have no token, and a 401 to them renews nothing.
//
// Only Source is required. The zero value fails every request. A Transport is
// safe for concurrent use. Its fields must not change after the first request.
type Transport struct {
	// Source chooses the TokenSource of a request, from its context, claims or
	// headers. If it or the TokenSource fails, the request is not sent and
	// RoundTrip returns the error.
	Source func(*http.Request) (TokenSource, error)
	// Base sends the requests. Nil means http.DefaultTransport.
	Base http.RoundTripper
	// Origins are the origins that may see the token, such as
	// "https://api.example.com".
	Origins []string
	// DangerouslyPlainHTTP lists servers, as exact host:port like
	// "orders:8080", that may see the token over http: inside a compose network
	// or a service mesh. Every host between can read the token.
	DangerouslyPlainHTTP []string
	// Attach puts the token on a request. It may write to the request's Header
	// and URL. nil means "Authorization: Bearer" (RFC 6750 section 2.1).
	Attach func(*http.Request, providers.Token)
	// Rejected reports whether an answer other than 401 means that the token
	// was refused, such as Kudo's 403 "Wrong token". It is called for 403 and
	// RejectedStatuses. It is not called for answers to HEAD, for streams of
	// events or records, or for challenges that [ChallengeFrom] reads. start is
	// up to 512 bytes of the body. nil means that only 401 refuses a token.
	Rejected func(res *http.Response, start []byte) bool
	// RejectedStatuses are further statuses for which Rejected is called, such
	// as 400, 498, or 200 for servers that report errors with it. Unlike 401
	// and 403 they do not show that the request had no effect. A request is
	// therefore renewed and sent again only if its method is idempotent (RFC
	// 9110 section 9.2.2) or in RejectedMethods. Statuses below 200 are
	// ignored.
	RejectedStatuses []int
	// RejectedMethods are methods, such as "POST", that may be sent again after
	// an answer with one of RejectedStatuses.
	RejectedMethods []string
	// MaxReplayBody is how many bytes of a body without GetBody are kept to be
	// sent again. 0 means 256 KiB, negative means none. If the first send read
	// nothing of the body, the body needs no copy and is sent again at any
	// size.
	MaxReplayBody int
	// RenewalErrors makes RoundTrip return a [*RenewalError] if the renewal
	// failed, instead of the answer that refused the token.
	RenewalErrors bool
	// Observer, if set, gets the Transport's events, with the request's
	// context, before RoundTrip returns. The package comment lists them. It
	// must be safe for concurrent use.
	Observer func(context.Context, providers.Event)
}

const (
	maxDrain  = 64 << 10
	drainTime = 250 * time.Millisecond
	maxPeek   = 512
)

// RenewalError says why a token that a server refused was not renewed. If
// Status is 401 or 403, the server did not act on the request; otherwise it may
// have done so. RoundTrip returns it if
// [Transport.RenewalErrors] is set.
type RenewalError struct {
	// Status is the status with which the server refused the token.
	Status int
	// Err is the error of [TokenSource.Renew] or of the request's context.
	Err error
}

func (e *RenewalError) Error() string {
	return fmt.Sprintf("middleware: the server refused the token (status %d) and renewing it failed: %v", e.Status, e.Err)
}

// Unwrap returns Err.
func (e *RenewalError) Unwrap() error { return e.Err }

var errSameToken = errors.New("the renewal brought no other token")

// RoundTrip implements http.RoundTripper. It returns errors of Source
// unchanged; errors.As finds the *providers.Error in them.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	attach, err := t.mayAttach(req)
	if err != nil {
		return nil, closeBody(req, err)
	}
	if !attach {
		return t.send(req, req, sendBare)
	}
	source, tok, err := t.token(req)
	if err != nil {
		t.observe(req, providers.Event{Kind: kindNoToken, Outcome: outcome(err)})
		return nil, closeBody(req, err)
	}
	body := replay.New(req, t.MaxReplayBody)
	res, err := t.attempt(req, body.First(), tok, sendFirst)
	if err != nil || !t.refused(req, res) {
		body.Settle()
		return res, err
	}
	body.Freeze()
	next, err := t.renew(req, source, tok)
	if err != nil {
		body.Settle()
		return t.unrenewed(res, err)
	}
	// Reading the rest keeps an HTTP/1 connection alive. HTTP/2 does not need
	// it, and a server that still waits for the first body would never end its
	// answer.
	drain := res.ProtoMajor == 1 && body.Sent() && res.ContentLength <= maxDrain && !streaming(res.Header.Get("Content-Type"))
	second, ok := body.Second()
	if !ok {
		t.observe(req, providers.Event{Kind: kindNotReplayable})
		return res, nil
	}
	if drain {
		// A body that does not end must not delay the second send.
		timer := time.AfterFunc(drainTime, func() { _ = res.Body.Close() })
		_, _ = io.CopyN(io.Discard, res.Body, maxDrain)
		timer.Stop()
	}
	_ = res.Body.Close()
	return t.attempt(req, second, next, sendReplay)
}

// CloseIdleConnections calls that of Base.
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

// notAccess is the type of a token that is an assertion for another server and
// must not be presented (RFC 8693 section 2.2.1).
const notAccess = "N_A"

var errNotAccess = errors.New("middleware: TokenSource returned a token of type N_A, which is not an access token")

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
	switch {
	case err != nil:
	case tok.AccessToken == "":
		err = errors.New("middleware: TokenSource returned an empty token")
	case tok.TokenType == notAccess:
		err = errNotAccess
	}
	return source, tok, err
}

// attempt sends a clone of req. It writes only to the clone's Header, and to
// its URL if there is an Attach. The clone shares Trailer, because its values
// arrive while the body is read.
func (t *Transport) attempt(req *http.Request, body io.ReadCloser, tok providers.Token, op string) (*http.Response, error) {
	clone := req.WithContext(req.Context())
	clone.Header = req.Header.Clone()
	if clone.Header == nil {
		clone.Header = make(http.Header, 1)
	}
	clone.Body = body
	attached.Tell(req.Context(), tok.Expiry)
	if t.Attach != nil {
		u := *req.URL
		clone.URL = &u
		t.Attach(clone, tok)
	} else {
		clone.Header.Set("Authorization", "Bearer "+tok.AccessToken)
	}
	return t.send(clone, req, op)
}

// send sets Response.Request to the caller's request. The clone's token is then
// not visible to the caller, and http.Client's redirects follow the caller's
// requests.
func (t *Transport) send(out, req *http.Request, op string) (*http.Response, error) {
	began := t.clock()
	res, err := t.base().RoundTrip(out)
	if res != nil {
		res.Request = req
	}
	t.observeSend(req, op, began, res, err)
	return res, err
}

// renew returns the successor of tok.
func (t *Transport) renew(req *http.Request, source TokenSource, tok providers.Token) (providers.Token, error) {
	ctx, began := req.Context(), t.clock()
	var next providers.Token
	err := ctx.Err()
	if err == nil {
		next, err = source.Renew(ctx, tok)
	}
	if err == nil {
		err = ctx.Err()
	}
	switch {
	case err != nil:
	case next.AccessToken == "" || next.AccessToken == tok.AccessToken:
		err = errSameToken
	case next.TokenType == notAccess:
		err = errNotAccess
	}
	t.observeRenewal(req, began, err)
	return next, err
}

func (t *Transport) unrenewed(res *http.Response, err error) (*http.Response, error) {
	if !t.RenewalErrors {
		return res, nil
	}
	_ = res.Body.Close()
	return nil, &RenewalError{Status: res.StatusCode, Err: err}
}

func closeBody(req *http.Request, err error) error {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return err
}
