package providertest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// Suite describes a provider to [Run].
type Suite struct {
	// New builds the provider against an upstream at baseURL, which is http on
	// a loopback address. Run calls it for every case. The provider must use
	// the real clock.
	New func(t testing.TB, baseURL string) providers.Provider
	// Request is a request that the provider accepts.
	Request providers.Request
	// Answer is the body of the upstream's successful answer to Generate and
	// Refresh. "" means that the provider calls no upstream; the cases about an
	// upstream are then left out. If Answer is JSON, Run makes further answers
	// from it: one without the refresh token, one without the access token. It
	// knows their members by the usual names, or by values that the provider
	// returns or Secrets lists.
	Answer string
	// Refusal is the body of a 4xx answer that refuses a call; "" means
	// {"error":"invalid_request"}.
	Refusal string
	// RefreshToken, if not empty, is the refresh token that Refresh is called
	// with.
	RefreshToken string
	// AccessToken, if not empty, is the token that Verify is called with.
	// VerifyAnswer is the body of the upstream's answer that it is valid.
	AccessToken, VerifyAnswer string
	// RevokeAnswer, if not empty, is the body of the upstream's answer to a
	// revocation. Revoke is then called with RefreshToken or, without one,
	// AccessToken.
	RevokeAnswer string
	// Secrets must never be visible: every key that New uses and every token in
	// the answers. RefreshToken and AccessToken need not be repeated.
	Secrets []string
}

// refusing is the address of an upstream that refuses every connection. The
// system gives its port to no server. It may give the port of a server that was
// closed to another one.
const refusing = "http://127.0.0.1:1"

// patience is the most time for a step that should take none.
const patience = 10 * time.Second

// op is one of the provider's calls.
type op struct {
	name   string
	answer string // the upstream's success
	call   func(context.Context, providers.Provider) (any, error)
}

// Run checks that a provider keeps the contract of package providers whatever
// its upstream does:
//
//   - Every error is an [*providers.Error] with a Code, and every call makes at
//     most one request.
//   - Cancellation and deadlines end a call. Bodies that are oversized, cut or
//     no JSON are errors. Redirects are not followed.
//   - 429, 503, other 5xx, 408 and 425 are transient. A refusal with a reason
//     is permanent or, on a refresh, the end of the grant. A page of HTML or an
//     empty refusal is neither. Retry-After counts.
//   - If a refresh token works once (see [providers.Moder]: rotating or
//     exclusive), a refresh whose answer was lost is in doubt. A new refresh
//     token in an answer that is otherwise unusable is returned beside the
//     error.
//   - Requests for other people or tenants have other keys. So have requests
//     that differ upstream; see [providers.Keyer].
//   - Concurrent use is safe (run it with -race).
//   - No secret appears in an error, in a log, or in a printed form of the
//     provider, its keys and its tokens.
func Run(t *testing.T, s Suite) {
	t.Helper()
	if s.New == nil {
		t.Fatal("providertest: Suite.New is required")
	}
	if s.Refusal == "" {
		s.Refusal = `{"error":"invalid_request"}`
	}
	t.Run("key", s.key)
	t.Run("keys of others", s.keysOfOthers)
	t.Run("mode", s.mode)
	for _, o := range s.ops(t) {
		t.Run(o.name, func(t *testing.T) {
			t.Run("success", func(t *testing.T) { s.success(t, o) })
			t.Run("concurrent", func(t *testing.T) { s.concurrent(t, o) })
			t.Run("cancelled before", func(t *testing.T) { s.cancelledBefore(t, o) })
			if s.Answer == "" {
				return
			}
			t.Run("cancelled during", func(t *testing.T) { s.cancelledDuring(t, o) })
			t.Run("deadline", func(t *testing.T) { s.deadline(t, o) })
			if o.name != "revoke" { // RFC 7009 section 2.2: its body says nothing
				t.Run("bad bodies", func(t *testing.T) { s.badBodies(t, o) })
				t.Run("oversized", func(t *testing.T) { s.oversized(t, o) })
			}
			t.Run("connection lost", func(t *testing.T) { s.connectionLost(t, o) })
			t.Run("redirects", func(t *testing.T) { s.redirects(t, o) })
			t.Run("statuses", func(t *testing.T) { s.statuses(t, o) })
			t.Run("retry after", func(t *testing.T) { s.retryAfter(t, o) })
			if o.name == "refresh" {
				t.Run("no new refresh token", func(t *testing.T) { s.repeatsRefreshToken(t, o) })
				t.Run("nothing but a new refresh token", func(t *testing.T) { s.salvages(t, o) })
			}
		})
	}
}

func (s Suite) ops(t *testing.T) []op {
	t.Helper()
	ops := []op{{"generate", s.Answer, func(ctx context.Context, p providers.Provider) (any, error) {
		return p.Generate(ctx, s.Request)
	}}}
	p := s.New(t, refusing)
	if _, ok := p.(providers.Refresher); s.RefreshToken != "" {
		if !ok {
			t.Fatalf("providertest: Suite.RefreshToken is given and %T is no Refresher", p)
		}
		ops = append(ops, op{"refresh", s.Answer, func(ctx context.Context, p providers.Provider) (any, error) {
			return p.(providers.Refresher).Refresh(ctx, s.Request, s.RefreshToken)
		}})
	}
	if _, ok := p.(providers.Verifier); s.AccessToken != "" {
		if !ok {
			t.Fatalf("providertest: Suite.AccessToken is given and %T is no Verifier", p)
		}
		ops = append(ops, op{"verify", s.VerifyAnswer, func(ctx context.Context, p providers.Provider) (any, error) {
			return p.(providers.Verifier).Verify(ctx, s.AccessToken)
		}})
	}
	if _, ok := p.(providers.Revoker); s.RevokeAnswer != "" {
		if !ok {
			t.Fatalf("providertest: Suite.RevokeAnswer is given and %T is no Revoker", p)
		}
		token := providers.Token{RefreshToken: s.RefreshToken}
		if s.RefreshToken == "" {
			token.AccessToken = s.AccessToken
		}
		ops = append(ops, op{"revoke", s.RevokeAnswer, func(ctx context.Context, p providers.Provider) (any, error) {
			return nil, p.(providers.Revoker).Revoke(ctx, token)
		}})
	}
	return ops
}

// upstream serves h for one case and counts what reaches it.
type upstream struct {
	*httptest.Server
	hits atomic.Int32
}

func serve(t *testing.T, h http.HandlerFunc) *upstream {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.hits.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		h(w, r)
	}))
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

func respond(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("WWW-Authenticate", `Bearer error_description="`+canary+`"`)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// fails makes one call against h. It must fail as the contract says.
func (s Suite) fails(t *testing.T, o op, h http.HandlerFunc) *providers.Error {
	t.Helper()
	u := serve(t, h)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := o.call(ctx, s.New(t, u.URL))
	e := s.checkError(t, err)
	if n := u.hits.Load(); n > 1 {
		t.Errorf("one call cost %d requests", n)
	}
	return e
}

// checkError returns the *providers.Error in err. It ends the case if there is
// none.
func (s Suite) checkError(t *testing.T, err error) *providers.Error {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	s.scanError(t, err)
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatalf("a %T is not an *providers.Error", err)
	}
	if e.Code == "" {
		t.Error("the error has no Code")
	}
	return e
}

func (s Suite) success(t *testing.T, o op) {
	u := serve(t, respond(http.StatusOK, o.answer))
	p := s.New(t, u.URL)
	s.scan(t, "the provider", p)
	if o.name == "revoke" && s.RefreshToken == "" && s.AccessToken == "" {
		t.Fatal("providertest: Suite.RevokeAnswer is given and no token to revoke")
	}
	before := time.Now()
	got, err := o.call(t.Context(), p)
	after := time.Now()
	if err != nil {
		t.Fatalf("fails on Suite's own answer: %v", err)
	}
	if n := u.hits.Load(); s.Answer != "" && n != 1 {
		t.Errorf("cost %d requests, want 1", n)
	}
	token, ok := got.(providers.Token)
	if !ok {
		return
	}
	s.scan(t, "the token", token)
	switch {
	case token.AccessToken == "":
		t.Error("AccessToken is empty")
	case token.TokenType == "":
		t.Error("TokenType is empty; Bearer is the default")
	case token.IssuedAt.Before(before.Add(-time.Second)) || token.IssuedAt.After(after):
		t.Error("IssuedAt is not the moment of sending")
	case !token.Expiry.IsZero() && token.Expiry.Before(before):
		t.Error("Expiry of a fresh token has passed")
	case token.Version != 0:
		t.Error("Version is the cache's to set")
	case o.name == "refresh" && token.RefreshToken == "":
		t.Error("RefreshToken is empty; without a new one the presented one is to be repeated")
	}
}

func (s Suite) concurrent(t *testing.T, o op) {
	u := serve(t, respond(http.StatusOK, o.answer))
	p := s.New(t, u.URL)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 4 {
				if _, err := o.call(t.Context(), p); err != nil {
					t.Errorf("one of many callers failed: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}
