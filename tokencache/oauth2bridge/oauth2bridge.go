// Package oauth2bridge connects the token cache and golang.org/x/oauth2, both
// ways: [Provider] puts any oauth2.TokenSource behind the cache, [TokenSource]
// puts the cache behind everything that takes an oauth2.TokenSource.
package oauth2bridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/oauth2"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

const op = "oauth2: token"

// Provider returns a provider whose tokens come from source, whatever the
// Request. Give it a source that asks its server each time, such as that of
// clientcredentials without an oauth2.ReuseTokenSource around it: tokencache is
// the cache, and behind another one it gets the token back that it renews.
//
// Errors are *providers.Errors that hold nothing of the server's answer but its
// status and error code. A source cannot be cancelled; Generate returns when
// its context ends, and the source's call ends by itself.
func Provider(source oauth2.TokenSource) providers.Provider { return fromOAuth2{source} }

type fromOAuth2 struct{ source oauth2.TokenSource }

type answer struct {
	token *oauth2.Token
	err   error
}

// Generate implements providers.Provider.
func (p fromOAuth2) Generate(ctx context.Context, _ providers.Request) (providers.Token, error) {
	if err := ctx.Err(); err != nil {
		return providers.Token{}, err
	}
	if p.source == nil {
		return providers.Token{}, &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent, Op: op, Err: errors.New("no oauth2.TokenSource")}
	}
	sent := time.Now()
	answered := make(chan answer, 1)
	go func() {
		var a answer
		if err := flight.Guard(func() { a.token, a.err = p.source.Token() }); err != nil {
			a.err = err
		}
		answered <- a
	}()
	select {
	case a := <-answered:
		return convert(a, sent)
	case <-ctx.Done():
		return providers.Token{}, ctx.Err()
	}
}

func convert(a answer, sent time.Time) (providers.Token, error) {
	switch {
	case a.err != nil:
		return providers.Token{}, failure(a.err)
	case a.token == nil || a.token.AccessToken == "":
		return providers.Token{}, &providers.Error{Code: providers.CodeBadResponse, Class: providers.Transient, Op: op, Err: errors.New("no access token")}
	}
	return providers.Token{AccessToken: a.token.AccessToken, TokenType: a.token.Type(), Expiry: a.token.Expiry, IssuedAt: sent}, nil
}

// failure classifies err. An oauth2.RetrieveError prints the server's whole
// answer, which may repeat what it was sent, so that it is not kept.
func failure(err error) error {
	e := &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient, Op: op}
	var retrieve *oauth2.RetrieveError
	if !errors.As(err, &retrieve) {
		e.Err = upstream.Cause(err)
		return e
	}
	if retrieve.Response != nil {
		e.Status = retrieve.Response.StatusCode
		e.RetryAfter = retryAfter(retrieve.Response.Header)
	}
	if knownError(retrieve.ErrorCode) {
		e.Err = fmt.Errorf("the token endpoint answered %s", retrieve.ErrorCode)
	}
	switch {
	case retrieve.ErrorCode == "invalid_grant":
		e.Code, e.Class = providers.CodeRefreshRejected, providers.Permanent
	case retrieve.ErrorCode == "invalid_client" || retrieve.ErrorCode == "unauthorized_client":
		e.Code, e.Class = providers.CodeCredentialsRejected, providers.Permanent
	case e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable:
		e.Code = providers.CodeBusy
	case e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooEarly || e.Status >= 500:
		e.Code = providers.CodeUpstreamError
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		e.Code, e.Class = providers.CodeCredentialsRejected, providers.Permanent
	case e.Status >= 400:
		e.Code, e.Class = providers.CodeRejectedInput, providers.Permanent
	default:
		e.Code = providers.CodeBadResponse
	}
	return e
}

// knownError reports an error code of RFC 6749 section 5.2.
func knownError(code string) bool {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope":
		return true
	}
	return false
}

// retryAfter reads the seconds form, bounded to an hour.
func retryAfter(h http.Header) time.Duration {
	s, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(s)*time.Second, time.Hour)
}

// lifetime is what a token without Expiry is given: oauth2.ReuseTokenSource
// would keep it for ever.
const lifetime = time.Minute

// TokenSource returns an oauth2.TokenSource over source, for oauth2.NewClient,
// Google's and other clients that take one. ctx is the context of its calls.
// Each Token is a new value, for oauth2's callers may change it, and has an
// Expiry, so that an oauth2.ReuseTokenSource around it comes back. It is safe
// for concurrent use.
//
// oauth2.Transport does not renew on 401 and sends the token along redirects to
// other hosts (golang/oauth2#805): prefer middleware.Transport where there is a
// choice.
func TokenSource(ctx context.Context, source *tokencache.Source) oauth2.TokenSource {
	return toOAuth2{ctx, source}
}

type toOAuth2 struct {
	ctx    context.Context
	source *tokencache.Source
}

// Token implements oauth2.TokenSource.
func (s toOAuth2) Token() (*oauth2.Token, error) {
	if s.source == nil {
		return nil, errors.New("oauth2bridge: no Source")
	}
	t, err := s.source.Token(s.ctx)
	if err != nil {
		return nil, err
	}
	expiry := t.Expiry
	if expiry.IsZero() {
		expiry = time.Now().Add(lifetime)
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: expiry}, nil
}
