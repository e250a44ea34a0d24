package tokencache_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
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

// flights notes the events of flights.
type flights struct {
	mu   sync.Mutex
	seen []providers.Event
}

func (f *flights) observe(_ context.Context, e providers.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Kind == "flight" {
		f.seen = append(f.seen, e)
	}
}

func (f *flights) last() providers.Event {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) == 0 {
		return providers.Event{}
	}
	return f.seen[len(f.seen)-1]
}

// kinds notes the kinds of events.
type kinds struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (k *kinds) observe(_ context.Context, e providers.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen == nil {
		k.seen = map[string]bool{}
	}
	k.seen[e.Kind] = true
}

func (k *kinds) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = nil
}

func (k *kinds) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.seen))
}

// The event of a flight says what was asked of the upstream and why, how that
// ended, how long it took, and how many callers shared it.
func TestTheEventOfAFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, told := newVendor(), &flights{}
		v.mode = providers.Rotating
		issue := v.generate
		v.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
			_ = pause(ctx, 2*time.Second)
			return issue(ctx, req)
		}
		c := open(t, v, tokencache.Options{Observer: told.observe})
		flight := func(op, outcome string, took time.Duration, joined int) {
			t.Helper()
			assert.Equal(t, providers.Event{Source: "tokencache", Kind: "flight", Op: op, Outcome: outcome, Duration: took, N: joined}, told.last())
		}
		together(3, func(int) { must(t)(c.Generate(t.Context(), alice)) })
		flight("generate", "ok", 2*time.Second, 2)
		tok := must(t)(c.Renew(t.Context(), alice, must(t)(c.Generate(t.Context(), alice))))
		flight("forced-refresh", "ok", time.Second, 0)
		tok = must(t)(c.Refresh(t.Context(), alice, tok.RefreshToken))
		flight("refresh", "ok", time.Second, 0)
		time.Sleep(3580 * time.Second)
		must(t)(c.Generate(t.Context(), alice))
		time.Sleep(2 * time.Second)
		flight("ahead-refresh", "ok", time.Second, 0)
		_, err := c.Refresh(t.Context(), nobody, "forged")
		require.Error(t, err)
		flight("refresh", "grant_dead", time.Second, 0)
		time.Sleep(2 * time.Minute)
		_, err = c.Refresh(t.Context(), alice, tok.RefreshToken) // spent
		require.Error(t, err)
		flight("none", "grant_dead", 0, 0)
		require.NoError(t, c.Adopt(t.Context(), bob, v.issue("t1/bob")))
		flight("none", "ok", 0, 0)
		assert.EqualValues(t, 2, c.Stats().Coalesced)
		assert.EqualValues(t, 2, c.Stats().Failed)
	})
}

// A hit is a token from memory, whichever way it was asked for, also if it is
// renewed meanwhile.
func TestEachHitIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour, latency: time.Second}
		c := open(t, p, tokencache.Options{})
		s := c.Source(alice)
		must(t)(s.Token(t.Context()))
		assert.Zero(t, c.Stats().Hits)
		must(t)(c.Generate(t.Context(), alice))
		assert.EqualValues(t, 1, c.Stats().Hits)
		must(t)(s.Token(t.Context()))
		assert.EqualValues(t, 2, c.Stats().Hits)
		time.Sleep(3580 * time.Second) // renewed ahead from here
		must(t)(c.Generate(t.Context(), alice))
		must(t)(s.Token(t.Context()))
		assert.EqualValues(t, 4, c.Stats().Hits)
		time.Sleep(2 * time.Second)
		assert.EqualValues(t, 2, p.calls.Load())
		early := c.Source(bob) // before there is a token
		must(t)(c.Generate(t.Context(), bob))
		must(t)(early.Token(t.Context()))
		assert.EqualValues(t, 5, c.Stats().Hits)
	})
}

// What a user does every day is for Debug at most. What an operator can mend is
// told.
func TestWhichFailuresAreToldToTheOperator(t *testing.T) {
	for name, tt := range map[string]struct {
		fail func(t *testing.T, v *vendor, c *tokencache.Cache, tok providers.Token) error
		told bool
	}{
		"the upstream refuses a refresh token": {func(t *testing.T, _ *vendor, c *tokencache.Cache, _ providers.Token) error {
			_, err := c.Refresh(t.Context(), nobody, "forged")
			return err
		}, true},
		"a spent refresh token comes again": {func(t *testing.T, _ *vendor, c *tokencache.Cache, tok providers.Token) error {
			must(t)(c.Refresh(t.Context(), alice, tok.RefreshToken))
			time.Sleep(2 * time.Minute)
			_, err := c.Refresh(t.Context(), alice, tok.RefreshToken)
			return err
		}, false},
		"a sign-out overtakes a refresh": {func(t *testing.T, _ *vendor, c *tokencache.Cache, tok providers.Token) error {
			time.AfterFunc(time.Second/2, func() { _ = c.Purge(t.Context(), alice) })
			_, err := c.Refresh(t.Context(), alice, tok.RefreshToken)
			return err
		}, false},
		"a sign-out overtakes a refresh that fails": {func(t *testing.T, v *vendor, c *tokencache.Cache, tok providers.Token) error {
			v.refresh = func(context.Context, providers.Request, string) (providers.Token, error) {
				time.Sleep(time.Second)
				return providers.Token{}, &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient}
			}
			time.AfterFunc(time.Second/2, func() { _ = c.Purge(t.Context(), alice) })
			_, err := c.Refresh(t.Context(), alice, tok.RefreshToken)
			return err
		}, false},
		"the upstream is down": {func(t *testing.T, v *vendor, c *tokencache.Cache, tok providers.Token) error {
			v.refresh = func(context.Context, providers.Request, string) (providers.Token, error) {
				return providers.Token{}, &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient}
			}
			_, err := c.Refresh(t.Context(), alice, tok.RefreshToken)
			return err
		}, true},
		"all slots are taken": {func(t *testing.T, v *vendor, c *tokencache.Cache, tok providers.Token) error {
			good := v.refresh
			v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
				time.Sleep(31 * time.Second)
				return good(ctx, req, rt)
			}
			go func() { _, _ = c.Refresh(t.Context(), nobody, "forged") }()
			time.Sleep(time.Second)
			_, err := c.Refresh(t.Context(), alice, tok.RefreshToken) // waits, and never calls
			return err
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, log := newVendor(), &lockedBuilder{}
				c := open(t, v, tokencache.Options{MaxFlights: 1, Logger: slog.New(slog.NewTextHandler(log, nil))})
				tok := must(t)(c.Generate(t.Context(), alice))
				require.Error(t, tt.fail(t, v, c, tok))
				synctest.Wait()
				assert.Equal(t, tt.told, strings.Contains(log.String(), "level=WARN"), log.String())
			})
		})
	}
}

// A panic is told with its place, wherever it happened. An Observer that works
// is no news.
func TestAPanicIsTold(t *testing.T) {
	for _, panics := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			log := &lockedBuilder{}
			c := open(t, &fake{ttl: time.Hour}, tokencache.Options{
				Logger: slog.New(slog.NewTextHandler(log, nil)),
				Observer: func(context.Context, providers.Event) {
					if panics {
						panic("secret")
					}
				},
			})
			must(t)(c.Generate(t.Context(), user))
			synctest.Wait()
			assert.Equal(t, panics, strings.Contains(log.String(), "level=ERROR"), log.String())
			assert.Equal(t, panics, strings.Contains(log.String(), "told_test.go"), "the stack")
			assert.NotContains(t, log.String(), "secret")
		})
	}
}

// An answer without a token is an error. After a refresh it is also unknown
// whether the refresh token is spent.
func TestAnEmptyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		var empty atomic.Bool
		empty.Store(true)
		issue, refresh := v.generate, v.refresh
		v.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
			if empty.Load() {
				return providers.Token{}, nil
			}
			return issue(ctx, req)
		}
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			if empty.Load() {
				return providers.Token{}, nil
			}
			return refresh(ctx, req, rt)
		}
		c := open(t, v, tokencache.Options{})
		_, err := c.Generate(t.Context(), alice)
		assert.Equal(t, providers.CodeBadResponse, code(err), "%v", err)
		assert.Equal(t, providers.Transient, providers.AsError(err).Class)
		assert.Zero(t, c.Stats().InDoubt)
		empty.Store(false)
		time.Sleep(10 * time.Second)
		tok := must(t)(c.Generate(t.Context(), alice))
		empty.Store(true)
		_, err = c.Refresh(t.Context(), alice, tok.RefreshToken)
		assert.Equal(t, providers.CodeBadResponse, code(err), "%v", err)
		assert.Equal(t, providers.InDoubt, providers.AsError(err).Class)
		assert.Equal(t, 1, c.Stats().InDoubt)
		empty.Store(false)
		time.Sleep(10 * time.Second) // nobody asks
		assert.Zero(t, c.Stats().InDoubt)
		assert.NotEqual(t, tok.AccessToken, must(t)(c.Generate(t.Context(), alice)).AccessToken)
	})
}

// A request that has no key shares no token with another one.
func TestARequestWithoutAKeyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour}
		c := open(t, p, tokencache.Options{})
		for _, subject := range []string{"alice", "bob"} {
			req := providers.Request{Subject: subject, Params: map[string]any{"x": make(chan int)}}
			_, err := c.Generate(t.Context(), req)
			assert.Equal(t, providers.CodeInvalidField, code(err), "%v", err)
			_, err = c.Renew(t.Context(), req, providers.Token{})
			assert.Equal(t, providers.CodeInvalidField, code(err), "%v", err)
			_, err = c.Refresh(t.Context(), req, "rt")
			assert.Equal(t, providers.CodeInvalidField, code(err), "%v", err)
			assert.Equal(t, providers.CodeInvalidField, code(c.Adopt(t.Context(), req, providers.Token{AccessToken: "at"})))
			assert.Equal(t, providers.CodeInvalidField, code(c.Purge(t.Context(), req)))
			assert.False(t, c.Purged(req, providers.Token{}))
		}
		assert.Zero(t, p.calls.Load())
		assert.Zero(t, c.Stats().Entries)
	})
}

// A renewal ahead that fails is tried again when its window is over, and not for
// each hit.
func TestHitsStartNoWorkWhileRenewalsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour}
		c := open(t, p, tokencache.Options{})
		must(t)(c.Generate(t.Context(), user))
		synctest.Wait()
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			return providers.Token{}, errors.New("down")
		}
		time.Sleep(3400 * time.Second)
		for range 1000 {
			must(t)(c.Generate(t.Context(), user))
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, c.Stats().Flights, uint64(12))
		assert.Equal(t, c.Stats().Calls, c.Stats().Flights)
	})
}

// What is told to do fits the cause: of two faults with one code, one may be of
// the cache's own Store and the other of the upstream.
func TestWhatTheOperatorIsToldToDo(t *testing.T) {
	for _, tt := range []struct {
		code      providers.Code
		own, told string // own: what is told if the cache itself failed so
	}{
		{providers.CodeCredentialsRejected, "", "the upstream refuses our key"},
		{providers.CodeGrantRequired, "", "the user has to sign in again"},
		{providers.CodeNotSignedIn, "", "the user has to sign in again"},
		{providers.CodeBusy, "look at the store", "the upstream asks to come back later"},
		{providers.CodeTimeout, "Options.MaxFlights", "the network between"},
		{providers.CodeUnreachable, "", "the network between"},
		{providers.CodeUpstreamError, "", "whether its API changed"},
		{providers.CodeBadResponse, "", "whether its API changed"},
		{providers.CodeInvalidField, "", "the error says what was wrong"},
	} {
		synctest.Test(t, func(t *testing.T) {
			for _, op := range []string{"vendor", "tokencache"} {
				log := &lockedBuilder{}
				p := &fake{}
				p.generate = func(context.Context, providers.Request) (providers.Token, error) {
					return providers.Token{}, &providers.Error{Code: tt.code, Op: op}
				}
				c := open(t, p, tokencache.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
				_, err := c.Generate(t.Context(), user)
				require.Equal(t, tt.code, code(err))
				synctest.Wait()
				assert.Equal(t, op == "vendor" || tt.own == "" || tt.code == providers.CodeTimeout, strings.Contains(log.String(), tt.told), "%s of %s: %s", tt.code, op, log)
				if tt.own != "" {
					assert.Equal(t, op == "tokencache", strings.Contains(log.String(), tt.own), "%s of %s: %s", tt.code, op, log)
				}
			}
		})
	}
}

// One kind of failure hides no other kind.
func TestEachKindOfFailureIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuilder{}
		p := &fake{}
		p.generate = func(_ context.Context, req providers.Request) (providers.Token, error) {
			return providers.Token{}, &providers.Error{Code: providers.Code(req.Audience)}
		}
		c := open(t, p, tokencache.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
		for i := range 3 {
			for _, code := range []string{"one", "two"} {
				_, _ = c.Generate(t.Context(), providers.Request{Subject: userNo(i).Subject, Audience: code})
			}
		}
		synctest.Wait()
		assert.Equal(t, 2, strings.Count(log.String(), "level=WARN"), log.String())
	})
}

// A cache that is too small says so once.
func TestEvictionsAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuilder{}
		c := open(t, &fake{ttl: time.Hour}, tokencache.Options{MaxEntries: 4, Logger: slog.New(slog.NewTextHandler(log, nil))})
		for i := range 20 {
			must(t)(c.Generate(t.Context(), userNo(i)))
			synctest.Wait() // busy entries stay
			time.Sleep(time.Minute)
		}
		assert.EqualValues(t, 16, c.Stats().Evicted)
		assert.Equal(t, 1, strings.Count(log.String(), "more grants than MaxEntries"), log.String())
	})
}

// Grants that die one after another are no fault of ours.
func TestDeathsOverAnHourAreNotTakenForOurFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, log := newVendor(), &lockedBuilder{}
		c := open(t, v, tokencache.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
		for i := range 60 {
			pair := must(t)(c.Generate(t.Context(), userNo(i)))
			v.mu.Lock()
			clear(v.alive)
			v.mu.Unlock()
			_, err := c.Refresh(t.Context(), nobody, pair.RefreshToken)
			assert.Equal(t, providers.GrantDead, providers.AsError(err).Class)
			time.Sleep(10 * time.Second)
		}
		assert.NotContains(t, log.String(), "level=ERROR")
	})
}
