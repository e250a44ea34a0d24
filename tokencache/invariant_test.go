package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// The names follow the list of invariants in the design. Numbers 12 and 15 are
// about the transport and the providers.

var user = providers.Request{Subject: "u"}

// cluster opens n caches over one store, as so many replicas.
func cluster(t *testing.T, n int, p providers.Provider, o tokencache.Options) []*tokencache.Cache {
	t.Helper()
	if o.Store == nil {
		o.Store = tokencache.NewMemory()
	}
	o.Namespace = "test"
	var all []*tokencache.Cache
	for range n {
		all = append(all, open(t, p, o))
	}
	return all
}

func TestInvariant01OneCallPerKeyAndCluster(t *testing.T) {
	for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
		synctest.Test(t, func(t *testing.T) {
			p := &fake{mode: mode, ttl: 20 * time.Second, latency: 700 * time.Millisecond}
			all := cluster(t, 4, p, tokencache.Options{})
			together(200, func(i int) {
				rng := rand.New(rand.NewPCG(1, uint64(i)))
				for range 60 {
					if _, err := all[i%4].Generate(t.Context(), user); err != nil {
						t.Error(mode, err)
					}
					time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
				}
			})
			if n := p.max.Load(); n != 1 {
				t.Errorf("%s: %d upstream calls at once", mode, n)
			}
			if n := p.calls.Load(); n > 8 {
				t.Errorf("%s: %d upstream calls in a minute of 20 s tokens", mode, n)
			}
		})
	}
}

func TestInvariant02RefreshTokenIsPresentedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[string]int{}
		var mu sync.Mutex
		doubt := false
		p := &fake{mode: providers.Rotating, ttl: time.Minute}
		p.refresh = func(ctx context.Context, _ providers.Request, rt string) (providers.Token, error) {
			mu.Lock()
			defer mu.Unlock()
			seen[rt]++
			if doubt {
				doubt = false
				return providers.Token{}, &providers.Error{Code: providers.CodeTimeout, Class: providers.InDoubt}
			}
			return p.token(p.calls.Load(), ""), nil
		}
		all := cluster(t, 4, p, tokencache.Options{})
		tok := must(t)(all[0].Generate(t.Context(), user))
		together(50, func(i int) {
			next, err := all[i%4].Refresh(t.Context(), user, tok.RefreshToken)
			if err != nil || next.RefreshToken != "rt-2" {
				t.Error(next.RefreshToken, err)
			}
		})
		if seen[tok.RefreshToken] != 1 || len(seen) != 1 {
			t.Error("presented:", seen)
		}
		doubt = true
		if _, err := all[1].Refresh(t.Context(), user, "rt-2"); err == nil {
			t.Error("a lost reply is not an error")
		}
		time.Sleep(2 * time.Second) // tried again although nobody asks
		synctest.Wait()
		if seen["rt-2"] != 2 {
			t.Error("in doubt, presented:", seen)
		}
	})
}

func TestInvariant04CancellingCallersChangesNothingForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(20) {
			rng := rand.New(rand.NewPCG(seed, 4))
			c := open(t, &fake{ttl: time.Hour, latency: time.Second}, tokencache.Options{})
			var cancelled [50]time.Duration
			for i := range cancelled {
				if i == 0 || rng.IntN(2) == 0 { // always the first, which began the flight
					cancelled[i] = time.Duration(1+rng.IntN(900)) * time.Millisecond
				}
			}
			start := time.Now()
			together(len(cancelled), func(i int) {
				ctx := t.Context()
				if d := cancelled[i]; d > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, d)
					defer cancel()
				}
				_, err := c.Generate(ctx, user)
				switch took := time.Since(start); {
				case cancelled[i] == 0 && (err != nil || took != time.Second):
					t.Errorf("a bystander: %v after %v", err, took)
				case cancelled[i] > 0 && (!errors.Is(err, context.DeadlineExceeded) || took != cancelled[i]):
					t.Errorf("left at %v: %v after %v", cancelled[i], err, took)
				}
			})
		}
	})
}

func TestInvariant04AllCallersGoneTheFlightFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour, latency: time.Second}
		c := open(t, p, tokencache.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := c.Generate(ctx, user); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if tok := must(t)(c.Generate(t.Context(), user)); tok.AccessToken != "at-1" || p.calls.Load() != 1 {
			t.Error("the upstream's work was thrown away")
		}
	})
}

func TestInvariant05PanicAndGoexit(t *testing.T) {
	for name, fault := range map[string]func(){
		"panic":         func() { panic("secret") },
		"panic nil map": func() { writeTo(nil) },
		"Goexit":        runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &fake{ttl: time.Hour}
				p.generate = func(ctx context.Context, _ providers.Request) (providers.Token, error) {
					_ = pause(ctx, time.Second)
					if p.calls.Load() == 1 {
						fault()
					}
					return p.token(2, ""), nil
				}
				c := open(t, p, tokencache.Options{})
				together(20, func(int) {
					if _, err := c.Generate(t.Context(), user); code(err) != providers.CodeInternal || strings.Contains(fmt.Sprint(err, errors.Unwrap(err)), "secret") {
						t.Error(err)
					}
				})
				time.Sleep(2 * time.Second)
				must(t)(c.Generate(t.Context(), user))
				if n := p.calls.Load(); n != 2 {
					t.Errorf("%d calls", n)
				}
			})
		})
	}
}

func TestInvariant05Hang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stubborn := make(chan struct{})
		p := &fake{ttl: time.Hour}
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			<-stubborn // and never looks at its context
			return p.token(1, ""), nil
		}
		c, err := tokencache.New(p, tokencache.Options{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		together(20, func(i int) {
			time.Sleep(time.Duration(i) * 2 * time.Second) // some after the time is up
			_, err := c.Generate(t.Context(), user)
			if took := time.Since(start); code(err) != providers.CodeTimeout || took != max(30*time.Second, time.Duration(i)*2*time.Second) {
				t.Errorf("%v after %v", err, took)
			}
		})
		if n := p.calls.Load(); n != 1 {
			t.Errorf("%d calls beside one that hangs", n)
		}
		if err := c.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "1 calls still under way") {
			t.Error("Close:", err)
		}
		close(stubborn)
		synctest.Wait()
		if err := c.Close(t.Context()); err != nil {
			t.Error("Close after the source returned:", err)
		}
	})
}

func TestInvariant06FailuresFormNoConvoy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{}
		p.generate = func(ctx context.Context, _ providers.Request) (providers.Token, error) {
			_ = pause(ctx, 50*time.Millisecond)
			return providers.Token{}, &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Status: 503}
		}
		c := open(t, p, tokencache.Options{})
		start := time.Now()
		together(200, func(int) {
			if _, err := c.Generate(t.Context(), user); code(err) != providers.CodeBusy {
				t.Error(err)
			}
		})
		if took, n := time.Since(start), p.calls.Load(); took != 50*time.Millisecond || n != 1 {
			t.Errorf("200 callers of a failing endpoint: %v and %d calls, want 50 ms and 1", took, n)
		}
		_, err := c.Generate(t.Context(), user)
		if pe := providers.AsError(err); pe.RetryAfter <= 0 || pe.RetryAfter > time.Second {
			t.Error("fails fast without saying until when:", pe.RetryAfter)
		}
		for time.Since(start) < 10*time.Minute {
			_, _ = c.Generate(t.Context(), user)
			time.Sleep(100 * time.Millisecond)
		}
		if n := p.calls.Load(); n < 20 || n > 6+600*4/(30*3)+1 {
			t.Errorf("%d calls in 10 minutes, want about one per 30 s", n)
		}
	})
}

func TestInvariant06WindowByClass(t *testing.T) {
	for _, tt := range []struct {
		err   providers.Error
		least time.Duration
		most  time.Duration
	}{
		{providers.Error{Class: providers.Transient}, 700 * time.Millisecond, time.Second},
		{providers.Error{Class: providers.Transient, RetryAfter: 7 * time.Second}, 7 * time.Second, 7 * time.Second},
		{providers.Error{Class: providers.Permanent}, 30 * time.Second, 30 * time.Second},
		{providers.Error{Class: providers.Permanent, RetryAfter: 48 * time.Hour}, time.Hour, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &fake{}
			p.generate = func(context.Context, providers.Request) (providers.Token, error) { return providers.Token{}, &tt.err }
			for _, c := range append(cluster(t, 2, p, tokencache.Options{}), open(t, p, tokencache.Options{})) {
				_, _ = c.Generate(t.Context(), user)
				_, err := c.Generate(t.Context(), user)
				if left := providers.AsError(err).RetryAfter; left < tt.least-100*time.Millisecond || left > tt.most {
					t.Errorf("%v: fails fast for %v", tt.err.Class, left)
				}
			}
			if n := p.calls.Load(); n != 2 {
				t.Errorf("%v: %d calls, want one by the two replicas and one by the other cache", tt.err.Class, n)
			}
		})
	}
}

func TestInvariant07Stale401sCostOneRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{mode: providers.Exclusive, ttl: time.Hour, latency: time.Second}
		all := cluster(t, 4, p, tokencache.Options{})
		var sources []*tokencache.Source
		var old providers.Token
		for _, c := range all {
			s := c.Source(user)
			old = must(t)(s.Token(t.Context()))
			sources = append(sources, s)
		}
		together(80, func(i int) {
			time.Sleep(time.Duration(i) * 50 * time.Millisecond)
			if tok, err := sources[i%4].Renew(t.Context(), old); err != nil || tok.AccessToken != "at-2" {
				t.Error(tok, err)
			}
		})
		if n := p.calls.Load(); n != 2 {
			t.Errorf("%d upstream calls, want 2", n)
		}
	})
}

func TestInvariant07AServerThatAlwaysRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour}
		s := open(t, p, tokencache.Options{}).Source(user)
		for range 600 {
			tok := must(t)(s.Token(t.Context()))
			must(t)(s.Renew(t.Context(), tok))
			time.Sleep(100 * time.Millisecond)
		}
		if n := p.calls.Load(); n > 14 {
			t.Errorf("%d calls in a minute, want one per 5 s", n)
		}
	})
}

func TestInvariant08PurgeFencesTheFlightUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, store := range []tokencache.Store{nil, tokencache.NewMemory()} {
			p := &fake{mode: providers.Exclusive, ttl: time.Hour, latency: time.Second}
			c := open(t, p, tokencache.Options{Store: store, Namespace: "n"})
			var got [2]atomic.Value
			var wg sync.WaitGroup
			for i := range got {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 600 * time.Millisecond)
					tok, err := c.Generate(t.Context(), user)
					if before := i == 0; before != (code(err) == providers.CodeNotSignedIn) || !before && err != nil {
						t.Errorf("caller %d: %v", i, err)
					}
					got[i].Store(tok.AccessToken)
				})
			}
			time.Sleep(500 * time.Millisecond)
			if err := c.Purge(t.Context(), user); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if got[0].Load() == "at-1" || got[1].Load() == "at-1" {
				t.Error("a token from before the purge was handed out after it")
			}
			if p.max.Load() != 1 {
				t.Error("the next flight did not wait for the old one")
			}
		}
	})
}

func TestInvariant08PurgeReachesOtherReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{mode: providers.Exclusive, ttl: time.Hour}
		all := cluster(t, 3, p, tokencache.Options{})
		for _, c := range all {
			must(t)(c.Generate(t.Context(), user))
		}
		synctest.Wait()
		if err := all[0].Purge(t.Context(), user); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the notice
		for _, c := range all {
			if tok := must(t)(c.Generate(t.Context(), user)); tok.AccessToken != "at-2" {
				t.Error("a replica serves what another signed out:", tok.AccessToken)
			}
			if _, err := c.Refresh(t.Context(), user, "rt-1"); code(err) != providers.CodeRefreshRejected {
				t.Error("a signed-out refresh token:", err)
			}
		}
	})
}

func writeTo(m map[string]int) { m["x"] = 1 }
