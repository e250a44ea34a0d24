package middleware

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// Renew says how tokens that are authentic and merely expired are renewed.
// [RenewByGenerate], [RenewByRefresh] and [RenewBySource] are ready-made
// values of Token.
//
// Requests that present one expired token, with one credential, share one call
// of Token and, for half a minute, its result. The new token passes the whole
// verification, and must have the issuer and subject of the old one. The
// handler runs once, with the new token in its context; its request still
// carries the old one. An expired token never has keys fetched: have
// [Authenticator.Ready] asked at the start, or those that come first after it
// are refused.
type Renew struct {
	// Window is how long after its expiry a token may be renewed; required.
	Window time.Duration
	// Credential reads what else the client must show, such as a refresh
	// token in a cookie; a request for which it returns "" is not renewed.
	// Nil means that the expired token is enough.
	Credential func(*http.Request) string
	// Token gets the successor of expired; required. It runs on a context of
	// its own, bounded to 30 s.
	Token func(ctx context.Context, expired *Verified, credential string) (providers.Token, error)
	// Deliver hands the new token to the client, in a cookie or a header of
	// the response, before the handler runs; required.
	Deliver func(http.ResponseWriter, *http.Request, providers.Token)
}

// RenewByGenerate is a Renew.Token that has p issue a new token, like
// ContactsManager's. request says for whom; nil means for the subject of the
// expired token.
func RenewByGenerate(p providers.Provider, request func(expired *Verified) providers.Request) func(context.Context, *Verified, string) (providers.Token, error) {
	if request == nil {
		request = func(v *Verified) providers.Request { return providers.Request{Subject: v.Subject} }
	}
	return func(ctx context.Context, expired *Verified, _ string) (providers.Token, error) {
		return p.Generate(ctx, request(expired))
	}
}

// RenewByRefresh is a Renew.Token that spends Renew.Credential, a refresh
// token, at p. Deliver finds the next one in the token.
func RenewByRefresh(p providers.Refresher) func(context.Context, *Verified, string) (providers.Token, error) {
	return func(ctx context.Context, expired *Verified, refresh string) (providers.Token, error) {
		return p.Refresh(ctx, providers.Request{Subject: expired.Subject}, refresh)
	}
}

// RenewBySource is a Renew.Token for tokens that a token cache holds, refresh
// token included: source chooses the record, like *tokencache.Cache.Source.
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
	renewGrace   = 30 * time.Second // how long a successor is handed out again
	renewFail    = time.Second      // how long a failure holds
	maxRenewals  = 10_000
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
	cfg Renew
	now func() time.Time

	mu    sync.Mutex
	last  map[[sha256.Size]byte]*renewal
	swept time.Time
}

type renewal struct {
	done     chan struct{}
	token    providers.Token
	verified *Verified
	err      error
	until    time.Time // zero while it is under way
}

func newRenewals(cfg Renew, now func() time.Time) *renewals {
	return &renewals{cfg: cfg, now: now, last: map[[sha256.Size]byte]*renewal{}}
}

func (r *renewals) within(v *Verified, now time.Time) bool {
	return now.Sub(v.Expiry) <= r.cfg.Window
}

// renew returns what the new token says, nil if there is none.
func (a *Authenticator) renew(w http.ResponseWriter, r *http.Request, token string, v *Verified) *Verified {
	s := a.renewals
	credential := ""
	if s.cfg.Credential != nil {
		if credential = s.cfg.Credential(r); credential == "" {
			return nil
		}
	}
	bare := &Authenticator{core: a.core, errors: a.errors, quiet: true} // the rules are each request's own
	n := s.join(token, credential, func(ctx context.Context) (providers.Token, *Verified, error) {
		began := time.Now()
		t, err := s.cfg.Token(ctx, v, credential)
		var next *Verified
		if err == nil {
			next, err = bare.Verify(ctx, t.AccessToken)
		}
		defer func() { a.renewal(context.WithoutCancel(r.Context()), began, err) }()
		if err == nil && (next.Issuer != v.Issuer || next.Subject != v.Subject) {
			err = errNotRenewed
		}
		return t, next, err
	})
	if n == nil {
		return nil
	}
	select {
	case <-n.done:
	case <-r.Context().Done():
		return nil
	}
	if n.err != nil {
		return nil
	}
	if err := a.permit(r.Context(), n.verified, s.now()); err != nil {
		return nil
	}
	s.cfg.Deliver(w, r, n.token)
	return n.verified
}

// join returns the renewal of token under way or just done, or starts one, or
// nil if there are too many. The credential is part of the key: who has only the
// expired token must not partake of a refresh token that another request showed.
func (s *renewals) join(token, credential string, do func(context.Context) (providers.Token, *Verified, error)) *renewal {
	key := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(token), token, credential))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if n := s.last[key]; n != nil && (n.until.IsZero() || now.Before(n.until)) {
		return n
	}
	if now.Sub(s.swept) >= renewGrace || len(s.last) >= maxRenewals {
		maps.DeleteFunc(s.last, func(_ [sha256.Size]byte, n *renewal) bool { return !n.until.IsZero() && !now.Before(n.until) })
		s.swept = now
	}
	if len(s.last) >= maxRenewals {
		return nil
	}
	n := &renewal{done: make(chan struct{}), err: errUnavailable}
	s.last[key] = n
	go s.run(n, do)
	return n
}

func (s *renewals) run(n *renewal, do func(context.Context) (providers.Token, *Verified, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), renewTimeout)
	defer cancel()
	var token providers.Token
	var verified *Verified
	err := errUnavailable
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("renewing panicked with a %T", p)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		n.token, n.verified, n.err = token, verified, err
		n.until = s.now().Add(renewGrace)
		if err != nil {
			n.until = s.now().Add(renewFail)
		}
		close(n.done)
	}()
	token, verified, err = do(ctx)
}
