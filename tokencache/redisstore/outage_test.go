package redisstore_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
)

// numbered issues numbered tokens.
type numbered struct {
	mode    providers.Mode
	life    time.Duration
	latency time.Duration
	n       atomic.Int64
	ended   func(subject string) // when an answer leaves; may be nil
}

func (p *numbered) Mode() providers.Mode { return p.mode }

func (p *numbered) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	now := time.Now()
	select {
	case <-time.After(p.latency):
	case <-ctx.Done():
		return providers.Token{}, ctx.Err()
	}
	tok := providers.Token{AccessToken: fmt.Sprint("at-", p.n.Add(1)), IssuedAt: now, Expiry: now.Add(p.life)}
	if p.ended != nil {
		p.ended(req.Subject)
	}
	return tok, nil
}

func newCache(t testing.TB, p providers.Provider, s tokencache.Store, seen func(context.Context, providers.Event)) *tokencache.Cache {
	t.Helper()
	c, err := tokencache.New(p, tokencache.Options{Store: s, Namespace: "test", FetchTimeout: 6 * time.Second, StoreTimeout: 3 * time.Second, Observer: seen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

var ada = providers.Request{Subject: "ada"}

// While Redis is away, tokens that may live side by side are issued without it.
func TestSharedWithoutRedis(t *testing.T) {
	t.Parallel()
	server := serve(t)
	var alone atomic.Int64
	p := &numbered{mode: providers.Shared, life: time.Second}
	c := newCache(t, p, open(t, server.url(), redisstore.Options{}), func(_ context.Context, e providers.Event) {
		if e.Kind == "uncoordinated" {
			alone.Add(1)
		}
	})
	get := func() {
		t.Helper()
		asked := time.Now()
		if tok, err := c.Generate(t.Context(), ada); err != nil || !asked.Before(tok.Expiry) {
			t.Fatal(tok, err)
		}
	}
	get()
	server.kill()
	before := p.n.Load()
	soaktest.Eventually(t, "three tokens", func() bool {
		get()
		return p.n.Load()-before >= 3
	})
	if alone.Load() == 0 {
		t.Error("no event")
	}
	server.start()
	soaktest.Eventually(t, "the cache to use Redis again", func() bool {
		get()
		keys, err := server.admin().Keys(t.Context(), "bearerkit:{t2/*}").Result()
		return err == nil && len(keys) == 1
	})
	again := alone.Load()
	before = p.n.Load()
	soaktest.Eventually(t, "three more tokens", func() bool {
		get()
		return p.n.Load()-before >= 3
	})
	if n := alone.Load() - again; n > 1 {
		t.Error(n, "uncoordinated flights with Redis in use")
	}
}

// While Redis is away, a token that would end another process's is not asked
// for: what is valid is served, and then there is a clear error.
func TestExclusiveWithoutRedis(t *testing.T) {
	t.Parallel()
	server := serve(t)
	p := &numbered{mode: providers.Exclusive, life: 2 * time.Second}
	c := newCache(t, p, open(t, server.url(), redisstore.Options{}), nil)
	first, err := c.Generate(t.Context(), ada)
	if err != nil {
		t.Fatal(err)
	}
	server.kill()
	hard := first.Expiry.Add(-200 * time.Millisecond)
	for served := true; served; time.Sleep(20 * time.Millisecond) {
		var tok providers.Token
		tok, err = c.Generate(t.Context(), ada)
		served = err == nil && tok.Version == first.Version
		if !served && time.Now().Before(hard.Add(-50*time.Millisecond)) {
			t.Fatal("a valid token was not served:", tok, err)
		}
	}
	soaktest.Eventually(t, "the token to end", func() bool { return time.Now().After(hard) })
	for range 5 {
		begun := time.Now()
		_, err := c.Generate(t.Context(), ada)
		pe := providers.AsError(err)
		if err == nil || pe.Code != providers.CodeBusy || pe.RetryAfter == 0 || !strings.Contains(err.Error(), "the token store is unavailable") {
			t.Fatal("want a clear error:", err)
		}
		if took := time.Since(begun); took > 5*time.Second { // which is less than the time of a flight
			t.Error("failed after", took)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := p.n.Load(); n != 1 {
		t.Error(n, "tokens issued, want 1")
	}
	server.start()
	var next providers.Token
	soaktest.Eventually(t, "the cache to come back", func() bool {
		next, err = c.Generate(t.Context(), ada)
		return err == nil
	})
	if next.Version <= first.Version || p.n.Load() != 2 {
		t.Errorf("version %d after %d, %d tokens issued", next.Version, first.Version, p.n.Load())
	}
}

// polled hides Watch.
type polled struct {
	tokencache.Store
	tokencache.Locker
}

// BenchmarkWaiting measures how long a process that waits for another's renewal
// waits on when that is over.
func BenchmarkWaiting(b *testing.B) {
	for _, how := range []string{"notified", "polled"} {
		b.Run(how, func(b *testing.B) {
			url := serve(b).url()
			var ended sync.Map
			p := &numbered{mode: providers.Exclusive, life: time.Hour, latency: 130 * time.Millisecond}
			p.ended = func(subject string) { ended.Store(subject, time.Now()) }
			var caches []*tokencache.Cache
			for range 2 {
				s := open(b, url, redisstore.Options{})
				var store tokencache.Store = s
				if how == "polled" {
					store = polled{s, s}
				}
				caches = append(caches, newCache(b, p, store, nil))
			}
			var waits []time.Duration
			for i := range b.N {
				req := providers.Request{Subject: fmt.Sprint(i)}
				var wg sync.WaitGroup
				for n, c := range caches {
					wg.Go(func() {
						time.Sleep(time.Duration(n*(10+i%50)) * time.Millisecond) // the second comes while the first is at it
						if _, err := c.Generate(context.Background(), req); err != nil {
							b.Error(err)
						}
						if n == 1 {
							at, _ := ended.Load(req.Subject)
							waits = append(waits, time.Since(at.(time.Time)))
						}
					})
				}
				wg.Wait()
			}
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "ms-p50")
			b.ReportMetric(float64(waits[len(waits)*95/100].Microseconds())/1000, "ms-p95")
		})
	}
}
