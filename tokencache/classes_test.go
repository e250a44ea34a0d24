package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

var errRefused = &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.Permanent, Status: 401}

// A refusal that may be about our own key is not the end of the grant.
func TestARefusalThatMayBeAboutOurKeyKeepsTheGrant(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		good := v.refresh
		keyWrong := true
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			if keyWrong {
				return providers.Token{}, errRefused
			}
			return good(ctx, req, rt)
		}
		issue := v.generate
		generates := 0
		v.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
			generates++
			if keyWrong {
				return providers.Token{}, &providers.Error{Code: providers.CodeCredentialsRejected, Class: providers.Permanent, Status: 401}
			}
			return issue(ctx, req)
		}
		require.NoError(t, next().Adopt(t.Context(), alice, v.issue("t1/alice")))

		_, err := next().Refresh(t.Context(), alice, "rt-1")
		assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		assert.Equal(t, providers.Permanent, providers.AsError(err).Class)
		assert.Zero(t, generates, "the refresh handler never generates")

		time.Sleep(31 * time.Second)
		tok := must(t)(next().Generate(t.Context(), alice))
		_, err = next().Renew(t.Context(), alice, tok)
		assert.Equal(t, providers.CodeCredentialsRejected, code(err), "%v", err)
		assert.Equal(t, 1, generates, "a Source generates once")

		keyWrong = false
		time.Sleep(31 * time.Second)
		pair := must(t)(next().Refresh(t.Context(), alice, "rt-1"))
		assert.Equal(t, "rt-2", pair.RefreshToken, "the same token works once the key is right")

		v.refresh = func(context.Context, providers.Request, string) (providers.Token, error) {
			return providers.Token{}, errRefused // about this token alone
		}
		time.Sleep(10 * time.Second)
		renewed := must(t)(next().Renew(t.Context(), alice, pair))
		assert.Equal(t, 2, generates, "a Source generates once")
		assert.Greater(t, renewed.Version, pair.Version)
		assert.NotEqual(t, pair.RefreshToken, renewed.RefreshToken)
	})
}

// When most grants of a provider die within a minute the fault is likely ours.
func TestManyDeathsInAMinuteAreTakenForOurFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		v.mode = providers.Rotating
		good := v.refresh
		broken := true
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			if broken {
				return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Status: 400}
			}
			return good(ctx, req, rt)
		}
		var log lockedBuilder
		c := open(t, v, tokencache.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(time.Hour) // the process is not new
		const grants = 100
		refresh := func(i int) error {
			_, err := c.Refresh(t.Context(), userNo(i), fmt.Sprint("rt-", i+1))
			return err
		}
		for i := range grants {
			require.NoError(t, c.Adopt(t.Context(), userNo(i), v.issue("t1/"+userNo(i).Subject)))
		}
		for i := range grants {
			for j := range 3 {
				_, _ = c.Refresh(t.Context(), nobody, fmt.Sprintf("junk %d %d", i, j)) // does not count
			}
			assert.Equal(t, providers.CodeRefreshRejected, code(refresh(i)))
		}
		assert.Equal(t, 1, strings.Count(log.String(), "level=ERROR"), log.String())
		broken = false
		time.Sleep(31 * time.Second)
		alive := 0
		for i := range grants {
			if refresh(i) == nil {
				alive++
			}
		}
		assert.Equal(t, grants-19, alive)
	})
}

// Refusals of what anybody may present are no sign of a fault of ours, also if a
// user with a grant is named.
func TestForgedRefreshTokensAreNotTakenForOurFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, log := newVendor(), &lockedBuilder{}
		c := open(t, v, tokencache.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
		for i := range 30 {
			must(t)(c.Generate(t.Context(), userNo(i)))
			_, err := c.Refresh(t.Context(), userNo(i), fmt.Sprint("forged ", i))
			assert.Equal(t, providers.CodeRefreshRejected, code(err))
			assert.Equal(t, providers.GrantDead, providers.AsError(err).Class)
		}
		assert.NotContains(t, log.String(), "level=ERROR")
	})
}

// The good refresh token in an odd answer is kept.
func TestARefreshTokenInAnOddAnswerIsKept(t *testing.T) {
	for name, odd := range map[string]func(tok providers.Token) (providers.Token, error){
		"an error beside it": func(tok providers.Token) (providers.Token, error) {
			return providers.Token{RefreshToken: tok.RefreshToken}, &providers.Error{Code: providers.CodeBadResponse, Class: providers.Transient}
		},
		"in doubt": func(tok providers.Token) (providers.Token, error) {
			return providers.Token{RefreshToken: tok.RefreshToken}, &providers.Error{Code: providers.CodeBadResponse, Class: providers.InDoubt}
		},
		"no access token": func(tok providers.Token) (providers.Token, error) {
			return providers.Token{RefreshToken: tok.RefreshToken}, nil
		},
		"an expired access token": func(tok providers.Token) (providers.Token, error) {
			tok.IssuedAt, tok.Expiry = tok.IssuedAt.Add(-2*time.Hour), tok.IssuedAt.Add(-time.Hour)
			return tok, nil
		},
	} {
		for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
			t.Run(fmt.Sprint(name, ", ", mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v := rotating()
					v.mode, v.ttl = mode, time.Hour
					good, odds := v.refresh, 0
					v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
						tok, err := good(ctx, req, rt)
						if err == nil && odds > 0 {
							odds--
							return odd(tok)
						}
						return tok, err
					}
					store := newHistory()
					c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
					require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
					odds = 1
					_, err := c.Refresh(t.Context(), nobody, "rt-1")
					assert.Equal(t, providers.CodeBadResponse, code(err), "%v", err)
					time.Sleep(10 * time.Second)
					tok := must(t)(c.Refresh(t.Context(), nobody, "rt-1")) // within the grace: the successor's successor
					if mode == providers.Exclusive {
						assert.Equal(t, "rt-3", tok.RefreshToken)
					}
					presentedOnce(t, v)

					before := v.presented()
					odds = 1000
					for range 12 {
						_, _ = c.Renew(t.Context(), alice, must2(c.Generate(t.Context(), alice)))
						time.Sleep(10 * time.Minute)
					}
					assert.LessOrEqual(t, v.presented()-before, 3, "no endless rotation")
					presentedOnce(t, v)
				})
			})
		}
	}
}

func must2(tok providers.Token, _ error) providers.Token { return tok }

// A token that has neither an expiry nor a refresh token is served until it is
// refused.
func TestATokenWithoutAnEndIsServedUntilItIsRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		require.NoError(t, next().Adopt(t.Context(), alice, providers.Token{AccessToken: "for ever"}))
		for range 3 {
			time.Sleep(10 * time.Minute)
			tok := must(t)(next().Generate(t.Context(), alice))
			assert.Equal(t, "for ever", tok.AccessToken)
			assert.True(t, tok.Expiry.IsZero(), "nobody said when it ends: %v", tok.Expiry)
		}
		tok := must(t)(next().Renew(t.Context(), alice, must(t)(next().Generate(t.Context(), alice))))
		assert.Contains(t, tok.AccessToken, "of t1/alice")
	})
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		c := open(t, v, tokencache.Options{DefaultLifetime: time.Minute})
		require.NoError(t, c.Adopt(t.Context(), alice, providers.Token{AccessToken: "for a minute"}))
		time.Sleep(2 * time.Minute)
		assert.NotEqual(t, "for a minute", must(t)(c.Generate(t.Context(), alice)).AccessToken)
	})
}

// A provider that ignores its context is counted while it blocks its grant.
func TestAProviderThatIgnoresItsContextIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := &fake{ttl: time.Hour}
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			<-release
			return p.token(1, ""), nil
		}
		c := open(t, p, tokencache.Options{})
		_, err := c.Generate(t.Context(), user)
		assert.Equal(t, providers.CodeTimeout, code(err), "%v", err)
		assert.Equal(t, 1, c.Stats().Overdue)
		close(release)
		synctest.Wait()
		assert.Equal(t, 0, c.Stats().Overdue)
		assert.Equal(t, "at-1", must(t)(c.Generate(t.Context(), user)).AccessToken, "its late answer counts")
	})
}

// A provider that returns late, and whose answer needs another call, harms no
// caller that has left: run with -race.
func TestALateRefusalHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		c := open(t, v, tokencache.Options{})
		tok := must(t)(c.Generate(t.Context(), alice))
		v.refresh = func(context.Context, providers.Request, string) (providers.Token, error) {
			time.Sleep(40 * time.Second) // and never looks at its context
			return providers.Token{}, errRefused
		}
		_, err := c.Renew(t.Context(), alice, tok)
		assert.Equal(t, providers.CodeTimeout, code(err), "%v", err)
		time.Sleep(20 * time.Second)
		assert.Equal(t, "at-2 of t1/alice", must(t)(c.Generate(t.Context(), alice)).AccessToken)
	})
}

// Hooks that panic or end their goroutine leave nobody waiting and lose no
// token.
func TestHooksThatPanicOrExitHarmNobody(t *testing.T) {
	for name, fault := range map[string]func(){"panic": func() { panic("secret") }, "Goexit": runtime.Goexit} {
		t.Run("observer "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &fake{ttl: time.Hour, latency: time.Second}
				c := open(t, p, tokencache.Options{Observer: func(context.Context, providers.Event) { fault() }})
				together(20, func(int) {
					tok, err := c.Generate(t.Context(), user)
					assert.NoError(t, err)
					assert.Equal(t, "at-1", tok.AccessToken)
				})
			})
		})
		t.Run("store Watch "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { hearsOfASignOut(t, &watching{newHistory(), fault}) })
		})
		for _, op := range []string{"Load", "CAS"} {
			t.Run("store "+op+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := newHistory()
					p := &fake{mode: providers.Rotating, ttl: time.Hour, latency: time.Second}
					c := cluster(t, 1, p, tokencache.Options{Store: store})[0]
					synctest.Wait()
					store.setFails(func(o, key string) error {
						if o == op && strings.HasPrefix(key, "t") {
							fault()
						}
						return nil
					})
					var mu sync.Mutex
					failed := 0
					together(20, func(int) {
						if _, err := c.Generate(t.Context(), user); err != nil {
							mu.Lock()
							defer mu.Unlock()
							failed++
							assert.NotContains(t, fmt.Sprint(err), "secret")
						}
					})
					assert.Equal(t, 20, failed, "the outcome of the Store's call is not known")
					store.setFails(nil)
					time.Sleep(time.Minute)
					must(t)(c.Generate(t.Context(), user))
				})
			})
		}
	}
}

// A Store whose Watch does not return hides no sign-out of another replica, and
// a caller who waits for the work of another replica gets its token.
func TestAWatchThatHangsHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		hearsOfASignOut(t, &watching{newHistory(), func() { <-end }})
	})
}

// hearsOfASignOut lets two replicas over store share a token, one of them while
// the other one works, and signs the grant out.
func hearsOfASignOut(t *testing.T, store tokencache.Store) {
	t.Helper()
	p := &fake{mode: providers.Rotating, ttl: time.Hour, latency: 2 * time.Second}
	all := cluster(t, 2, p, tokencache.Options{Store: store})
	var tokens [2]providers.Token
	together(2, func(i int) { tokens[i] = must(t)(all[i].Generate(t.Context(), user)) })
	assert.Equal(t, tokens[0].AccessToken, tokens[1].AccessToken)
	require.NoError(t, all[0].Purge(t.Context(), user))
	assert.NotEqual(t, tokens[0].AccessToken, must(t)(all[1].Generate(t.Context(), user)).AccessToken)
}

// watching is a Store whose Watch has a fault.
type watching struct {
	*history
	fault func()
}

func (w *watching) Watch(context.Context, string) (<-chan struct{}, error) {
	w.fault()
	return nil, errors.New("no watch")
}

// lockedBuilder is a strings.Builder for several writers.
type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (w *lockedBuilder) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *lockedBuilder) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Reset()
}

func (w *lockedBuilder) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// An error of which the provider says nothing leaves a refresh in doubt: its
// token may be spent. A generate may be repeated.
func TestAnErrorWithoutAClassLeavesARefreshInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		plain := errors.New("no idea")
		v.refresh = func(context.Context, providers.Request, string) (providers.Token, error) {
			return providers.Token{}, plain
		}
		issue := v.generate
		v.generate = func(context.Context, providers.Request) (providers.Token, error) { return providers.Token{}, plain }
		c := open(t, v, tokencache.Options{})
		_, err := c.Generate(t.Context(), alice)
		assert.Equal(t, providers.Transient, providers.AsError(err).Class)
		assert.ErrorIs(t, err, plain)
		assert.Zero(t, c.Stats().InDoubt)
		v.generate = issue
		time.Sleep(2 * time.Second)
		tok := must(t)(c.Generate(t.Context(), alice))
		_, err = c.Refresh(t.Context(), alice, tok.RefreshToken)
		assert.Equal(t, providers.InDoubt, providers.AsError(err).Class)
		assert.Equal(t, 1, c.Stats().InDoubt)
	})
}

// Twenty refusals in a minute are suspicious if they are half of the calls.
func TestHalfOfTheCallsRefusedIsTakenForOurFault(t *testing.T) {
	for _, tt := range []struct {
		good   int
		logged bool
	}{{20, true}, {21, false}} {
		synctest.Test(t, func(t *testing.T) {
			v, log := newVendor(), &lockedBuilder{}
			c := open(t, v, tokencache.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
			var pairs []providers.Token
			for i := range tt.good + 20 {
				pairs = append(pairs, must(t)(c.Generate(t.Context(), userNo(i))))
			}
			refresh := func(from, to int) {
				together(to-from, func(i int) { _, _ = c.Refresh(t.Context(), userNo(from+i), pairs[from+i].RefreshToken) })
			}
			refresh(0, tt.good)
			v.mu.Lock()
			clear(v.alive)
			v.mu.Unlock()
			refresh(tt.good, tt.good+20)
			assert.Equal(t, tt.logged, strings.Contains(log.String(), "level=ERROR"), "%d good calls", tt.good)
		})
	}
}
