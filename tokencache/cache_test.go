package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// fake is a provider whose calls are functions; nil ones issue numbered pairs.
type fake struct {
	mode     providers.Mode
	ttl      time.Duration
	latency  time.Duration
	generate func(context.Context, providers.Request) (providers.Token, error)
	refresh  func(context.Context, providers.Request, string) (providers.Token, error)

	calls, refreshes atomic.Int64
	now, max         atomic.Int64
}

func (f *fake) Mode() providers.Mode { return f.mode }

func (f *fake) in() func() {
	n := f.now.Add(1)
	for m := f.max.Load(); n > m && !f.max.CompareAndSwap(m, n); m = f.max.Load() {
	}
	return func() { f.now.Add(-1) }
}

func (f *fake) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	defer f.in()()
	n := f.calls.Add(1)
	if f.generate != nil {
		return f.generate(ctx, req)
	}
	if err := pause(ctx, f.latency); err != nil {
		return providers.Token{}, err
	}
	return f.token(n, ""), nil
}

func (f *fake) Refresh(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
	defer f.in()()
	f.refreshes.Add(1)
	n := f.calls.Add(1)
	if f.refresh != nil {
		return f.refresh(ctx, req, rt)
	}
	if err := pause(ctx, f.latency); err != nil {
		return providers.Token{}, err
	}
	return f.token(n, fmt.Sprint("rt-", n)), nil
}

func (f *fake) token(n int64, rt string) providers.Token {
	if f.mode != providers.Shared {
		rt = fmt.Sprint("rt-", n)
	}
	now := time.Now()
	return providers.Token{AccessToken: fmt.Sprint("at-", n), RefreshToken: rt, IssuedAt: now, Expiry: now.Add(f.ttl)}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func open(t *testing.T, p providers.Provider, o tokencache.Options) *tokencache.Cache {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := tokencache.New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func must(t *testing.T) func(providers.Token, error) providers.Token {
	return func(tok providers.Token, err error) providers.Token {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
}

func code(err error) providers.Code {
	var e *providers.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// together runs fn n times at once and waits for all.
func together(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

func TestStampede(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour, latency: time.Second}
		c := open(t, p, tokencache.Options{})
		together(10_000, func(int) {
			if tok, err := c.Generate(t.Context(), providers.Request{Subject: "u"}); err != nil || tok.AccessToken != "at-1" {
				t.Error(tok, err)
			}
		})
		if n := p.calls.Load(); n != 1 {
			t.Errorf("%d upstream calls for a cold key, want 1", n)
		}
	})
}

func TestRefreshAndGenerateShareOneRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{mode: providers.Exclusive, ttl: time.Hour, latency: time.Second}
		c := open(t, p, tokencache.Options{})
		req := providers.Request{Subject: "u"}
		a := must(t)(c.Generate(t.Context(), req))
		b := must(t)(c.Refresh(t.Context(), req, a.RefreshToken))
		if b.AccessToken == a.AccessToken || b.Version <= a.Version {
			t.Fatal("refresh returned the old pair")
		}
		if again := must(t)(c.Refresh(t.Context(), req, a.RefreshToken)); again.AccessToken != b.AccessToken {
			t.Error("a spent token within the grace did not get its successor")
		}
		if cur := must(t)(c.Generate(t.Context(), req)); cur.AccessToken != b.AccessToken {
			t.Error("generate after refresh did not return the refreshed pair")
		}
		time.Sleep(61 * time.Second)
		if _, err := c.Refresh(t.Context(), req, a.RefreshToken); code(err) != providers.CodeRefreshRejected {
			t.Error("a spent token after the grace:", err)
		}
		if n := p.calls.Load(); n != 2 {
			t.Errorf("%d upstream calls, want 2", n)
		}
	})
}

func TestStale401sCostOneRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour, latency: time.Second}
		c := open(t, p, tokencache.Options{})
		s := c.Source(providers.Request{})
		old := must(t)(s.Token(t.Context()))
		together(20, func(i int) {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			if tok, err := s.Renew(t.Context(), old); err != nil || tok.AccessToken != "at-2" {
				t.Error(tok, err)
			}
		})
		if n := p.calls.Load(); n != 2 {
			t.Errorf("%d upstream calls, want 2", n)
		}
	})
}

// An attempt goes on when its caller has left, who may use the request anew.
func TestARequestIsCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour}
		seen := make(chan providers.Request, 1)
		p.generate = func(_ context.Context, req providers.Request) (providers.Token, error) {
			time.Sleep(time.Second)
			seen <- req
			return p.token(1, ""), nil
		}
		c := open(t, p, tokencache.Options{})
		request := func(s string) providers.Request {
			return providers.Request{
				Subject: "u", Scopes: []string{s}, Identifiers: map[string]string{"email": s},
				Params: map[string]any{"p": s, "object": map[string]any{"p": s}, "list": []any{s, []any{s}}},
			}
		}
		req := request("before")
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := c.Generate(ctx, req)
		require.Error(t, err)
		req.Scopes[0], req.Identifiers["email"], req.Params["p"] = "after", "after", "after"
		req.Params["object"].(map[string]any)["p"] = "after"
		list := req.Params["list"].([]any)
		list[0], list[1].([]any)[0] = "after", "after"
		assert.Equal(t, request("before"), <-seen)
	})
}

// optional is a provider that says whether it can refresh.
type optional struct {
	*fake
	can bool
}

func (o optional) CanRefresh() bool { return o.can }

func TestAProviderThatSaysThatItCannotRefreshIsNotAskedTo(t *testing.T) {
	for _, can := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := optional{&fake{mode: providers.Rotating, ttl: time.Minute}, can}
			c := open(t, p, tokencache.Options{})
			assert.Equal(t, can, c.CanRefresh())
			first := must(t)(c.Generate(t.Context(), user))
			time.Sleep(2 * time.Minute)
			next := must(t)(c.Generate(t.Context(), user))
			assert.Equal(t, can, p.refreshes.Load() == 1)
			require.NotEqual(t, first.AccessToken, next.AccessToken)
			_, err := c.Refresh(t.Context(), user, next.RefreshToken)
			if can {
				assert.NoError(t, err)
			} else {
				assert.Equal(t, providers.CodeInternal, code(err), "%v", err)
			}
		})
	}
}
