// Package oauth2bridge connects the token cache and golang.org/x/oauth2 in both
// directions. [ProviderFunc] and [Provider] put what x/oauth2 has behind the cache.
// [TokenSource] puts the cache behind code that takes an oauth2.TokenSource.
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
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

const op = "oauth2: token"

// Provider returns a provider whose tokens come from source, whatever the
// Request says. A Request with an Assertion or an Actor is refused. source must
// ask its server at each call. The TokenSource of a clientcredentials.Config
// does not: it keeps its token until the expiry, and a renewal by the cache
// returns the same token again. Use [ProviderFunc] with Config.Token instead.
//
// Errors are *providers.Errors. From the server's answer they contain only its
// status and error code. A source cannot be cancelled: Generate returns when
// its context ends, and the source's call continues until it ends itself. Until
// then the provider makes no second call: the next Generate waits for that one
// and has its token.
func Provider(source oauth2.TokenSource) providers.Provider {
	if source == nil {
		return &fromOAuth2{missing: "no oauth2.TokenSource"}
	}
	return &fromOAuth2{fetch: func(context.Context) (*oauth2.Token, error) { return source.Token() }}
}

// ProviderFunc is [Provider] for a function, such as the method Token of a
// clientcredentials.Config. It ends with its context. The context has a deadline
// and no values; an http.Client for x/oauth2 is put into it by fetch.
func ProviderFunc(fetch func(context.Context) (*oauth2.Token, error)) providers.Provider {
	if fetch == nil {
		return &fromOAuth2{missing: "no function"}
	}
	return &fromOAuth2{fetch: fetch}
}

type fromOAuth2 struct {
	fetch   func(context.Context) (*oauth2.Token, error)
	missing string // what is nil, if fetch is
	calls   flight.Group[answer]
}

type answer struct {
	token *oauth2.Token
	err   error
	sent  time.Time
	left  bool // the Generate that made the call had left
}

// Generate implements providers.Provider.
func (p *fromOAuth2) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	if err := ctx.Err(); err != nil {
		return providers.Token{}, err
	}
	if err := wire.NoAssertion(req); err != nil {
		return providers.Token{}, err
	}
	if p.fetch == nil {
		return providers.Token{}, &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent, Op: op, Err: errors.New(p.missing)}
	}
	for {
		a, err := p.calls.Start("", func(c *flight.Call[answer]) { c.Answer(p.call(ctx), nil) }).Wait(ctx)
		if err != nil {
			a.err = err
		}
		switch {
		case a.err != nil && ctx.Err() != nil:
			return providers.Token{}, ctx.Err()
		case a.err != nil && a.left: // another's call, which failed after its context
			continue
		}
		return convert(a)
	}
}

// call makes one call of the source.
func (p *fromOAuth2) call(ctx context.Context) answer {
	a := answer{sent: time.Now()}
	if err := flight.Guard(func() { a.token, a.err = p.fetch(ctx) }); err != nil {
		a.err = err
	}
	a.left = ctx.Err() != nil
	return a
}

func convert(a answer) (providers.Token, error) {
	switch {
	case a.err != nil:
		return providers.Token{}, failure(a.err)
	case a.token == nil || a.token.AccessToken == "":
		return providers.Token{}, &providers.Error{Code: providers.CodeBadResponse, Class: providers.Transient, Op: op, Err: errors.New("no access token")}
	}
	return providers.Token{AccessToken: a.token.AccessToken, TokenType: a.token.Type(), Expiry: a.token.Expiry, IssuedAt: a.sent}, nil
}

// failure classifies err. It does not keep an oauth2.RetrieveError, because
// that prints the server's whole answer, which may repeat the request.
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

// knownError reports whether code is one of RFC 6749 section 5.2.
func knownError(code string) bool {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope":
		return true
	}
	return false
}

// retryAfter reads Retry-After in seconds, at most an hour.
func retryAfter(h http.Header) time.Duration {
	s, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(s)*time.Second, time.Hour)
}

// lifetime is the lifetime of a token without Expiry. An
// oauth2.ReuseTokenSource would keep a token without Expiry for ever.
const lifetime = time.Minute

// TokenSource returns an oauth2.TokenSource over source, for oauth2.NewClient
// and for clients that take one, such as Google's. ctx is the context of its
// calls. Each call of Token returns a new value, because callers of oauth2 may
// change it. The value has an Expiry, so that an oauth2.ReuseTokenSource around
// it asks again. It is safe for concurrent use.
//
// oauth2.Transport does not renew on 401 and sends the token along redirects to
// other hosts (golang/oauth2#805). Prefer middleware.Transport if you can
// choose.
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
	if t.TokenType == "N_A" { // RFC 8693 section 2.2.1
		return nil, errors.New("oauth2bridge: the Source has a token of type N_A, which is not an access token")
	}
	expiry := t.Expiry
	if expiry.IsZero() {
		expiry = time.Now().Add(lifetime)
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: expiry}, nil
}
