package bench

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// BenchmarkTokenWake is what 10,000 cold callers wait for an upstream call of
// 50 ms, in medians of rounds that take turns, and the ratio to x/oauth2.
func BenchmarkTokenWake(b *testing.B) {
	const callers, rounds = 10_000, 9
	for b.Loop() {
		names := []string{}
		took := map[string][]time.Duration{}
		for range rounds {
			all, _, done := getters(b, func() *upstream { return &upstream{ttl: time.Hour, latency: latency} })
			for _, g := range all {
				if !slices.Contains(names, g.name) {
					names = append(names, g.name)
				}
				var ready, wg sync.WaitGroup
				start := make(chan struct{})
				ready.Add(callers)
				for range callers {
					wg.Go(func() {
						ready.Done()
						<-start
						if err := g.get(); err != nil {
							b.Error(err)
						}
					})
				}
				ready.Wait()
				at := time.Now()
				close(start)
				wg.Wait()
				took[g.name] = append(took[g.name], time.Since(at))
			}
			done()
		}
		for _, name := range names {
			slices.Sort(took[name])
			b.ReportMetric(took[name][rounds/2].Seconds()*1000, name+"-ms")
		}
		b.ReportMetric(float64(took["bearerkit"][rounds/2])/float64(took["x-oauth2"][rounds/2]), "ratio")
	}
}

// BenchmarkTokenByRequest is a hit by Cache.Generate and by a Source of its own,
// which name the grant by its request, as servers of many users call them.
func BenchmarkTokenByRequest(b *testing.B) {
	ctx := context.Background()
	c, err := tokencache.New(&upstream{ttl: 24 * time.Hour}, tokencache.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	for name, req := range map[string]providers.Request{
		"subject":           {Subject: "user-4711"},
		"scopes and params": {Subject: "user-4711", Scopes: []string{"orders:read", "orders:write"}, Params: map[string]any{"region": "eu", "days": 30}},
	} {
		all := []getter{
			{"generate", func() error { _, err := c.Generate(ctx, req); return err }},
			{"source", func() error { _, err := c.Source(req).Token(ctx); return err }},
		}
		b.Run(name, func(b *testing.B) {
			inTurns(b, 1, all)
			for _, g := range all {
				b.ReportMetric(testing.AllocsPerRun(1000, func() { _ = g.get() }), g.name+"-allocs")
			}
		})
	}
}
