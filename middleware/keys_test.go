package middleware_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// together sends one request per token at once and counts the statuses.
func together(h http.Handler, tokens ...string) map[int]int {
	var mu sync.Mutex
	got := map[int]int{}
	var wg sync.WaitGroup
	for _, token := range tokens {
		wg.Go(func() {
			w := ask(h, token)
			mu.Lock()
			got[w.Code]++
			mu.Unlock()
		})
	}
	wg.Wait()
	return got
}

func repeat(n int, f func() string) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = f()
	}
	return s
}

func TestRotationServesEverybodyWithOneFetch(t *testing.T) {
	for _, overlap := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			h := authFor(t, trusting(i)).Handler(ok)
			require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
			old := mint(t, i, nil)
			require.NoError(t, i.Rotate(overlap))
			i.Slow(100 * time.Millisecond)
			got := together(h, repeat(200, func() string { return mint(t, i, nil) })...)
			require.Equal(t, map[int]int{200: 200}, got)
			require.Equal(t, 2, i.Fetches(), "one to load, one to find the new key")
			want := 401
			if overlap {
				want = 200
			}
			require.Equal(t, want, ask(h, old).Code)
			t.Logf("rotation, overlap %v: 200 requests at once, %v, 1 fetch", overlap, got)
		})
	}
}

func TestRandomKidDoesNotDelayARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		require.Equal(t, 401, ask(h, mintAs(t, i, "random")).Code)
		require.NoError(t, i.Rotate(false))
		start := time.Now()
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		require.Zero(t, time.Since(start))
	})
}

// A kid that stays unknown is asked for once in a while only, and leaves the
// limiter to the others.
func TestOneUnknownKidAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		stuck := mintAs(t, i, "stuck")
		for range 1000 {
			require.Equal(t, 401, ask(h, stuck).Code)
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, i.Fetches(), 3) // load, once, and after 10 s again
		require.NoError(t, i.Rotate(false))
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
	})
}

func TestDownAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		i.Down(true)
		auth := authFor(t, trusting(i))
		h := auth.Handler(ok)
		token := mint(t, i, nil)
		time.AfterFunc(300*time.Millisecond, func() { i.Down(false) })
		start := time.Now()
		for {
			w := ask(h, token)
			if w.Code == 200 {
				break
			}
			require.Equal(t, 503, w.Code)
			require.Equal(t, "1", w.Header().Get("Retry-After"))
			require.Empty(t, w.Header().Get("WWW-Authenticate"))
			require.Less(t, time.Since(start), 400*time.Millisecond)
			time.Sleep(time.Millisecond)
		}
		require.LessOrEqual(t, time.Since(start), 400*time.Millisecond, "within 100 ms of the issuer's return")
		t.Logf("issuer down for 300 ms at the start: served after %v, %d fetches", time.Since(start), i.Fetches())
	})
}

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		i.Down(true)
		auth := authFor(t, trusting(i))
		require.False(t, auth.Ready())
		synctest.Wait()
		i.Down(false)
		require.False(t, auth.Ready(), "the back-off still runs")
		time.Sleep(100 * time.Millisecond)
		require.False(t, auth.Ready())
		synctest.Wait()
		require.True(t, auth.Ready())
		require.Equal(t, 2, i.Fetches())
	})
}

func TestAGoodSetIsNotReplacedByABadOne(t *testing.T) {
	bad := map[string]string{
		"object": `{}`, "null": `null`, "error": `{"error":"x"}`, "no keys": `{"keys":[]}`, "null keys": `{"keys":null}`, "nothing": ``, "HTML": `<html>`, "array": `[]`,
		"only bad keys": `{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"},{},null,1,"x"]}`, "only a secret": `{"keys":[{"kty":"oct","kid":"x","k":"AAAA"}]}`, "cut off": `{"keys":[{"kty"`,
	}
	for name, body := range bad {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			h := authFor(t, trusting(i)).Handler(ok)
			require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
			i.ServeSet([]byte(body))
			for range 8 {
				time.Sleep(20 * time.Minute)
				require.Equal(t, 200, ask(h, mint(t, i, nil)).Code, name)
				synctest.Wait()
			}
			require.Greater(t, i.Fetches(), 7, name)
			require.Equal(t, 503, ask(h, mintAs(t, i, "new")).Code, "nobody can tell whether the kid exists")
			i.Serve(nil)
			require.NoError(t, i.Rotate(false))
			time.Sleep(10 * time.Second)
			require.Equal(t, 200, ask(h, mint(t, i, nil)).Code, name)
		})
	}
}

func TestBadNeighboursOfAGoodKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t, "ES256", "EdDSA")
		good := string(i.JWKS())
		i.ServeSet([]byte(good[:len(good)-2] + `,{"kty":"RSA","kid":"weak","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","kid":"off","x":"AA","y":"AA"},
			{"kty":"oct","kid":"secret","alg":"HS256","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
			{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"},{"kty":"X"},{},null,7,"x",[]]}`))
		h := authFor(t, trusting(i, "ES256", "EdDSA")).Handler(ok)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
	})
}

func TestFloodOfUnknownKids(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		i.Slow(20 * time.Millisecond)
		good := mint(t, i, nil)
		start := time.Now()
		const flood = 10_000
		got := together(h, repeat(flood, func() string { return renamed(good, rand.Text()) })...)
		require.Equal(t, map[int]int{401: flood}, got)
		require.Less(t, time.Since(start), time.Second)
		first := i.Fetches() - 1
		require.LessOrEqual(t, first, 5)
		for range 60 { // a minute of it
			require.Equal(t, map[int]int{401: 20}, together(h, repeat(20, func() string { return renamed(good, rand.Text()) })...))
			require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
			time.Sleep(time.Second)
		}
		later := i.Fetches() - 1 - first
		require.LessOrEqual(t, first+later, 5+7, "the burst, then one in ten seconds")
		require.NoError(t, i.Rotate(false))
		next := mint(t, i, nil)
		start = time.Now()
		for ask(h, next).Code != 200 {
			time.Sleep(100 * time.Millisecond)
		}
		require.LessOrEqual(t, time.Since(start), 10*time.Second)
		t.Logf("%d unknown kids at once: %d fetches; 1,200 over a minute: %d; a rotation amid the flood served after %v", flood, first, later, time.Since(start))
	})
}

func TestFlightThatBeganBeforeTheQuestionIsNotFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		i.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			set := i.JWKS() // as it is when the request arrives
			time.Sleep(time.Second)
			_, _ = w.Write(set)
		}))
		go ask(h, mintAs(t, i, "unknown"))
		time.Sleep(500 * time.Millisecond)
		require.NoError(t, i.Rotate(true))
		got := together(h, repeat(50, func() string { return mint(t, i, nil) })...)
		require.Equal(t, map[int]int{200: 50}, got)
		require.Equal(t, 3, i.Fetches())
	})
}

func TestEveryWaiterKeepsItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		i.Slow(2 * time.Second)
		var early atomic.Int64
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			start := time.Now()
			if askWith(ctx, h, mint(t, i, nil)).Code == 503 {
				early.Store(int64(time.Since(start)))
			}
		}()
		synctest.Wait()
		require.Equal(t, map[int]int{200: 20}, together(h, repeat(20, func() string { return mint(t, i, nil) })...))
		require.Equal(t, 50*time.Millisecond, time.Duration(early.Load()))
		require.Equal(t, 1, i.Fetches(), "the one who left took nothing along")
	})
}

func TestIssuersDoNotShareKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newIssuer(t), newIssuer(t)
		b.URL = "https://other.example"
		h := authFor(t, own(trusting(a), trusting(b))...).Handler(ok) // both have a kid es256-1
		require.Equal(t, 200, ask(h, mint(t, a, nil)).Code)
		require.Equal(t, 200, ask(h, mint(t, b, nil)).Code)
		require.Equal(t, 401, ask(h, mint(t, a, map[string]any{"iss": b.URL})).Code)
		require.Equal(t, 401, ask(h, mint(t, b, map[string]any{"iss": a.URL})).Code)
	})
}

func TestFetchThatPanicsOrExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		var n atomic.Int64
		cfg := trusting(i)
		cfg.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			switch n.Add(1) {
			case 1:
				panic("broken")
			case 2:
				runtime.Goexit()
			}
			return i.Client().Transport.RoundTrip(r)
		})}
		h := authFor(t, cfg).Handler(ok)
		for _, want := range []int{503, 503, 200} {
			require.Equal(t, want, ask(h, mint(t, i, nil)).Code)
			time.Sleep(time.Second)
		}
	})
}
