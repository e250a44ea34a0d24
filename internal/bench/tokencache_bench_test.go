package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"golang.org/x/oauth2"
)

// upstream is one token endpoint in the shape each library asks for.
type upstream struct {
	ttl, latency time.Duration
	fail         func(call int64) bool
	calls        atomic.Int64
}

var errUnavailable = errors.New("503")

func (u *upstream) ask() error {
	n := u.calls.Add(1)
	if u.latency > 0 {
		time.Sleep(u.latency)
	}
	if u.fail != nil && u.fail(n) {
		return errUnavailable
	}
	return nil
}

func (u *upstream) Generate(context.Context, providers.Request) (providers.Token, error) {
	if err := u.ask(); err != nil {
		return providers.Token{}, &providers.Error{Code: providers.CodeBadResponse, Class: providers.Transient, Status: 503, Err: err}
	}
	now := time.Now()
	return providers.Token{AccessToken: "token", TokenType: "Bearer", IssuedAt: now, Expiry: now.Add(u.ttl)}, nil
}

func (u *upstream) Token() (*oauth2.Token, error) {
	if err := u.ask(); err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: "token", Expiry: time.Now().Add(u.ttl)}, nil
}

func (u *upstream) Retrieve(context.Context) (aws.Credentials, error) {
	if err := u.ask(); err != nil {
		return aws.Credentials{}, err
	}
	return aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret", SessionToken: "token", CanExpire: true, Expires: time.Now().Add(u.ttl)}, nil
}

type getter struct {
	name string
	get  func() error
}

// getters are ours and the peers over one upstream each.
func getters(tb testing.TB, make func() *upstream) ([]getter, []*upstream, func()) {
	ctx := context.Background()
	ours, xoauth2, awsv2 := make(), make(), make()
	c, err := tokencache.New(ours, tokencache.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	source := c.Source(providers.Request{Subject: "u"})
	reuse := oauth2.ReuseTokenSourceWithExpiry(nil, xoauth2, 1) // 0 is 10 s, longer than our lives
	creds := aws.NewCredentialsCache(awsv2)
	return []getter{
			{"bearerkit", func() error { _, err := source.Token(ctx); return err }},
			{"x-oauth2", func() error { _, err := reuse.Token(); return err }},
			{"aws-sdk-go-v2", func() error { _, err := creds.Retrieve(ctx); return err }},
		}, []*upstream{ours, xoauth2, awsv2}, func() {
			if err := c.Close(ctx); err != nil {
				tb.Error(err)
			}
		}
}

// BenchmarkTokenHit is a hit at 1 to 64 goroutines; floor is an atomic load
// and time.Now. A hit by a key computed before is not exported: its figure is
// that of tokencache's own BenchmarkHit.
func BenchmarkTokenHit(b *testing.B) {
	all, _, done := getters(b, func() *upstream { return &upstream{ttl: 24 * time.Hour} })
	defer done()
	end := time.Now().Add(time.Hour)
	var expiry atomic.Pointer[time.Time]
	expiry.Store(&end)
	all = append([]getter{{"floor", func() error {
		if time.Now().Before(*expiry.Load()) {
			return nil
		}
		return errUnavailable
	}}}, all...)
	for _, n := range []int{1, 2, 8, 64} {
		for _, g := range all {
			b.Run(fmt.Sprintf("%s/%d", g.name, n), func(b *testing.B) {
				b.ReportAllocs()
				share(b, n, g.get)
			})
		}
	}
}

// share does b.N calls of get in exactly n goroutines.
func share(b *testing.B, n int, get func() error) {
	if err := get(); err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range n {
		wg.Go(func() {
			for j := i; j < b.N; j += n {
				if err := get(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkTokenMemory is the heap of each of a million grants, beyond the
// strings of its token, which all share.
func BenchmarkTokenMemory(b *testing.B) {
	const entries = 1_000_000
	keys := make([]string, entries)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	tok := providers.Token{AccessToken: "token", TokenType: "Bearer", Expiry: time.Now().Add(24 * time.Hour)}
	ctx := context.Background()
	for name, fill := range map[string]func() any{
		"bearerkit": func() any {
			c, err := tokencache.New(&upstream{ttl: 24 * time.Hour}, tokencache.Options{MaxEntries: entries})
			if err != nil {
				b.Fatal(err)
			}
			for _, k := range keys {
				if _, err := c.Generate(ctx, providers.Request{Subject: k}); err != nil {
					b.Fatal(err)
				}
			}
			return c
		},
		"map of structs": func() any {
			m := map[string]providers.Token{}
			for _, k := range keys {
				m[k] = tok
			}
			return m
		},
		"sync.Map": func() any {
			var m sync.Map
			for _, k := range keys {
				t := tok
				m.Store(k, &t)
			}
			return &m
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				kept := fill()
				b.ReportMetric(float64(heap()-before)/entries, "B/entry")
				if c, ok := kept.(*tokencache.Cache); ok {
					_ = c.Close(ctx)
				}
				runtime.KeepAlive(kept)
			}
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkTokenWaits is how many of the calls of 200 steady callers waited or
// failed, in five lives of a token, and what a dead endpoint costs them. Time
// is real: a caller that waits for a mutex holds up synctest's clock.
func BenchmarkTokenWaits(b *testing.B) {
	const callers, latency = 200, 50 * time.Millisecond
	for _, s := range []struct {
		name   string
		fail   func(int64) bool
		rounds int
	}{
		{"expiries", nil, 250},
		{"every second renewal fails", func(n int64) bool { return n%2 == 0 }, 250},
		{"503", func(int64) bool { return true }, 1},
	} {
		for i, name := range []string{"bearerkit", "x-oauth2", "aws-sdk-go-v2"} {
			b.Run(s.name+"/"+name, func(b *testing.B) {
				for b.Loop() {
					all, ups, done := getters(b, func() *upstream { return &upstream{ttl: time.Second, latency: latency, fail: s.fail} })
					get := all[i].get
					if s.rounds > 1 {
						_ = get()
					}
					var waited, failed, longest atomic.Int64
					for range s.rounds {
						var wg sync.WaitGroup
						for range callers {
							wg.Go(func() {
								at := time.Now()
								if get() != nil {
									failed.Add(1)
								}
								took := int64(time.Since(at))
								if took > int64(latency/2) {
									waited.Add(1)
								}
								for l := longest.Load(); took > l && !longest.CompareAndSwap(l, took); l = longest.Load() {
								}
							})
						}
						wg.Wait()
						time.Sleep(20 * time.Millisecond)
					}
					b.ReportMetric(float64(ups[i].calls.Load()), "calls")
					b.ReportMetric(float64(waited.Load()), "waited")
					b.ReportMetric(float64(failed.Load()), "failed")
					b.ReportMetric(float64(longest.Load())/1e6, "longest-ms")
					done()
				}
			})
		}
	}
}
