package tokencache_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// A sign-out ends the calls under way. One that acts for the user must not sign
// the user in again. A Source, which acts for the application, gets another
// token. No caller gets a token from before.
func TestWhatASignOutMakesOfTheCallsUnderWay(t *testing.T) {
	type call func(*tokencache.Cache, providers.Token) (providers.Token, error)
	for name, tt := range map[string]struct {
		call     call
		signedIn bool
		want     providers.Code // "": another token
	}{
		"Generate": {func(c *tokencache.Cache, _ providers.Token) (providers.Token, error) {
			return c.Generate(context.Background(), alice)
		}, false, providers.CodeNotSignedIn},
		"Renew": {func(c *tokencache.Cache, tok providers.Token) (providers.Token, error) {
			return c.Renew(context.Background(), alice, tok)
		}, true, providers.CodeNotSignedIn},
		"Refresh": {func(c *tokencache.Cache, tok providers.Token) (providers.Token, error) {
			return c.Refresh(context.Background(), nobody, tok.RefreshToken)
		}, true, providers.CodeRefreshRejected},
		"Source.Token": {func(c *tokencache.Cache, _ providers.Token) (providers.Token, error) {
			return c.Source(alice).Token(context.Background())
		}, false, ""},
		"Source.Renew": {func(c *tokencache.Cache, tok providers.Token) (providers.Token, error) {
			return c.Source(alice).Renew(context.Background(), tok)
		}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
				issue := v.generate
				v.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
					_ = pause(ctx, time.Second)
					return issue(ctx, req)
				}
				var tok providers.Token
				c := next()
				if tt.signedIn {
					tok = must(t)(c.Generate(t.Context(), alice))
				}
				before := v.calls.Load()
				var underWay atomic.Int64
				for range 3 {
					underWay.Add(1)
					go func() {
						defer underWay.Add(-1)
						got, err := tt.call(c, tok)
						assert.Equal(t, tt.want, code(err), "%v", err)
						if err == nil {
							assert.Greater(t, got.AccessToken, "at-2", "from before the sign-out")
						}
					}()
				}
				for v.calls.Load() == before {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(500 * time.Millisecond)
				require.NoError(t, next().Purge(t.Context(), alice))
				for underWay.Load() > 0 {
					time.Sleep(time.Millisecond)
				}
			})
		})
	}
}

// A Source that has its token from an entry that left the full memory does not
// serve it on after a sign-out.
func TestASourceHearsOfASignOutAfterAnEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour}
		c := open(t, p, tokencache.Options{MaxEntries: 4})
		s := c.Source(user)
		old := must(t)(s.Token(t.Context()))
		time.Sleep(time.Second)
		for i := range 20 {
			must(t)(c.Generate(t.Context(), userNo(i)))
			synctest.Wait() // busy entries stay
		}
		require.NotZero(t, c.Stats().Evicted)
		require.NoError(t, c.Purge(t.Context(), user))
		assert.NotEqual(t, old.AccessToken, must(t)(s.Token(t.Context())).AccessToken)
	})
}

// The record of a sign-out is written once, however often its notice is tried.
func TestASignOutIsWrittenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		must(t)(c.Generate(t.Context(), alice))
		time.Sleep(time.Second)
		var writes atomic.Int64
		store.setFails(func(op, key string) error {
			switch {
			case op == "CAS" && strings.HasPrefix(key, "t"):
				writes.Add(1)
			case op == "CAS" && strings.HasPrefix(key, "n"):
				return errors.New("no")
			}
			return nil
		})
		assert.Equal(t, providers.CodeBusy, code(c.Purge(t.Context(), alice)))
		assert.EqualValues(t, 1, writes.Load())
		time.Sleep(10 * time.Second)
		assert.EqualValues(t, 1, writes.Load(), "nor in the background")
	})
}

// An answer with a refresh token alone that a sign-out overtook is the end of a
// refresh, and no fault of the cache.
func TestASignOutOvertakesAnOddAnswer(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			tok, err := good(ctx, req, rt)
			return providers.Token{RefreshToken: tok.RefreshToken}, err
		}
		tok := must(t)(next().Generate(t.Context(), alice))
		c := next()
		time.AfterFunc(time.Second/2, func() { assert.NoError(t, c.Purge(context.Background(), alice)) })
		_, err := next().Refresh(t.Context(), nobody, tok.RefreshToken)
		assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		_, err = next().Refresh(t.Context(), nobody, tok.RefreshToken)
		assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
	})
}

// A sign-out elsewhere is heard of after the whole machine was suspended, whose
// monotonic clock stood still.
func TestAReplicaWhoseMachineWasSuspendedLooksAtTheNoticesFirst(t *testing.T) {
	for _, ahead := range []time.Duration{0, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			v, store := newVendor(), newHistory()
			v.mode = providers.Shared
			var jump atomic.Int64
			a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
			cut := &deafStore{history: store}
			b := open(t, v, tokencache.Options{Store: cut, Namespace: "test", Now: func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }})
			source := b.Source(alice)
			old := must(t)(source.Token(t.Context()))
			time.Sleep(10*time.Second + time.Millisecond) // b has just looked
			store.setFails(nil)
			kept := store.remember("m")
			store.bringBack("m", nil, "") // b's receipt has ended
			require.NoError(t, a.Purge(t.Context(), alice))
			store.bringBack("m", kept, "")
			jump.Store(int64(ahead))
			tok := must(t)(source.Token(t.Context()))
			assert.Equal(t, ahead > 0, tok.AccessToken != old.AccessToken, "%v", ahead)
		})
	}
}

// deafRevoker is a vendor that cannot revoke.
type deafRevoker struct{ *vendor }

func (deafRevoker) Revoke(context.Context, providers.Token) error {
	return &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient}
}

// The caller of Purge hears that the upstream has not revoked the token. If
// it is one that no caller was given, the operator does.
func TestARevocationThatFailsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuilder{}
		c := open(t, deafRevoker{newVendor()}, tokencache.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
		assert.NoError(t, c.Purge(t.Context(), alice), "there is nothing to revoke")
		tok := must(t)(c.Generate(t.Context(), alice))
		assert.Equal(t, providers.CodeUnreachable, code(c.Purge(t.Context(), alice)))
		assert.True(t, c.Purged(alice, tok), "signed out all the same")
		assert.NotContains(t, log.String(), "was not revoked")
		tok = must(t)(c.Generate(t.Context(), alice))
		time.AfterFunc(time.Second/2, func() { _ = c.Purge(t.Context(), alice) })
		_, err := c.Renew(t.Context(), alice, tok)
		assert.Equal(t, providers.CodeNotSignedIn, code(err), "%v", err)
		synctest.Wait()
		assert.Contains(t, log.String(), "was not revoked")
	})
}

// Sign-outs of very many users take a bounded memory. The last ones count.
func TestSignOutsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		c := open(t, v, tokencache.Options{MaxEntries: 10})
		var last providers.Token
		for i := range 200 {
			last = must(t)(c.Generate(t.Context(), userNo(i)))
			require.NoError(t, c.Purge(t.Context(), userNo(i)))
			time.Sleep(time.Second)
		}
		assert.Equal(t, 40, c.Tombstones())
		assert.True(t, c.Purged(userNo(199), last))
	})
}

// A record that makes no sense does not stop a sign-out.
func TestASignOutReplacesARecordThatMakesNoSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		all := cluster(t, 2, v, tokencache.Options{Store: store})
		old := must(t)(all[0].Generate(t.Context(), alice))
		for key, was := range store.remember("t") {
			_, err := store.CAS(t.Context(), key, was.rev, []byte("{junk"), time.Hour)
			require.NoError(t, err)
		}
		_, err := all[1].Generate(t.Context(), alice)
		assert.Equal(t, providers.CodeBusy, code(err), "%v", err)
		require.NoError(t, all[0].Purge(t.Context(), alice))
		time.Sleep(2 * time.Second)
		for _, c := range all {
			assert.NotEqual(t, old.AccessToken, must(t)(c.Source(alice).Token(t.Context())).AccessToken)
		}
	})
}

// A sign-out is carried on for as long as the Store is away.
func TestASignOutOutlastsALongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		pair := must(t)(a.Generate(t.Context(), alice))
		store.setFails(func(op, key string) error {
			if op == "CAS" && strings.HasPrefix(key, "t") {
				return errors.New("no")
			}
			return nil
		})
		require.Equal(t, providers.CodeBusy, code(a.Purge(t.Context(), alice)))
		time.Sleep(5 * time.Minute)
		store.setFails(nil)
		time.Sleep(15 * time.Second)
		b := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		_, err := b.Refresh(t.Context(), nobody, pair.RefreshToken)
		assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		assert.NotEqual(t, pair.AccessToken, must(t)(b.Generate(t.Context(), alice)).AccessToken)
		assert.Zero(t, v.presented())
	})
}

// Sign-outs wait for the members of a Store that was emptied. Later ones are as
// fast as before.
func TestSignOutsAreFastAgainAfterTheStoreWasEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newHistory()
		all := cluster(t, 2, newVendor(), tokencache.Options{Store: struct{ tokencache.Store }{store}}) // without an Epoch
		time.Sleep(10500 * time.Millisecond)
		store.bringBack("", nil, "")
		for i := range 5 {
			time.Sleep(10 * time.Second)
			began := time.Now()
			require.NoError(t, all[i%2].Purge(t.Context(), userNo(i)))
			assert.LessOrEqual(t, time.Since(began), 2100*time.Millisecond, "until the other one has looked")
		}
	})
}

// A sign-out that a replica has not read, and for which its caller waits no
// longer, is not done.
func TestASignOutThatWasNotReadInTimeIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		silent := &deafStore{history: store}
		must(t)(open(t, v, tokencache.Options{Store: silent, Namespace: "test"}).Generate(t.Context(), alice))
		time.Sleep(time.Second)
		silent.die()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.Equal(t, providers.CodeBusy, code(a.Purge(short, alice)))
	})
}
