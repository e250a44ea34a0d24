package tokencache_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// goroutines are the counts that the hot path is measured at.
var goroutines = []int{1, 2, 8, 64}

// inParallel shares b.N among exactly n goroutines.
func inParallel(b *testing.B, n int, fn func(*testing.PB)) {
	b.ReportAllocs()
	if n == 1 {
		b.SetParallelism(1)
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	} else {
		b.SetParallelism(max(n/runtime.GOMAXPROCS(0), 1))
	}
	b.RunParallel(fn)
}

// BenchmarkHit compares a hit with its floor: an atomic load and time.Now.
func BenchmarkHit(b *testing.B) {
	ctx := context.Background()
	c, err := tokencache.New(&fake{ttl: 24 * time.Hour}, tokencache.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	req := providers.Request{Subject: "u"}
	source := c.Source(req)
	keyed, _ := c.Keyed(req)
	if _, err := source.Token(ctx); err != nil {
		b.Fatal(err)
	}
	var expiry atomic.Pointer[time.Time]
	end := time.Now().Add(time.Hour)
	expiry.Store(&end)
	for _, n := range goroutines {
		b.Run(fmt.Sprintf("floor/%d", n), func(b *testing.B) {
			inParallel(b, n, func(pb *testing.PB) {
				for pb.Next() {
					if !time.Now().Before(*expiry.Load()) {
						b.Error("expired")
					}
				}
			})
		})
		b.Run(fmt.Sprintf("bound/%d", n), func(b *testing.B) {
			inParallel(b, n, func(pb *testing.PB) {
				for pb.Next() {
					if tok, err := source.Token(ctx); err != nil || tok.AccessToken == "" {
						b.Error(err)
					}
				}
			})
		})
		b.Run(fmt.Sprintf("keyed/%d", n), func(b *testing.B) {
			inParallel(b, n, func(pb *testing.PB) {
				for pb.Next() {
					if tok, err := keyed.Token(ctx, req); err != nil || tok.AccessToken == "" {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkMemory fills a cache with a million grants and reports the bytes of
// each beyond the strings of its token.
func BenchmarkMemory(b *testing.B) {
	const entries = 1_000_000
	for b.Loop() {
		ctx := context.Background()
		now := time.Now()
		c, err := tokencache.New(fixed{providers.Token{AccessToken: "token", TokenType: "Bearer", IssuedAt: now, Expiry: now.Add(24 * time.Hour)}}, tokencache.Options{MaxEntries: entries})
		if err != nil {
			b.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range entries {
			if _, err := c.Generate(ctx, providers.Request{Subject: fmt.Sprint(i)}); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/entries, "B/entry")
		if n := c.Stats().Entries; n != entries {
			b.Fatal(n)
		}
		_ = c.Close(ctx)
	}
}

type fixed struct{ tok providers.Token }

func (f fixed) Generate(context.Context, providers.Request) (providers.Token, error) {
	return f.tok, nil
}
