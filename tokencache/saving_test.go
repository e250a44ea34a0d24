package tokencache_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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

// A record that another replica has touched, and whose token it left alone, does
// not cost the token that is on its way.
func TestATokenIsSavedOverARecordThatWasTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
		time.Sleep(70 * time.Second)
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			for key, was := range store.remember("t") {
				next, err := store.CAS(ctx, key, was.rev, was.val, time.Hour)
				require.NoError(t, err)
				require.NotZero(t, next)
			}
			return good(ctx, req, rt)
		}
		tok := must(t)(c.Generate(t.Context(), alice))
		assert.Equal(t, "at-2 of t1/alice", tok.AccessToken)
		presentedOnce(t, v)
	})
}

// A refusal of a refresh token that another replica has spent meanwhile is no
// news: that replica's pair is good.
func TestARefusalDoesNotEndTheTokenOfAFasterReplica(t *testing.T) {
	for _, late := range []providers.Token{{}, {RefreshToken: "of an odd answer"}} {
		synctest.Test(t, func(t *testing.T) { fasterReplica(t, late) })
	}
}

// fasterReplica lets two replicas spend one refresh token. The slower one is
// refused, and gets late beside the refusal.
func fasterReplica(t *testing.T, late providers.Token) {
	v := rotating()
	all := cluster(t, 2, v, tokencache.Options{Store: newHistory()})
	for _, c := range all {
		c.Ablate(true, true) // both spend it
	}
	first := v.issue("t1/alice")
	require.NoError(t, all[0].Adopt(t.Context(), alice, first))
	good := v.refresh
	var calls atomic.Int64
	v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
		if calls.Add(1) == 1 {
			return good(ctx, req, rt)
		}
		time.Sleep(10 * time.Second)
		return late, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}
	}
	var pairs [2]providers.Token
	var errs [2]error
	together(2, func(i int) {
		time.Sleep(time.Duration(i) * 500 * time.Millisecond)
		pairs[i], errs[i] = all[i].Refresh(t.Context(), alice, first.RefreshToken)
	})
	require.NoError(t, errors.Join(errs[:]...))
	assert.Equal(t, pairs[0].RefreshToken, pairs[1].RefreshToken)
	assert.NotEmpty(t, pairs[1].RefreshToken)
}

// A page that refreshes gets its pair whole or an error, and not an access token
// without the refresh token that goes on.
func TestARefreshWhosePairCannotBeSavedIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		first := v.issue("t1/alice")
		require.NoError(t, c.Adopt(t.Context(), alice, first))
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			tok, err := good(ctx, req, rt)
			store.setFails(func(string, string) error { return errors.New("away") })
			return tok, err
		}
		tok, err := c.Refresh(t.Context(), alice, first.RefreshToken)
		require.Error(t, err)
		assert.Zero(t, tok)
		store.setFails(nil)
		time.Sleep(5 * time.Second)
		tok = must(t)(c.Refresh(t.Context(), alice, first.RefreshToken))
		assert.NotEmpty(t, tok.RefreshToken)
		presentedOnce(t, v)
	})
}

// contended is a Store some of whose values somebody else always writes first.
type contended struct {
	*history
	prefix string
}

func (c contended) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	if strings.HasPrefix(key, c.prefix) && (rev != 0 || c.prefix == "rt") {
		return 0, ctx.Err()
	}
	return c.history.CAS(ctx, key, rev, val, ttl)
}

func TestASignOutThatIsNeverWrittenIsAnError(t *testing.T) {
	for _, prefix := range []string{"n", "t"} { // the notice, the record
		synctest.Test(t, func(t *testing.T) {
			v := newVendor()
			v.mode = providers.Shared
			c := cluster(t, 1, v, tokencache.Options{Store: contended{newHistory(), prefix}})[0]
			must(t)(c.Generate(t.Context(), alice))
			assert.Equal(t, providers.CodeBusy, code(c.Purge(t.Context(), alice)), prefix)
		})
	}
}

func TestARefreshTokenThatCannotBeClaimedIsNotPresented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := rotating()
		c := cluster(t, 1, v, tokencache.Options{Store: contended{newHistory(), "rt"}})[0]
		_, err := c.Refresh(t.Context(), nobody, "rt-1")
		assert.Equal(t, providers.CodeInternal, code(err), "%v", err)
		assert.Zero(t, v.presented())
	})
}

// forgetful is a Store that cannot read the notices after one was written.
type forgetful struct {
	*history
	armed         atomic.Bool
	written, read atomic.Int64
}

func (f *forgetful) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	next, err := f.history.CAS(ctx, key, rev, val, ttl)
	if next != 0 && f.armed.Load() && strings.HasPrefix(key, "n") {
		f.written.Add(1)
	}
	return next, err
}

func (f *forgetful) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	if f.written.Load() > 0 && strings.HasPrefix(key, "n") && f.read.Add(1) > 1 {
		return nil, 0, errors.New("no")
	}
	return f.history.Load(ctx, key)
}

// As long as nobody can tell which replicas have read of it, a sign-out is not
// done.
func TestASignOutWhoseReadersAreUnknownIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &forgetful{history: newHistory()}
		c := cluster(t, 1, newVendor(), tokencache.Options{Store: store})[0]
		must(t)(c.Generate(t.Context(), alice))
		store.armed.Store(true)
		assert.Equal(t, providers.CodeBusy, code(c.Purge(t.Context(), alice)))
	})
}

func TestASourcesHitsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, newVendor(), tokencache.Options{})
		s := c.Source(alice)
		must(t)(s.Token(t.Context()))
		before := c.Stats().Hits
		for range 3 {
			must(t)(s.Token(t.Context()))
		}
		assert.Equal(t, before+3, c.Stats().Hits)
	})
}

// A refresh token that could not be found by itself does not leave the cache.
func TestAPairIsSavedOnlyOnceItsRefreshTokenIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		all := cluster(t, 2, v, tokencache.Options{Store: store})
		store.setFails(func(op, key string) error {
			if op == "CAS" && strings.HasPrefix(key, "rt") {
				return errors.New("no")
			}
			return nil
		})
		tok, _ := all[0].Generate(t.Context(), alice)
		assert.Empty(t, tok.RefreshToken)
		store.setFails(nil)
		time.Sleep(5 * time.Second)
		pair := must(t)(all[0].Generate(t.Context(), alice))
		require.NotEmpty(t, pair.RefreshToken)
		next := must(t)(all[1].Refresh(t.Context(), nobody, pair.RefreshToken))
		assert.Equal(t, next.AccessToken, must(t)(all[0].Renew(t.Context(), alice, pair)).AccessToken, "it was found")
		presentedOnce(t, v)
	})
}

// A renewal that meets nobody writes its intent and its token, each at once, and
// leaves no spent refresh token in the Store for longer than a day.
func TestARenewalOverAQuietStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		first := must(t)(c.Generate(t.Context(), alice))
		time.Sleep(10 * time.Second)
		second := must(t)(c.Refresh(t.Context(), nobody, first.RefreshToken)) // asks the other replicas once
		time.Sleep(time.Second)
		var reads, writes atomic.Int64
		store.setFails(func(op, key string) error {
			if strings.HasPrefix(key, "t") {
				map[string]*atomic.Int64{"Load": &reads, "CAS": &writes}[op].Add(1)
			}
			return nil
		})
		must(t)(c.Refresh(t.Context(), nobody, second.RefreshToken))
		time.Sleep(time.Second)
		assert.EqualValues(t, 2, reads.Load(), "before and after the lease is taken")
		assert.EqualValues(t, 2, writes.Load())
		var lives []time.Duration
		for _, v := range store.remember("rt") {
			lives = append(lives, time.Until(v.end).Round(time.Hour))
		}
		slices.Sort(lives)
		assert.Equal(t, []time.Duration{24 * time.Hour, 24 * time.Hour, 365 * 24 * time.Hour}, lives, "the spent ones, and the current one by default")
	})
}

// A clock that panics stands for anything that fails where nothing should.
func TestAPanicInAnAttemptIsItsCallersError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var armed atomic.Bool
		p := &fake{ttl: time.Hour}
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			armed.Store(true)
			return p.token(1, ""), nil
		}
		log := &lockedBuilder{}
		c := open(t, p, tokencache.Options{Logger: slog.New(slog.NewTextHandler(log, nil)), Now: func() time.Time {
			if armed.CompareAndSwap(true, false) {
				panic("secret")
			}
			return time.Now()
		}})
		_, err := c.Generate(t.Context(), user)
		require.ErrorContains(t, err, "panicked")
		assert.Contains(t, log.String(), "saving_test.go", "the stack is told")
		assert.NotContains(t, log.String()+err.Error(), "secret")
		p.generate = nil
		must(t)(c.Generate(t.Context(), providers.Request{Subject: "another"}))
	})
}

// A page whose token was replaced by the proxy is not signed out because the
// Store cannot say so.
func TestAStoreFailureIsNoRefusalOfAPagesToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		h, err := tokencache.NewHandedOut(cluster(t, 1, v, tokencache.Options{Store: store})[0], 0)
		require.NoError(t, err)
		a := must(t)(h.Generate(t.Context(), alice))
		g, ok, err := h.Grant(t.Context(), a.AccessToken)
		require.True(t, ok && err == nil)
		b := must(t)(g.Renew(t.Context(), a))
		time.Sleep(2 * time.Minute)
		store.setFails(func(op, key string) error {
			if strings.HasPrefix(key, "hg") {
				return errors.New("no")
			}
			return nil
		})
		_, err = h.Refresh(t.Context(), nobody, a.RefreshToken)
		assert.Equal(t, providers.CodeBusy, code(err), "%v", err)
		store.setFails(nil)
		assert.Equal(t, b.AccessToken, must(t)(h.Refresh(t.Context(), nobody, a.RefreshToken)).AccessToken)
	})
}

func TestEveryEventOfTheCacheSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen atomic.Int64
		c := open(t, newVendor(), tokencache.Options{Observer: func(_ context.Context, e providers.Event) {
			seen.Add(1)
			assert.Equal(t, "tokencache", e.Source, e.Kind)
		}})
		must(t)(c.Generate(t.Context(), alice))
		assert.NotZero(t, seen.Load())
	})
}

// errNoReply is an error of the Store that says nothing about a write.
var errNoReply = errors.New("no reply")

// A write without a reply counts only if the record holds what was written.
func TestAWriteWithoutAReplyIsReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		all := cluster(t, 2, v, tokencache.Options{Store: store})
		require.NoError(t, all[0].Adopt(t.Context(), alice, v.issue("t1/alice")))
		time.Sleep(70 * time.Second)
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			for key, was := range store.remember("t") { // another replica touches it
				next, err := store.CAS(ctx, key, was.rev, was.val, time.Hour)
				require.NoError(t, err)
				require.NotZero(t, next)
			}
			failed := false
			store.setFails(func(op, key string) error {
				if op == "CAS" && strings.HasPrefix(key, "t") && !failed {
					failed = true
					return errNoReply
				}
				return nil
			})
			return good(ctx, req, rt)
		}
		tok := must(t)(all[0].Generate(t.Context(), alice))
		assert.Equal(t, "at-2 of t1/alice", tok.AccessToken)
		require.NoError(t, all[0].Close(t.Context())) // it would write again what the Store has lost
		assert.Equal(t, tok.AccessToken, must(t)(all[1].Generate(t.Context(), alice)).AccessToken, "the Store has it")
		presentedOnce(t, v)
	})
}

// unanswered is a Store that makes a write of a record and does not reply.
type unanswered struct {
	*history
	next atomic.Bool
}

func (u *unanswered) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	next, err := u.history.CAS(ctx, key, rev, val, ttl)
	if next != 0 && strings.HasPrefix(key, "t") && u.next.CompareAndSwap(true, false) {
		return 0, errNoReply
	}
	return next, err
}

// A token whose write got no reply, and was made, is announced like any other.
func TestATokenWhoseWriteGotNoReplyIsToldToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), &unanswered{history: newHistory()}
		all := cluster(t, 2, v, tokencache.Options{Store: store})
		first := must(t)(all[0].Generate(t.Context(), alice))
		must(t)(all[1].Generate(t.Context(), alice))
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			store.next.Store(true)
			return good(ctx, req, rt)
		}
		next := must(t)(all[0].Refresh(t.Context(), alice, first.RefreshToken))
		assert.False(t, store.next.Load())
		time.Sleep(5 * time.Second)
		assert.Equal(t, next.AccessToken, must(t)(all[1].Generate(t.Context(), alice)).AccessToken)
	})
}

// A record that the Store has lost is written again before it is used.
func TestALostRecordThatCannotBeWrittenAgainIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store, log := newVendor(), newHistory(), &lockedBuilder{}
		c := cluster(t, 1, v, tokencache.Options{Store: store, Logger: slog.New(slog.NewTextHandler(log, nil))})[0]
		tok := must(t)(c.Generate(t.Context(), alice))
		time.Sleep(10 * time.Second)
		store.setFails(func(op, key string) error {
			if op == "CAS" && strings.HasPrefix(key, "t") {
				return errNoReply
			}
			return nil
		})
		store.bringBack("", nil, "2")
		time.Sleep(5 * time.Second) // a look at the notices
		_, err := c.Generate(t.Context(), alice)
		assert.Equal(t, providers.CodeBusy, code(err), "%v", err)
		store.setFails(nil)
		time.Sleep(windowOf(c, t))
		assert.Equal(t, tok.AccessToken, must(t)(c.Generate(t.Context(), alice)).AccessToken)
		assert.Contains(t, log.String(), "the store lost a record")
	})
}

// Where the Store cannot say whose a refresh token is, it is not presented.
func TestARefreshTokenThatCannotBeLookedUpIsNotPresented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		store.setFails(func(string, string) error { return errors.New("away") })
		tok, err := c.Refresh(t.Context(), nobody, "rt-1")
		assert.Equal(t, providers.CodeBusy, code(err), "%v", err)
		assert.Zero(t, tok)
		assert.Zero(t, v.presented())
	})
}

// A HandedOut says in the log what it could not remember, and hands it out.
func TestAHandedOutTokenThatCannotBeRememberedIsLogged(t *testing.T) {
	for _, kind := range []string{"ho", "hg", "none"} {
		synctest.Test(t, func(t *testing.T) {
			store, log := newHistory(), &lockedBuilder{}
			o := tokencache.Options{Store: store, Logger: slog.New(slog.NewTextHandler(log, nil))}
			h, err := tokencache.NewHandedOut(cluster(t, 1, newVendor(), o)[0], 0)
			require.NoError(t, err)
			store.setFails(func(op, key string) error {
				if op == "CAS" && strings.HasPrefix(key, kind) {
					return errNoReply
				}
				return nil
			})
			must(t)(h.Generate(t.Context(), alice))
			assert.Equal(t, kind != "none", strings.Contains(log.String(), "could not be remembered"), "%s: %s", kind, log)
		})
	}
}

// Where the Store cannot say whether a pair is older than the cache's own, it is
// not adopted.
func TestAPairIsNotAdoptedOverARecordThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		kept := v.issue("t1/alice")
		require.NoError(t, c.Adopt(t.Context(), alice, kept))
		cur := must(t)(c.Refresh(t.Context(), alice, kept.RefreshToken))
		fails := 0
		store.setFails(func(op, key string) error {
			if op == "Load" && strings.HasPrefix(key, "t") && fails < 2 { // a read is tried twice
				fails++
				return errors.New("no")
			}
			return nil
		})
		assert.Equal(t, providers.CodeBusy, code(c.Adopt(t.Context(), alice, kept)))
		store.setFails(nil)
		assert.Equal(t, cur.AccessToken, must(t)(c.Generate(t.Context(), alice)).AccessToken)
	})
}

// An entry of the index that makes no sense is an error, and no new grant.
func TestARefreshTokenWithABrokenEntryIsNotPresented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		pair := v.issue("t1/alice")
		require.NoError(t, c.Adopt(t.Context(), alice, pair))
		for key, was := range store.remember("rt") {
			next, err := store.CAS(t.Context(), key, was.rev, []byte("short"), time.Hour)
			require.NoError(t, err)
			require.NotZero(t, next)
		}
		_, err := c.Refresh(t.Context(), nobody, pair.RefreshToken)
		assert.Equal(t, providers.CodeBusy, code(err), "%v", err)
		assert.Zero(t, v.presented())
	})
}

// A token that waits for the Store takes no slot of MaxFlights.
func TestAnUnsavedTokenHoldsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		c := cluster(t, 1, v, tokencache.Options{Store: store, MaxFlights: 1})[0]
		require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
		var record string
		for record = range store.remember("t") {
		}
		require.NoError(t, c.Adopt(t.Context(), bob, v.issue("t1/bob")))
		time.Sleep(70 * time.Second)
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			if req.Subject == "alice" {
				store.setFails(func(op, key string) error {
					if key == record {
						return errors.New("no")
					}
					return nil
				})
			}
			return good(ctx, req, rt)
		}
		must(t)(c.Generate(t.Context(), alice))
		must(t)(c.Generate(t.Context(), bob))
		assert.Equal(t, 1, c.Stats().Unsaved)
	})
}
