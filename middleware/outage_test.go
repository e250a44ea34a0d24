package middleware_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware/authtest"
)

func long(t *testing.T, i *authtest.Issuer) string {
	return mint(t, i, map[string]any{"exp": time.Now().Add(100 * time.Hour).Unix()})
}

func TestOutageOfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		before := i.Fetches()
		i.Down(true)
		served, unknown := 0, 0
		good, unheard := mint(t, i, nil), mintAs(t, i, "new")
		for n := range 3600 {
			time.Sleep(time.Second)
			if n%60 == 0 { // tokens the cache has not seen; signing takes long
				good, unheard = mint(t, i, nil), mintAs(t, i, "new")
			}
			if ask(h, good).Code == 200 {
				served++
			}
			if w := ask(h, unheard); w.Code == 503 && w.Header().Get("Retry-After") != "" {
				unknown++
			}
		}
		require.Equal(t, 3600, served)
		require.Equal(t, 3600, unknown, "while the issuer is down nobody can tell whether a kid exists")
		fetches := i.Fetches() - before
		require.Less(t, fetches, 3600/10+30, "the back-off reaches 10 s")
		i.Down(false)
		require.NoError(t, i.Rotate(false))
		start := time.Now()
		for ask(h, mint(t, i, nil)).Code != 200 {
			time.Sleep(100 * time.Millisecond)
		}
		require.LessOrEqual(t, time.Since(start), 10*time.Second)
		t.Logf("issuer down for an hour: %d of 3600 requests served, %d fetches, new key accepted %v after its return", served, fetches, time.Since(start))
	})
}

func TestShortOutagesEndSoon(t *testing.T) {
	for _, outage := range []time.Duration{50 * time.Millisecond, 400 * time.Millisecond, 2 * time.Second, 10 * time.Second, 39 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			i.Down(true)
			h := authFor(t, trusting(i)).Handler(ok)
			token := mint(t, i, nil)
			start := time.Now()
			time.AfterFunc(outage, func() { i.Down(false) })
			for ask(h, token).Code != 200 {
				time.Sleep(5 * time.Millisecond)
			}
			require.LessOrEqual(t, time.Since(start)-outage, max(outage/4, 100*time.Millisecond)+10*time.Millisecond, outage)
			require.Less(t, i.Fetches(), 30)
		})
	}
}

// What a failed fetch took of the limiter it gives back, so that a key that is
// new after some hiccups is found at once.
func TestFailuresDoNotUseUpTheLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		good, unheard := mint(t, i, nil), mintAs(t, i, "new")
		require.Equal(t, 200, ask(h, good).Code)
		for range 10 {
			i.Down(true)
			require.Equal(t, 503, ask(h, unheard).Code)
			i.Down(false)
			time.Sleep(100 * time.Millisecond)
			require.Equal(t, 200, ask(h, good).Code) // has the set refreshed
			synctest.Wait()
		}
		require.NoError(t, i.Rotate(false))
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
	})
}

func TestStaleForADayAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		auth := authFor(t, trusting(i))
		h := auth.Handler(ok)
		token := long(t, i)
		require.Equal(t, 200, ask(h, token).Code)
		i.Down(true)
		time.Sleep(23*time.Hour + 59*time.Minute)
		require.Equal(t, 200, ask(h, token).Code)
		require.True(t, auth.Ready())
		time.Sleep(2 * time.Minute)
		require.Equal(t, 503, ask(h, token).Code, "also a token that is remembered")
		require.False(t, auth.Ready())
		time.Sleep(time.Minute)
		i.Down(false)
		time.Sleep(10 * time.Second)
		require.Equal(t, 200, ask(h, token).Code)
	})
}

func TestSlowIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		token := long(t, i)
		require.Equal(t, 200, ask(h, token).Code)
		i.Slow(time.Minute)
		start := time.Now()
		require.Equal(t, 503, ask(h, mintAs(t, i, "new")).Code)
		require.Equal(t, 5*time.Second, time.Since(start), "an unknown kid waits for 5 s at most")
		for range 200 { // beyond several refreshes
			time.Sleep(time.Minute)
			start := time.Now()
			require.Equal(t, 200, ask(h, token).Code)
			require.Zero(t, time.Since(start), "known kids never wait")
		}
		time.Sleep(10 * time.Second) // the last fetch ends
	})
}

func TestKeyThatIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		old := long(t, i)
		require.Equal(t, 200, ask(h, old).Code)
		require.NoError(t, i.Rotate(false))
		require.Equal(t, 200, ask(h, old).Code, "not noticed yet")
		time.Sleep(17 * time.Minute) // beyond 15 min + 10 %
		require.Equal(t, 200, ask(h, old).Code, "this one has the set refreshed")
		synctest.Wait()
		require.Equal(t, 401, ask(h, old).Code, "forgotten with its key")
	})
}

// Without traffic nothing refreshes the set; the first request after a long
// time must not be served with keys of yesterday.
func TestKeyThatIsWithdrawnWhileNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		old := long(t, i)
		require.Equal(t, 200, ask(h, old).Code)
		require.NoError(t, i.Rotate(false))
		time.Sleep(20 * time.Hour)
		i.Slow(300 * time.Millisecond)
		require.Equal(t, map[int]int{401: 20}, together(h, repeat(20, func() string { return old })...))
		require.LessOrEqual(t, i.Fetches(), 4, "load, refresh, and the kid is unknown now")
		i.Slow(time.Minute)
		time.Sleep(20 * time.Hour)
		start := time.Now()
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		require.Equal(t, time.Second, time.Since(start), "served from what is at hand if the issuer hangs")
		time.Sleep(10 * time.Second) // the last fetch ends
	})
}

func TestRefreshIntervals(t *testing.T) {
	for _, c := range []struct {
		header      string
		every       time.Duration
		least, most time.Duration
	}{
		{"", 0, 15 * time.Minute * 9 / 10, 15 * time.Minute * 11 / 10},
		{"max-age=600", 0, 9 * time.Minute, 11 * time.Minute},
		{"public, max-age=5", 0, 54 * time.Second, 66 * time.Second},
		{"max-age=86400, must-revalidate", 0, 54 * time.Minute, 66 * time.Minute},
		{"no-store", 0, 15 * time.Minute * 9 / 10, 15 * time.Minute * 11 / 10},
		{"max-age=x", 0, 15 * time.Minute * 9 / 10, 15 * time.Minute * 11 / 10},
		{"max-age=600", time.Second, 900 * time.Millisecond, 1100 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			i.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", c.header)
				_, _ = w.Write(i.JWKS())
			}))
			cfg := trusting(i)
			cfg.RefreshEvery = c.every
			h := authFor(t, cfg).Handler(ok)
			token := long(t, i)
			ask(h, token)
			time.Sleep(c.least - time.Millisecond)
			ask(h, token)
			synctest.Wait()
			require.Equal(t, 1, i.Fetches(), c.header)
			time.Sleep(c.most - c.least + 2*time.Millisecond)
			ask(h, token)
			synctest.Wait()
			require.Equal(t, 2, i.Fetches(), c.header)
		})
	}
}

func TestHugeEndlessAndRedirectingKeySets(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"256 MiB": func(w http.ResponseWriter, _ *http.Request) {
			for range 256 {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1<<20))); err != nil {
					return
				}
			}
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1<<16))); err != nil {
					return
				}
			}
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://issuer.example/elsewhere", http.StatusFound)
		},
		"redirect to metadata": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusTemporaryRedirect)
		},
		"257 keys": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"keys":[{}`+strings.Repeat(",{}", 256)+`]}`)
		},
		"204": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"404": http.NotFound,
	} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			auth := authFor(t, trusting(i)).Handler(ok)
			require.Equal(t, 200, ask(auth, mint(t, i, nil)).Code)
			i.Serve(h)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			require.Equal(t, 503, ask(auth, mintAs(t, i, "new")).Code, name)
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), name)
			require.Equal(t, 200, ask(auth, mint(t, i, nil)).Code, name)
			require.Equal(t, 2, i.Fetches(), name)
		})
	}
}

func TestFloodOfGarbageTakesNoMemory(t *testing.T) {
	i := newIssuer(t)
	auth := authFor(t, trusting(i))
	good := mint(t, i, nil)
	_, err := auth.Verify(t.Context(), good)
	require.NoError(t, err)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const flood = 20_000
	for n := range flood {
		_, err := auth.Verify(context.Background(), fmt.Sprintf("%s%d", good[:len(good)-6], 100000+n))
		require.Error(t, err)
		_, err = auth.Verify(context.Background(), fmt.Sprintf("garbage.%d.x", n))
		require.Error(t, err)
	}
	grown := int64(heap()) - int64(before)
	require.Less(t, grown, int64(1<<20))
	t.Logf("%d unique forged and %d garbage tokens: %d KiB more memory", flood, flood, grown>>10)
	require.Empty(t, reasonOf(t, auth, good))
}
