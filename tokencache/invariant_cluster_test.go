package tokencache_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// flaky is a Store that can be sent away.
type flaky struct {
	tokencache.Store
	mu   sync.Mutex
	away bool
	// writes says which CAS fail, by key; nil for all when away.
	writes func(key string) bool
}

func (s *flaky) set(away bool, writes func(string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.writes = away, writes
}

func (s *flaky) err(key string, write bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away && (s.writes == nil || write && s.writes(key)) {
		return errors.New("store away")
	}
	return nil
}

func (s *flaky) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := s.err(key, false); err != nil {
		return nil, 0, err
	}
	return s.Store.Load(ctx, key)
}

func (s *flaky) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	if err := s.err(key, true); err != nil {
		return 0, err
	}
	return s.Store.CAS(ctx, key, rev, val, ttl)
}

func TestInvariant03NothingIsPresentedBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{Store: tokencache.NewMemory()}
		p := &fake{mode: providers.Rotating, ttl: time.Minute}
		p.refresh = func(context.Context, providers.Request, string) (providers.Token, error) {
			store.set(true, nil) // goes away while the upstream works
			return p.token(p.calls.Load(), ""), nil
		}
		c := cluster(t, 1, p, tokencache.Options{Store: store})[0]
		first := must(t)(c.Generate(t.Context(), user))
		time.Sleep(55 * time.Second)
		tok := must(t)(c.Generate(t.Context(), user))
		if tok.AccessToken != "at-2" || tok.RefreshToken != "" {
			t.Errorf("unsaved: %q with refresh token %q; want the access token alone", tok.AccessToken, tok.RefreshToken)
		}
		if again := must(t)(c.Generate(t.Context(), user)); again.AccessToken != "at-2" {
			t.Error("the unsaved token was served once only:", again.AccessToken)
		}
		if _, err := c.Refresh(t.Context(), user, first.RefreshToken); code(err) != providers.CodeBusy {
			t.Error("a pair left the kit before it was durable:", err)
		}
		time.Sleep(time.Minute)
		if _, err := c.Generate(t.Context(), user); code(err) != providers.CodeBusy {
			t.Error("want closed failure after expiry:", err)
		}
		if n := p.calls.Load(); n != 2 {
			t.Errorf("%d upstream calls, want 2", n)
		}
		p.refresh = nil
		store.set(false, nil)
		time.Sleep(2 * time.Second)
		if tok := must(t)(c.Generate(t.Context(), user)); tok.AccessToken != "at-3" || p.refreshes.Load() != 2 {
			t.Error("did not recover by itself:", tok)
		}
	})
}

func TestInvariant09VersionsRise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.restartStore()
		p := &fake{mode: providers.Exclusive, ttl: 30 * time.Second}
		moving := &movable{w}
		var all []*tokencache.Cache
		for range 3 {
			c := open(t, p, tokencache.Options{Store: moving, Namespace: "n"})
			all = append(all, c)
		}
		rng := rand.New(rand.NewPCG(9, 9))
		var last uint64
		for i := range 300 {
			c := all[rng.IntN(3)]
			switch rng.IntN(10) {
			case 0:
				if err := c.Purge(t.Context(), user); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			case 1:
				w.restartStore()
			}
			tok := must(t)(c.Renew(t.Context(), user, providers.Token{Version: last}))
			if tok.Version < last {
				t.Fatalf("step %d: version fell from %d to %d", i, last, tok.Version)
			}
			last = tok.Version
			for _, c := range all {
				if other := must(t)(c.Renew(t.Context(), user, providers.Token{Version: last - 1})); other.Version != last {
					t.Fatalf("step %d: a replica did not converge within one load", i)
				}
			}
			time.Sleep(time.Duration(rng.IntN(9000)) * time.Millisecond)
		}
	})
}

// movable is a Store, leases and watches included, that can be replaced.
type movable struct{ w *world }

func (m *movable) Load(ctx context.Context, k string) ([]byte, uint64, error) {
	return m.w.store().Load(ctx, k)
}

func (m *movable) CAS(ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
	return m.w.store().CAS(ctx, k, rev, v, ttl)
}
func (m *movable) Lock(ctx context.Context, k, o string, ttl time.Duration) (uint64, error) {
	return m.w.spy().Store.(tokencache.Locker).Lock(ctx, k, o, ttl)
}

func (m *movable) Extend(ctx context.Context, k, o string, ttl time.Duration) (bool, error) {
	return m.w.spy().Store.(tokencache.Locker).Extend(ctx, k, o, ttl)
}

func (m *movable) Unlock(ctx context.Context, k, o string) (bool, error) {
	return m.w.spy().Store.(tokencache.Locker).Unlock(ctx, k, o)
}

func (m *movable) Watch(ctx context.Context, k string) (<-chan struct{}, error) {
	return m.w.spy().Store.(tokencache.Watcher).Watch(ctx, k)
}

func TestInvariant10NobodyWaitsInSteadyTraffic(t *testing.T) {
	for _, mode := range []providers.Mode{providers.Shared, providers.Rotating} {
		synctest.Test(t, func(t *testing.T) {
			for _, n := range []int{1, 2} {
				p := &fake{mode: mode, ttl: time.Minute}
				issue := func(ctx context.Context) (providers.Token, error) {
					_ = pause(ctx, 500*time.Millisecond)
					n := p.calls.Load()
					if n%2 == 0 { // every second renewal fails
						return providers.Token{}, &providers.Error{Code: providers.CodeUpstreamError, Class: providers.Transient}
					}
					return p.token(n, ""), nil
				}
				p.generate = func(ctx context.Context, _ providers.Request) (providers.Token, error) { return issue(ctx) }
				p.refresh = func(ctx context.Context, _ providers.Request, _ string) (providers.Token, error) { return issue(ctx) }
				all := []*tokencache.Cache{open(t, p, tokencache.Options{})}
				if n > 1 {
					all = cluster(t, n, p, tokencache.Options{})
				}
				for _, c := range all {
					must(t)(c.Generate(t.Context(), user))
				}
				together(20, func(i int) {
					s := all[i%len(all)].Source(user)
					for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(250 * time.Millisecond) {
						asked := time.Now()
						tok, err := s.Token(t.Context())
						if err != nil || time.Since(asked) != 0 || !time.Now().Before(tok.Expiry) {
							t.Errorf("%s: waited %v: %v", mode, time.Since(asked), err)
						}
					}
				})
			}
		})
	}
}

// A failure ahead of expiry must not outlast the token: its window is cut.
func TestInvariant10ShortTokensOutliveAFailedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Second}
		p.generate = func(ctx context.Context, _ providers.Request) (providers.Token, error) {
			_ = pause(ctx, 20*time.Millisecond)
			if n := p.calls.Load(); n%2 == 1 {
				return p.token(n, ""), nil
			}
			return providers.Token{}, &providers.Error{Code: providers.CodeUpstreamError, Class: providers.Transient}
		}
		s := open(t, p, tokencache.Options{}).Source(user)
		must(t)(s.Token(t.Context()))
		for range 600 {
			must(t)(s.Token(t.Context()))
			time.Sleep(20 * time.Millisecond)
		}
	})
}

func TestInvariant11ShortTokensAreReused(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 2 * time.Second, 10 * time.Second, time.Hour, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			p := &fake{ttl: ttl}
			ex := &fake{ttl: ttl, mode: providers.Exclusive}
			a, b := open(t, p, tokencache.Options{}), open(t, ex, tokencache.Options{})
			const spans = 5 // lifetimes
			for range 50 * spans {
				must(t)(a.Generate(t.Context(), user))
				must(t)(b.Generate(t.Context(), user))
				time.Sleep(ttl / 50)
			}
			// Without renewal ahead a token serves nine tenths of its life;
			// with it, at least six.
			if n := ex.calls.Load(); n > spans*10/9+1 {
				t.Errorf("ttl %v: %d fetches over %d lifetimes", ttl, n, spans)
			}
			if n := p.calls.Load(); n > spans*10/6+1 {
				t.Errorf("ttl %v, renewed ahead: %d fetches over %d lifetimes", ttl, n, spans)
			}
		})
	}
}
