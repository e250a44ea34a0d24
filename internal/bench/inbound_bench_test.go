package bench

import (
	"flag"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

var inboundTable = flag.Bool("inbound", false, "measure the inbound half beside its peers and print the table")

var algorithms = []string{"RS256", "ES256", "EdDSA", "HS256"}

var nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// BenchmarkInbound is what a request costs through each middleware, the token
// good and never seen before as far as caches go.
func BenchmarkInbound(b *testing.B) {
	for _, alg := range algorithms {
		s := newSigner(b, alg)
		token := s.token(b, nil)
		floor := signatureAlone(b, s, token)
		b.Run(alg+"/signature alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				floor()
			}
		})
		for _, c := range candidates {
			h := c.wrap(b, s, nothing)
			if h == nil {
				continue
			}
			b.Run(alg+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					run := asking(b, h, token, http.StatusOK)
					for pb.Next() {
						run()
					}
				})
			})
		}
		warm := kit(b, s, 0, nothing)
		b.Run(alg+"/bearerkit, remembered", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				run := asking(b, warm, token, http.StatusOK)
				for pb.Next() {
					run()
				}
			})
		})
	}
}

// refused are the tokens that must cost little, by the most they may cost as a
// part of a good one.
func refused(tb testing.TB, s *signer) []struct {
	name, token string
} {
	good := s.token(tb, nil)
	return []struct{ name, token string }{
		{"garbage", strings.Repeat("x", 600)},
		{"garbage with dots", strings.Repeat("eyJhbGciOiJub25lIn0", 10) + ".e30.e30"},
		{"expired two days ago", s.token(tb, map[string]any{"exp": time.Now().Add(-48 * time.Hour).Unix()})},
		{"expired an hour ago", s.token(tb, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})},
		{"foreign issuer", s.token(tb, map[string]any{"iss": "https://evil.example.com/"})},
		{"wrong audience", s.token(tb, map[string]any{"aud": "https://other.example.com"})},
		{"forged", good[:len(good)-12] + "AAAA" + good[len(good)-8:]},
	}
}

// BenchmarkInboundRefused is what a request costs that is answered 401.
func BenchmarkInboundRefused(b *testing.B) {
	s := newSigner(b, "RS256")
	for _, bad := range refused(b, s) {
		for _, c := range candidates {
			h := c.wrap(b, s, nothing)
			b.Run(bad.name+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				run := asking(b, h, bad.token, statusOf(b, h, bad.token))
				for b.Loop() {
					run()
				}
			})
		}
	}
}

// statusOf is how a peer refuses, which is not 401 everywhere.
func statusOf(tb testing.TB, h http.Handler, token string) int {
	r, err := http.NewRequest(http.MethodGet, "https://api.example.com/", nil)
	check(tb, err)
	r.Header.Set("Authorization", "Bearer "+token)
	w := &discard{h: http.Header{}, status: 200}
	h.ServeHTTP(w, r)
	return w.status
}

// cost is the best of many short rounds, which a busy machine disturbs least.
type cost struct {
	ns     float64
	bytes  uint64
	allocs uint64
}

// measure takes turns between the runs, so that all see the same machine.
func measure(runs map[string]func(), rounds int) map[string]cost {
	out := map[string]cost{}
	for name, run := range runs {
		const n = 200
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range n {
			run()
		}
		runtime.ReadMemStats(&after)
		out[name] = cost{math.Inf(1), (after.TotalAlloc - before.TotalAlloc) / n, (after.Mallocs - before.Mallocs) / n}
	}
	for range rounds {
		for name, run := range runs {
			n, start := 0, time.Now()
			for time.Since(start) < 2*time.Millisecond {
				for range 10 {
					run()
				}
				n += 10
			}
			c := out[name]
			c.ns = min(c.ns, float64(time.Since(start).Nanoseconds())/float64(n))
			out[name] = c
		}
	}
	return out
}

// TestInboundTable prints everything as multiples: go test -run InboundTable
// -inbound -v .
func TestInboundTable(t *testing.T) {
	if !*inboundTable {
		t.Skip("run with -inbound")
	}
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "\ngood tokens\tns\t× signature alone\tB\tallocs\tbeyond it")
	for _, alg := range algorithms {
		s := newSigner(t, alg)
		token := s.token(t, nil)
		runs := map[string]func(){"signature alone": signatureAlone(t, s, token), "hash + lookup": lookupAlone(token), "remembered, unchecked": asking(t, unchecked(token, nothing), token, 200), "bearerkit, remembered": asking(t, kit(t, s, 0, nothing), token, 200)}
		names := []string{"signature alone"}
		for _, c := range candidates {
			if h := c.wrap(t, s, nothing); h != nil {
				runs[c.name] = asking(t, h, token, 200)
				names = append(names, c.name)
			}
		}
		got := measure(runs, 300)
		floor := got["signature alone"]
		for _, name := range append(names, "bearerkit, remembered", "remembered, unchecked", "hash + lookup") {
			c := got[name]
			fmt.Fprintf(tw, "%s %s\t%.0f\t%.3f\t%d\t%d\t%d\n", alg, name, c.ns, c.ns/floor.ns, c.bytes, c.allocs, int64(c.allocs)-int64(floor.allocs))
		}
		best := math.Inf(1)
		for _, name := range names[2:] {
			best = min(best, got[name].ns)
		}
		fmt.Fprintf(tw, "%s remembered: %.0f times faster than the fastest peer; unchecked %.0f\n", alg, best/got["bearerkit, remembered"].ns, best/got["remembered, unchecked"].ns)
	}
	s := newSigner(t, "RS256")
	fmt.Fprintln(tw, "\nrefused (RS256)\tns\tpart of a good one\tagain\tfastest peer\tits part")
	good := s.token(t, nil)
	for _, bad := range refused(t, s) {
		runs := map[string]func(){}
		for _, c := range candidates {
			h := c.wrap(t, s, nothing)
			runs[c.name] = asking(t, h, bad.token, statusOf(t, h, bad.token))
			runs["good "+c.name] = asking(t, h, good, 200)
		}
		// As the kit is by default: an authentic token is remembered, expired or not.
		runs["again"] = asking(t, kit(t, s, 0, nothing), bad.token, 401)
		got := measure(runs, 60)
		peer := ""
		for _, c := range candidates[1:] {
			if peer == "" || got[c.name].ns < got[peer].ns {
				peer = c.name
			}
		}
		fmt.Fprintf(tw, "%s\t%.0f\t%.4f\t%.0f\t%s %.0f\t%.4f\n", bad.name, got["bearerkit"].ns, got["bearerkit"].ns/got["good bearerkit"].ns, got["again"].ns, peer, got[peer].ns, got[peer].ns/got["good "+peer].ns)
	}
	_ = tw.Flush()
	t.Log(table.String())
}
