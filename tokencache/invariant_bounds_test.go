package tokencache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
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

func TestInvariant13DifferentRequestsShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour}
		p.generate = func(_ context.Context, req providers.Request) (providers.Token, error) {
			key, _ := req.Key()
			return providers.Token{AccessToken: key, Expiry: time.Now().Add(time.Hour)}, nil
		}
		parts := []string{"", "a", "b", "ab", "1:a", "a\x00", "0:"}
		all := cluster(t, 2, p, tokencache.Options{})
		reqs := 0
		for _, tenant := range parts {
			for _, subject := range parts {
				for _, audience := range parts {
					for _, scopes := range [][]string{nil, {"a"}, {"b", "a"}, {"a b"}} {
						reqs++
						req := providers.Request{Tenant: tenant, Subject: subject, Audience: audience, Scopes: scopes}
						want, _ := req.Key()
						for _, c := range all {
							if tok := must(t)(c.Generate(t.Context(), req)); tok.AccessToken != want {
								t.Fatalf("%q got the token of %q", want, tok.AccessToken)
							}
						}
					}
				}
			}
		}
		if n := int(p.calls.Load()); n != reqs {
			t.Errorf("%d calls for %d requests", n, reqs)
		}
	})
}

func TestInvariant14Bounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour, latency: 10 * time.Millisecond}
		c := open(t, p, tokencache.Options{MaxEntries: 100, MaxFlights: 8})
		together(1000, func(i int) {
			_, err := c.Generate(t.Context(), providers.Request{Subject: fmt.Sprint(i)})
			if err != nil && code(err) != providers.CodeBusy {
				t.Error(err)
			}
			if n := c.Stats().Entries; n > 100 {
				t.Errorf("%d entries", n)
			}
		})
		for i := range 5000 {
			must(t)(c.Generate(t.Context(), providers.Request{Subject: fmt.Sprint(i)}))
		}
		if n := c.Stats().Entries; n != 100 {
			t.Errorf("%d entries, want 100", n)
		}
		if n := p.max.Load(); n > 8 {
			t.Errorf("%d upstream calls at once, want 8", n)
		}
	})
}

func TestInvariant14BusyEntriesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		underWay, most := map[string]int{}, 0
		p := &fake{ttl: time.Hour}
		p.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
			mu.Lock()
			underWay[req.Subject]++
			most = max(most, underWay[req.Subject])
			mu.Unlock()
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				underWay[req.Subject]--
			}()
			if req.Subject == user.Subject {
				_ = pause(ctx, time.Second)
			}
			return p.token(p.calls.Load(), ""), nil
		}
		c := open(t, p, tokencache.Options{MaxEntries: 4})
		for range 50 { // which entry is to go is drawn
			go func() { _, _ = c.Generate(t.Context(), user) }()
			synctest.Wait()
			for i := range 20 {
				must(t)(c.Generate(t.Context(), providers.Request{Subject: fmt.Sprint(i)}))
				synctest.Wait() // it is busy until its attempt has finished
			}
			must(t)(c.Generate(t.Context(), user))
			if err := c.Purge(t.Context(), user); err != nil {
				t.Fatal(err)
			}
		}
		if most > 1 {
			t.Errorf("%d calls of one grant at once: a busy entry was evicted", most)
		}
	})
}

func TestInvariant16NoSecretIsPrinted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const secret = "CANARY"
		var out strings.Builder
		var mu sync.Mutex
		logger := slog.New(slog.NewJSONHandler(&lockedWriter{&mu, &out}, &slog.HandlerOptions{Level: slog.LevelDebug}))
		n := 0
		p := &fake{mode: providers.Rotating, ttl: time.Minute}
		issue := func() (providers.Token, error) {
			switch n++; n % 6 {
			case 1, 2:
				return providers.Token{AccessToken: secret, RefreshToken: fmt.Sprint(secret, n), Expiry: time.Now().Add(time.Minute)}, nil
			case 3:
				panic(secret)
			case 4:
				return providers.Token{RefreshToken: secret}, nil
			case 5:
				return providers.Token{}, &providers.Error{Code: providers.CodeBusy, Class: providers.InDoubt}
			}
			return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}
		}
		p.generate = func(context.Context, providers.Request) (providers.Token, error) { return issue() }
		p.refresh = func(context.Context, providers.Request, string) (providers.Token, error) { return issue() }
		store := &flaky{Store: tokencache.NewMemory()}
		o := tokencache.Options{
			Store: store, Namespace: "n", Logger: logger, SealKeys: [][]byte{[]byte("CANARYCANARYCANARYCANARYCANARYCA")}, NameKey: []byte("CANARYcanaryCANARYcanaryCANARYca"),
			Observer: func(_ context.Context, e providers.Event) { logger.Info("event", "event", e) },
		}
		c := open(t, p, o)
		req := providers.Request{Subject: secret}
		src := c.Source(req)
		show := func(v any) {
			mu.Lock()
			defer mu.Unlock()
			j, _ := json.Marshal(v)
			fmt.Fprintf(&out, "%v %+v %#v %s\n", v, v, v, j)
		}
		for i := range 200 {
			store.set(i%7 == 0, nil)
			tok, err := src.Token(t.Context())
			show(tok)
			show(err)
			if i%3 == 0 {
				_, err = c.Refresh(t.Context(), req, secret+fmt.Sprint(i))
				show(err)
			}
			if i%20 == 19 {
				show(c.Purge(t.Context(), req))
			}
			time.Sleep(10 * time.Second)
		}
		store.set(false, nil)
		show(o)
		show(c)
		show(src)
		show(c.Stats())
		mu.Lock()
		defer mu.Unlock()
		if i := strings.Index(out.String(), secret); i >= 0 {
			t.Error("printed:", out.String()[max(0, i-200):i+40])
		}
		if !strings.Contains(out.String(), "panicked") {
			t.Error("the test saw too little")
		}
	})
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *strings.Builder
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func TestInvariant17ClockJumps(t *testing.T) {
	for _, mode := range []providers.Mode{providers.Shared, providers.Exclusive} {
		synctest.Test(t, func(t *testing.T) {
			var jump atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }
			p := &fake{mode: mode}
			issue := func() (providers.Token, error) {
				return providers.Token{AccessToken: "at", RefreshToken: fmt.Sprint(p.calls.Load()), Expiry: now().Add(10 * time.Minute)}, nil
			}
			p.generate = func(context.Context, providers.Request) (providers.Token, error) { return issue() }
			p.refresh = func(context.Context, providers.Request, string) (providers.Token, error) { return issue() }
			c := open(t, p, tokencache.Options{Now: now})
			s := c.Source(user)
			rng := rand.New(rand.NewPCG(17, uint64(mode)))
			jumps := int64(0)
			for i := range 2000 {
				if i%100 == 99 {
					jump.Add(int64(rng.IntN(3)-1) * int64(time.Hour))
					jumps++
				}
				issued := p.calls.Load()
				tok := must(t)(s.Token(t.Context()))
				if !now().Before(tok.Expiry) {
					t.Fatalf("%s: served %v after its expiry", mode, now().Sub(tok.Expiry))
				}
				if p.calls.Load() > issued+1 {
					t.Fatal("renewal loop")
				}
				time.Sleep(2 * time.Second)
			}
			// 4,000 s of 10 min tokens, and at most one more for each jump.
			if n := p.calls.Load(); n > 12+jumps {
				t.Errorf("%s: %d calls, %d jumps", mode, n, jumps)
			}
		})
	}
}

func TestInvariant17MonotonicClockEndsATokenToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frozen := time.Now()
		p := &fake{ttl: time.Minute}
		c := open(t, p, tokencache.Options{Now: func() time.Time { return frozen }})
		must(t)(c.Generate(t.Context(), user))
		time.Sleep(2 * time.Minute)
		must(t)(c.Generate(t.Context(), user))
		if n := p.calls.Load(); n != 2 {
			t.Errorf("%d calls: a wall clock that stands still keeps a token alive", n)
		}
	})
}

// The bubble fails if a goroutine is left when the test ends.
func TestInvariant18NoGoroutineAfterClose(t *testing.T) {
	for _, store := range []func() tokencache.Store{
		func() tokencache.Store { return nil },
		tokencache.NewMemory,
		func() tokencache.Store { return newHistory() },
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &fake{mode: providers.Rotating, ttl: time.Minute, latency: time.Millisecond}
			c, err := tokencache.New(p, tokencache.Options{Store: store(), Namespace: "n"})
			if err != nil {
				t.Fatal(err)
			}
			together(20, func(i int) { _, _ = c.Generate(t.Context(), providers.Request{Subject: fmt.Sprint(i)}) })
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Microsecond)
			defer cancel()
			_, _ = c.Generate(ctx, providers.Request{Subject: "still under way"})
			if err := c.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Generate(t.Context(), providers.Request{Subject: "new"}); code(err) != providers.CodeInternal {
				t.Error("after Close:", err)
			}
		})
	}
}

// lateStore is a Store whose reads of records take a second.
type lateStore struct {
	*history
	calls atomic.Int64
}

func (s *lateStore) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	s.calls.Add(1)
	if strings.HasPrefix(key, "t") {
		if err := pause(ctx, time.Second); err != nil {
			return nil, 0, err
		}
	}
	return s.history.Load(ctx, key)
}

// Close ends the work that no caller waits for: records that the Store has lost
// are being written back.
func TestInvariant18NoCallOfTheStoreAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), &lateStore{history: newHistory()}
		c, err := tokencache.New(v, tokencache.Options{Store: store, Namespace: "n", StoreTimeout: 2 * time.Second})
		require.NoError(t, err)
		together(500, func(i int) { _, _ = c.Generate(t.Context(), userNo(i)) })
		time.Sleep(time.Minute)
		before := store.calls.Load()
		store.bringBack("", nil, "2")
		for store.calls.Load() < before+100 {
			time.Sleep(10 * time.Millisecond)
		}
		require.NoError(t, c.Close(t.Context()))
		calls := store.calls.Load()
		synctest.Wait()
		assert.Equal(t, calls, store.calls.Load())
	})
}

// literal is a provider that names grants by their subject.
type literal struct{ fake }

func (*literal) Key(req providers.Request) (string, error) { return req.Subject, nil }

// Namespaces and keys are told apart by their lengths: no choice of names lets
// one cache read the records of another over the same Store.
func TestInvariant13NamespacesDoNotRunIntoKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, sep := range []string{"", "\x00", "\x01", "/", ":", "|"} {
			store, p := tokencache.NewMemory(), &literal{fake{ttl: time.Hour}}
			for _, c := range []struct{ namespace, key string }{{"n" + sep + "key", "y"}, {"n", "key" + sep + "y"}} {
				must(t)(open(t, p, tokencache.Options{Store: store, Namespace: c.namespace}).Generate(t.Context(), providers.Request{Subject: c.key}))
			}
			if n := p.calls.Load(); n != 2 {
				t.Errorf("separator %q: one record for two caches", sep)
			}
		}
	})
}
