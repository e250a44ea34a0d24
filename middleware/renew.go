package middleware

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/internal/clocks"
	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
)

// Renew says how tokens are renewed that are authentic and have expired.
// [RenewByGenerate], [RenewByRefresh] and [RenewBySource] are ready-made values
// of Token.
//
// Requests that present the same expired token with the same credential share
// one call of Token and, for half a minute, its result. The new token is
// verified completely and must have the issuer and the subject of the old one.
// The handler runs once, with the new token in its context; its request still
// carries the old one. An expired token never causes a fetch of keys: call
// [Authenticator.Ready] at the start. Otherwise expired tokens that come first
// after it are refused.
type Renew struct {
	// Window is how long after its expiry a token may be renewed; required.
	Window time.Duration
	// Credential reads what the client must show in addition, such as a refresh
	// token in a cookie. A request for which it returns "" is not renewed. nil
	// means that the expired token is enough.
	Credential func(*http.Request) string
	// Token returns the successor of expired; required. Its context ends after
	// 30 s, and not with the request.
	Token func(ctx context.Context, expired *Verified, credential string) (providers.Token, error)
	// Deliver gives the new token to the client, in a cookie or a header of the
	// response, before the handler runs; required.
	Deliver func(http.ResponseWriter, *http.Request, providers.Token)
}

// RenewByGenerate is a Renew.Token that lets p generate a new token, such as
// ContactsManager's. request says for which user; nil means the subject of the
// expired token, as [Subject] returns it.
func RenewByGenerate(p providers.Provider, request func(expired *Verified) providers.Request) func(context.Context, *Verified, string) (providers.Token, error) {
	if request == nil {
		request = func(v *Verified) providers.Request {
			user, _ := v.User()
			return providers.Request{Subject: user}
		}
	}
	return func(ctx context.Context, expired *Verified, _ string) (providers.Token, error) {
		return p.Generate(ctx, request(expired))
	}
}

// RenewByRefresh is a Renew.Token that spends Renew.Credential, a refresh
// token, at p. The token that Deliver gets has the next refresh token.
func RenewByRefresh(p providers.Refresher) func(context.Context, *Verified, string) (providers.Token, error) {
	return func(ctx context.Context, expired *Verified, refresh string) (providers.Token, error) {
		return p.Refresh(ctx, providers.Request{Subject: expired.user()}, refresh)
	}
}

// RenewBySource is a Renew.Token for tokens that a token cache holds together
// with their refresh tokens. source chooses the record, like
// *tokencache.Cache.Source.
func RenewBySource(source func(expired *Verified, credential string) TokenSource) func(context.Context, *Verified, string) (providers.Token, error) {
	return func(ctx context.Context, expired *Verified, credential string) (providers.Token, error) {
		s := source(expired, credential)
		t, err := s.Token(ctx)
		if err == nil && t.AccessToken == expired.token {
			t, err = s.Renew(ctx, t)
		}
		return t, err
	}
}

const (
	renewTimeout = 30 * time.Second
	renewGrace   = 30 * time.Second // how long a successor is used for further requests
	renewFail    = time.Second      // how long a failure is used for further requests
	maxRenewals  = 10_000
	// maxRenewalBytes bounds the tokens that are kept for further requests.
	maxRenewalBytes = 16 << 20
)

var errNotRenewed = errors.New("middleware: the renewed token is another issuer's or subject's")

func (r *Renew) check() (errs []error) {
	if r.Window <= 0 {
		errs = append(errs, errors.New("no positive Window"))
	}
	if r.Token == nil {
		errs = append(errs, errors.New("no Token"))
	}
	if r.Deliver == nil {
		errs = append(errs, errors.New("no Deliver"))
	}
	return errs
}

// renewals shares renewals between requests.
type renewals struct {
	cfg   Renew
	clock *clocks.Clock
	calls flight.Group[struct{}]

	mu    sync.Mutex
	last  map[renewalKey]*renewal
	bytes int // of the tokens in last
	swept clocks.Instant
}

type renewalKey [sha256.Size]byte

// renewal is under way or done. Its result is written before its call is
// answered.
type renewal struct {
	token    providers.Token
	verified *Verified
	err      error
	done     bool
	until    clocks.Instant // how long its result is used, once it is done
	size     int
}

func newRenewals(cfg Renew, clock *clocks.Clock) *renewals {
	return &renewals{cfg: cfg, clock: clock, last: map[renewalKey]*renewal{}}
}

func (r *renewals) within(v *Verified, now time.Time) bool {
	return now.Sub(v.Expiry) <= r.cfg.Window
}

// renew returns the claims of the new token, or nil if there is none.
func (a *Authenticator) renew(w http.ResponseWriter, r *http.Request, token string, v *Verified) *Verified {
	s := a.renewals
	credential := ""
	if s.cfg.Credential != nil {
		if credential = s.cfg.Credential(r); credential == "" {
			return nil
		}
	}
	bare := &Authenticator{core: a.core, errors: a.errors, quiet: true} // the rules belong to each request
	n := s.join(r.Context(), token, credential, func(ctx context.Context) (providers.Token, *Verified, error) {
		began := time.Now()
		t, err := s.cfg.Token(ctx, v, credential)
		var next *Verified
		if err == nil {
			next, err = bare.Verify(ctx, t.AccessToken)
		}
		defer func() { a.renewal(context.WithoutCancel(r.Context()), began, err) }()
		switch {
		case err != nil:
		case next.Issuer != v.Issuer:
			err = fmt.Errorf("%w: its issuer is %s and not %s", errNotRenewed, quoted(next.Issuer), quoted(v.Issuer))
		case next.client != v.client:
			err = fmt.Errorf("%w: a client's token does not become a user's, or the reverse", errNotRenewed)
		case next.user() != v.user():
			err = fmt.Errorf("%w: it is another subject's", errNotRenewed)
		}
		return t, next, err
	})
	if n == nil {
		return nil
	}
	if n.err != nil {
		return nil
	}
	if err := a.permit(r.Context(), n.verified, s.clock.Wall()); err != nil {
		return nil
	}
	s.cfg.Deliver(w, r, n.token)
	return n.verified
}

// join returns the renewal of token, under way or just done, or starts one. It
// returns nil if there are too many, or if ctx ends before the renewal is done.
// The credential is part of the key: a client that has only the expired token
// must not get the result of another request's refresh token.
func (s *renewals) join(ctx context.Context, token, credential string, do func(context.Context) (providers.Token, *Verified, error)) *renewal {
	key := renewalKey(sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(token), token, credential)))
	n, ticket := s.enter(key, do)
	if n == nil || ticket == nil {
		return n
	}
	ctx, cancel := context.WithTimeout(ctx, renewTimeout+time.Second)
	defer cancel()
	if _, err := ticket.Wait(ctx); err != nil {
		return nil
	}
	return n
}

// enter finds or starts the renewal of key. Without a ticket the renewal is
// done.
func (s *renewals) enter(key renewalKey, do func(context.Context) (providers.Token, *Verified, error)) (*renewal, *flight.Ticket[struct{}]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	switch n := s.last[key]; {
	case n == nil:
	case !n.done:
		ticket := s.calls.Join(string(key[:]))
		return n, &ticket
	case !now.Reached(n.until):
		return n, nil
	}
	if now.Since(s.swept) >= renewGrace || len(s.last) >= maxRenewals {
		s.sweep(now)
		s.swept = now
	}
	if len(s.last) >= maxRenewals {
		return nil, nil
	}
	n := &renewal{}
	s.forget(key)
	s.last[key] = n
	ticket := s.calls.Start(string(key[:]), func(call *flight.Call[struct{}]) { s.run(call, key, n, do) })
	return n, &ticket
}

func (s *renewals) run(call *flight.Call[struct{}], key renewalKey, n *renewal, do func(context.Context) (providers.Token, *Verified, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), renewTimeout)
	defer cancel()
	var token providers.Token
	var verified *Verified
	var err error
	if crash := flight.Guard(func() { token, verified, err = do(ctx) }); crash != nil {
		err = crash
	}
	now := s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	n.token, n.verified, n.err = token, verified, err
	n.until = now.Add(renewGrace)
	if err != nil {
		n.until = now.Add(renewFail)
	}
	n.size = len(token.AccessToken) + len(token.RefreshToken) + entryBase
	if verified != nil {
		n.size += len(verified.token) + len(verified.Claims)
	}
	if s.bytes+n.size > maxRenewalBytes {
		s.sweep(now.Add(renewGrace)) // remove all that are done, to make room
	}
	s.bytes += n.size
	n.done = true
	call.Answer(struct{}{}, nil)
}

// sweep removes renewals that are done and whose time is over at now. The
// caller holds s.mu.
func (s *renewals) sweep(now clocks.Instant) {
	for key, n := range s.last {
		if n.done && now.Reached(n.until) {
			s.forget(key)
		}
	}
}

func (s *renewals) forget(key renewalKey) {
	if n := s.last[key]; n != nil && n.done {
		s.bytes -= n.size
	}
	delete(s.last, key)
}
