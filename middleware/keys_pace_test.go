package middleware_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// When key sets are fetched, and what a fetch that fails or hangs holds up.

// through is i's configuration with a RoundTripper before it. If before returns
// an answer or an error, i is not asked.
func through(i *authtest.Issuer, before func(*http.Request) (*http.Response, error)) middleware.Issuer {
	cfg, inner := trusting(i), i.Client().Transport
	cfg.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if res, err := before(r); res != nil || err != nil {
			return res, err
		}
		return inner.RoundTrip(r)
	})}
	return cfg
}

func quietly(c middleware.Config) middleware.Config {
	c.Logger = slog.New(slog.DiscardHandler)
	return c
}

// Two entries of one issuer: the keys of one cannot be fetched, and the tokens
// of the other are served from memory.
func TestAnEntryWithoutKeysDelaysNoTokenOfAnother(t *testing.T) {
	for name, order := range map[string][2]int{"first": {0, 1}, "last": {1, 0}} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			var fetches atomic.Int64
			bad := through(i, func(r *http.Request) (*http.Response, error) {
				fetches.Add(1)
				<-r.Context().Done()
				return nil, r.Context().Err()
			})
			bad.JWKSURL = i.URL + "/policy-a/jwks"
			both := []middleware.Issuer{bad, trusting(i)}
			auth := newAuth(t, quietly(middleware.Config{Issuers: []middleware.Issuer{both[order[0]], both[order[1]]}}))
			h := auth.Handler(ok)
			require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
			seen := fetches.Load()
			for range 3 {
				time.Sleep(11 * time.Second)
				start := time.Now()
				require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
				require.Zero(t, time.Since(start), name)
			}
			require.Equal(t, seen, fetches.Load())
		})
	}
}

// discovering is i's configuration with discovery, which may fail.
func discovering(i *authtest.Issuer, fail func(*http.Request) (*http.Response, error)) middleware.Issuer {
	cfg := through(i, func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.URL.Path, "well-known") {
			return fail(r)
		}
		return nil, nil
	})
	cfg.JWKSURL, cfg.Discover = "", true
	return cfg
}

func TestADiscoveryThatFailsKeepsTheLastAddress(t *testing.T) {
	status := func(code int) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.WriteHeader(code)
			return w.Result(), nil
		}
	}
	for name, fail := range map[string]func(*http.Request) (*http.Response, error){
		"refused": func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") },
		"500":     status(500),
		"404":     status(404),
		"hangs": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer(t)
				var down atomic.Bool
				var asked atomic.Int64
				h := newAuth(t, quietly(middleware.Config{Issuers: []middleware.Issuer{discovering(i, func(r *http.Request) (*http.Response, error) {
					if asked.Add(1); down.Load() {
						return fail(r)
					}
					return nil, nil
				})}})).Handler(ok)
				require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
				down.Store(true)
				time.Sleep(61 * time.Minute)
				require.NoError(t, i.Rotate(true))
				require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
				time.Sleep(15 * time.Second)
				seen := asked.Load()
				require.NoError(t, i.Rotate(true))
				require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
				require.Equal(t, seen, asked.Load(), "the document is read again after a minute")
				// The key set fails once, which makes the document be read again.
				i.Down(true)
				require.NoError(t, i.Rotate(true))
				require.Equal(t, 503, ask(h, mint(t, i, nil)).Code)
				i.Down(false)
				time.Sleep(15 * time.Second)
				require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
				require.Greater(t, asked.Load(), seen)
			})
		})
	}
}

// A document that was read and is wrong is not an outage.
func TestADiscoveryThatSaysSomethingElseStopsTheFetch(t *testing.T) {
	for name, doc := range map[string]string{
		"another issuer": `{"issuer":"https://evil.example","jwks_uri":"https://issuer.example/jwks"}`,
		"over http":      `{"issuer":"https://issuer.example","jwks_uri":"http://issuer.example/jwks"}`,
		"no jwks_uri":    `{"issuer":"https://issuer.example"}`,
		"no issuer":      `{"jwks_uri":"https://issuer.example/jwks"}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			var wrong atomic.Bool
			auth := newAuth(t, quietly(middleware.Config{Issuers: []middleware.Issuer{discovering(i, func(*http.Request) (*http.Response, error) {
				if !wrong.Load() {
					return nil, nil
				}
				w := httptest.NewRecorder()
				_, _ = w.WriteString(doc)
				return w.Result(), nil
			})}}))
			require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
			wrong.Store(true)
			time.Sleep(61 * time.Minute)
			require.NoError(t, i.Rotate(true))
			require.Equal(t, "unavailable", reasonOf(t, auth, mint(t, i, nil)), name)
		})
	}
}

// A server that counts refused calls must not be asked 26 times in the minute
// that it wants.
func TestRetryAfterOfAKeySetsServer(t *testing.T) {
	for _, c := range []struct {
		after    string
		atMost   int64
		toClient string
	}{{"60", 7, "10"}, {"3", 21, "3"}, {"99999999999999999999", 7, "10"}} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			var fetches atomic.Int64
			h := newAuth(t, quietly(middleware.Config{Issuers: []middleware.Issuer{through(i, func(*http.Request) (*http.Response, error) {
				fetches.Add(1)
				w := httptest.NewRecorder()
				w.Header().Set("Retry-After", c.after)
				w.WriteHeader(429)
				return w.Result(), nil
			})}})).Handler(ok)
			token := mint(t, i, nil)
			require.Equal(t, 503, ask(h, token).Code)
			require.Equal(t, c.toClient, ask(h, token).Header().Get("Retry-After"))
			for range 600 {
				time.Sleep(100 * time.Millisecond)
				require.Equal(t, 503, ask(h, token).Code)
			}
			require.LessOrEqual(t, fetches.Load(), c.atMost)
			require.GreaterOrEqual(t, fetches.Load(), int64(6), "it is asked again within the bounds of the back-off")
		})
	}
}

// A RoundTripper that ignores the context of its requests and hangs once keeps
// no later fetch back.
func TestAFetchThatIgnoresItsContextIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		release := make(chan struct{})
		var fetches atomic.Int64
		h := newAuth(t, quietly(middleware.Config{Issuers: []middleware.Issuer{through(i, func(*http.Request) (*http.Response, error) {
			if fetches.Add(1) == 2 {
				<-release
			}
			return nil, nil
		})}})).Handler(ok)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		time.Sleep(20 * time.Minute)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		time.Sleep(10 * time.Second)
		require.NoError(t, i.Rotate(false))
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		time.Sleep(30 * time.Hour)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		close(release)
	})
}

func TestARoundTripperThatAlwaysHangsTakesNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		release := make(chan struct{})
		var running, most atomic.Int64
		h := newAuth(t, quietly(middleware.Config{Issuers: []middleware.Issuer{through(i, func(*http.Request) (*http.Response, error) {
			most.Store(max(most.Load(), running.Add(1)))
			<-release
			running.Add(-1)
			return nil, nil
		})}})).Handler(ok)
		for range 100 {
			require.Equal(t, 503, ask(h, mint(t, i, nil)).Code)
			time.Sleep(11 * time.Second)
		}
		require.LessOrEqual(t, most.Load(), int64(4))
		close(release)
		time.Sleep(11 * time.Second)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
	})
}

func TestAFetchThatPanicsBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		var fetches atomic.Int64
		h := newAuth(t, quietly(middleware.Config{Issuers: []middleware.Issuer{through(i, func(*http.Request) (*http.Response, error) {
			fetches.Add(1)
			panic("broken")
		})}})).Handler(ok)
		time.Sleep(time.Hour)
		for range 50 {
			require.Equal(t, 503, ask(h, mint(t, i, nil)).Code)
		}
		require.EqualValues(t, 1, fetches.Load())
	})
}

func TestAResolveThatIsSlowToFailDelaysOneRequest(t *testing.T) {
	for name, obeys := range map[string]bool{"obeys its context": true, "ignores its context": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ts := newTenants(t, "a")
				var hang atomic.Bool
				var calls atomic.Int64
				auth := ts.auth(t, func(c *middleware.Config) {
					c.Logger = slog.New(slog.DiscardHandler)
					c.Resolve = func(ctx context.Context, iss string) (*middleware.Issuer, error) {
						calls.Add(1)
						switch {
						case hang.Load() && obeys:
							<-ctx.Done()
							return nil, ctx.Err()
						case hang.Load():
							time.Sleep(time.Hour)
						}
						return ts.resolve(ctx, iss)
					}
				})
				h := auth.Handler(ok)
				token := ts.token(t, "a", nil)
				require.Equal(t, 200, ask(h, token).Code)
				time.Sleep(6 * time.Minute)
				hang.Store(true)
				calls.Store(0)
				start := time.Now()
				require.Equal(t, 200, ask(h, token).Code, "the last answer stays in use")
				require.LessOrEqual(t, time.Since(start), 6*time.Second)
				start = time.Now()
				for range 5 {
					require.Equal(t, 200, ask(h, token).Code)
				}
				require.Zero(t, time.Since(start))
				require.EqualValues(t, 1, calls.Load())
				// An iss without an answer so far has the same pause.
				other := ts.token(t, "other", nil)
				require.Equal(t, 503, ask(h, other).Code)
				start = time.Now()
				for range 5 {
					require.Equal(t, 503, ask(h, other).Code)
				}
				require.Zero(t, time.Since(start))
				require.EqualValues(t, 2, calls.Load())
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// Tracing libraries replace http.DefaultTransport by another type. It is not
// used for the issuers of Resolve, which are dialled with a check.
func TestAWrappedDefaultTransportDoesNotBreakResolve(t *testing.T) {
	i := newIssuer(t)
	i.URL = "https://localhost:1"
	config := quietly(middleware.Config{Resolve: func(_ context.Context, iss string) (*middleware.Issuer, error) {
		return &middleware.Issuer{
			Issuer: iss, Audiences: []string{i.Audience}, Algorithms: []string{"ES256"}, Subjects: middleware.Qualified, JWKSURL: iss + "/jwks",
		}, nil
	}})
	var wrapped atomic.Int64
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	http.DefaultTransport = roundTrip(func(*http.Request) (*http.Response, error) {
		wrapped.Add(1)
		return nil, errors.New("the wrapped transport")
	})
	_, err := newAuth(t, config).Verify(t.Context(), mint(t, i, nil))
	var dial *net.OpError
	require.ErrorAs(t, err, &dial)
	require.EqualError(t, dial.Err, "not a public address")
	require.Zero(t, wrapped.Load())
}
