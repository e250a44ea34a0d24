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
// carries the old one.
//
// An expired token is renewed only if a key that is in use now verifies it, and
// if Config.Revoked and the rules let it pass. It does not load the first key
// set, and Resolve is not called for its issuer if that is not in memory: until
// a valid token or [Authenticator.Ready] has done so, expired tokens are
// refused.
//
// If the provider cannot answer, which is an error of class Transient or
// InDoubt, the request is answered 503. After any other error it is answered
// 401, as without Renew.
type Renew struct {
	// Window is how long after its expiry a token may be renewed; required. A
	// store of withdrawn tokens must remember them for that long after their
	// end.
	Window time.Duration
	// Credential reads what the client must show in addition, such as a refresh
	// token in a cookie. A request for which it returns "" is not renewed. nil
	// means that the expired token is enough.
	Credential func(*http.Request) string
	// Token returns the successor of expired; required. Its context ends after
	// 30 s, and not with the request. Token must obey it.
	Token func(ctx context.Context, expired *Verified, credential string) (providers.Token, error)
	// Deliver gives the new token to the client, in a cookie or a header of the
	// response, before the handler runs; required. It is also called if the
	// request is then refused: because a rule does not accept the new token, or
	// with 503 because it is not known whether the token is good. The old
	// refresh token is spent then. If the provider returned only a new refresh
	// token, Deliver gets it together with the expired access token.
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
	cfg    Renew
	clock  *clocks.Clock
	leeway time.Duration
	calls  flight.Group[struct{}]

	mu    sync.Mutex
	last  map[renewalKey]*renewal
	bytes int // of the tokens in last
	swept clocks.Instant
}

type renewalKey [sha256.Size]byte

// renewal is under way or done. Its result is written before its call is
// answered.
type renewal struct {
	token providers.Token
	err   error
	done  bool
	until clocks.Instant // how long its result is used, once it is done
	size  int
}

func newRenewals(cfg Renew, clock *clocks.Clock, leeway time.Duration) *renewals {
	return &renewals{cfg: cfg, clock: clock, leeway: leeway, last: map[renewalKey]*renewal{}}
}

func (r *renewals) within(v *Verified, now time.Time) bool {
	return now.Sub(v.Expiry) <= r.cfg.Window
}

// renew returns the claims of the new token, or the refusal of the request.
// expired is the refusal of the token that was presented.
func (a *Authenticator) renew(w http.ResponseWriter, r *http.Request, token string, v *Verified, expired *Error) (*Verified, *Error) {
	s := a.renewals
	credential := ""
	if s.cfg.Credential != nil {
		if credential = s.cfg.Credential(r); credential == "" {
			return nil, expired
		}
	}
	n := s.join(r.Context(), token, credential, func(ctx context.Context) (providers.Token, *Verified, error) {
		return a.callRenew(ctx, r.Context(), v, credential)
	})
	if n == nil {
		return nil, expired
	}
	if n.err != nil {
		return nil, a.unrenewed(w, r, n, token, v, expired)
	}
	quiet := &Authenticator{core: a.core, rules: a.rules, errors: a.errors, quiet: true}
	next, err := quiet.verify(r.Context(), n.token.AccessToken)
	switch {
	case err != nil && err.final():
		return nil, expired
	case err == nil && sameParty(v, next) != nil:
		return nil, expired
	}
	// The credential is spent. Its successor must reach the client even if this
	// request is refused.
	s.cfg.Deliver(w, r, n.token)
	if err != nil {
		return nil, err
	}
	return next, nil
}

// callRenew calls Renew.Token and checks the new token, except for the rules,
// which belong to each request. Its error means that the new token is not
// used. If it is not known whether the token is good, Verified and error are
// nil.
func (a *Authenticator) callRenew(ctx, request context.Context, v *Verified, credential string) (providers.Token, *Verified, error) {
	began := time.Now()
	var t providers.Token
	var next *Verified
	var err error
	if crash := flight.Guard(func() { t, err = a.renewals.cfg.Token(ctx, v, credential) }); crash != nil {
		err = crash
	}
	if err != nil && !outage(err) {
		t = providers.Token{}
	}
	open := false
	if err == nil {
		bare := &Authenticator{core: a.core, errors: a.errors, quiet: true}
		var refusal *Error
		if next, refusal = bare.verify(ctx, t.AccessToken); refusal != nil {
			next, err, open = nil, refusal, !refusal.final()
		} else {
			err = sameParty(v, next)
		}
		if err != nil && !open {
			t = providers.Token{}
		}
	}
	a.renewal(context.WithoutCancel(request), began, err)
	if open {
		err = nil
	}
	return t, next, err
}

// sameParty reports what makes next the token of another party than v.
func sameParty(v, next *Verified) error {
	switch {
	case next.Issuer != v.Issuer:
		return fmt.Errorf("%w: its issuer is %s and not %s", errNotRenewed, quoted(next.Issuer), quoted(v.Issuer))
	case next.client != v.client:
		return fmt.Errorf("%w: a client's token does not become a user's, or the reverse", errNotRenewed)
	case next.user() != v.user():
		return fmt.Errorf("%w: it is another subject's", errNotRenewed)
	}
	return nil
}

// unrenewed returns the refusal of a request whose token was not renewed. An
// outage is 503. A provider may return a new refresh token beside its error
// (see [providers.Refresher]); the client then gets it.
func (a *Authenticator) unrenewed(w http.ResponseWriter, r *http.Request, n *renewal, token string, v *Verified, expired *Error) *Error {
	if !outage(n.err) {
		return expired
	}
	if n.token.RefreshToken != "" {
		a.renewals.cfg.Deliver(w, r, providers.Token{AccessToken: token, RefreshToken: n.token.RefreshToken, Expiry: v.Expiry})
	}
	e := a.cannotTell(n.err)
	e.told = true // by renewal
	return e
}

// outage reports whether err says that the provider could not answer. An
// [*Error] is a refusal of the token that it returned.
func outage(err error) bool {
	var refusal *Error
	var e *providers.Error
	return !errors.As(err, &refusal) && errors.As(err, &e) && (e.Class == providers.Transient || e.Class == providers.InDoubt)
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
	n.token, n.err = token, err
	n.until = now.Add(renewGrace)
	switch {
	case err != nil && token.RefreshToken == "":
		n.until = now.Add(renewFail)
	case verified != nil && !verified.Expiry.IsZero():
		n.until.Wall = min(n.until.Wall, verified.Expiry.Add(s.leeway).UnixNano())
	}
	n.size = len(token.AccessToken) + len(token.RefreshToken) + entryBase
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
