package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

func TestAdopt(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		pair := v.issue("t1/alice")
		if err := next().Adopt(t.Context(), alice, pair); err != nil {
			t.Fatal(err)
		}
		if tok := must(t)(next().Generate(t.Context(), alice)); tok.AccessToken != pair.AccessToken || tok.Version == 0 {
			t.Error(tok)
		}
		must(t)(next().Refresh(t.Context(), nobody, pair.RefreshToken))
		if err := next().Adopt(t.Context(), alice, providers.Token{}); code(err) != providers.CodeInvalidField {
			t.Error("an empty token:", err)
		}
	})
}

// A pair kept from last week: its access token is over, its refresh token good.
func TestAdoptRestoresAGrant(t *testing.T) {
	for name, keep := range map[string]func(providers.Token) providers.Token{
		"expired pair": func(p providers.Token) providers.Token {
			p.IssuedAt, p.Expiry = p.IssuedAt.Add(-2*time.Hour), p.Expiry.Add(-2*time.Hour)
			return p
		},
		"refresh token alone": func(p providers.Token) providers.Token {
			return providers.Token{RefreshToken: p.RefreshToken}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
				pair := keep(v.issue("t1/alice"))
				if err := next().Adopt(t.Context(), alice, pair); err != nil {
					t.Fatal(err)
				}
				tok := must(t)(next().Source(alice).Token(t.Context()))
				if tok.AccessToken != "at-2 of t1/alice" || len(v.seen) != 1 {
					t.Error(tok.AccessToken, "presented", v.seen)
				}
			})
		})
	}
}

func TestAdoptRefusesWhatCannotServe(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		dead := v.issue("t1/alice")
		dead.RefreshToken, dead.Expiry = "", time.Now().Add(-time.Second)
		if err := next().Adopt(t.Context(), alice, dead); code(err) != providers.CodeInvalidField {
			t.Error("an expired token alone:", err)
		}
		must(t)(next().Generate(t.Context(), alice))
	})
}

// An application that adopts what it kept at every start must not undo the
// renewals since.
func TestAdoptOfAnOlderPair(t *testing.T) {
	olderPair := func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		kept := v.issue("t1/alice")
		if err := next().Adopt(t.Context(), alice, kept); err != nil {
			t.Fatal(err)
		}
		cur := must(t)(next().Renew(t.Context(), alice, must(t)(next().Generate(t.Context(), alice))))
		for range 3 {
			if err := next().Adopt(t.Context(), alice, kept); err != nil {
				t.Error(err)
			}
			if tok := must(t)(next().Generate(t.Context(), alice)); tok.AccessToken != cur.AccessToken {
				t.Errorf("%s after %s", tok.AccessToken, cur.AccessToken)
			}
		}
		if len(v.seen) != 1 {
			t.Error("presented", v.seen)
		}
		if err := next().Purge(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
		if err := next().Adopt(t.Context(), alice, kept); code(err) != providers.CodeRefreshRejected {
			t.Error("adopted after the sign-out:", err)
		}
	}
	bothWays(t, olderPair)
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		v.mode = providers.Shared
		c := open(t, v, tokencache.Options{})
		olderPair(t, v, func() *tokencache.Cache { return c })
	})
}

// Grants that came by Adopt stay in a full cache without a Store: nothing else
// has their refresh tokens. Invented users lock nobody out.
func TestAdoptedGrantsStayInAFullCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		var evicted atomic.Int64
		c := open(t, v, tokencache.Options{MaxEntries: 100, Observer: func(_ context.Context, e providers.Event) {
			if e.Kind == "evicted" {
				evicted.Add(1)
			}
		}})
		user := func(i int) providers.Request { return providers.Request{Tenant: "t1", Subject: fmt.Sprint("user ", i)} }
		for i := range 75 {
			require.NoError(t, c.Adopt(t.Context(), user(i), v.issue("t1/"+user(i).Subject)))
		}
		err := c.Adopt(t.Context(), user(75), v.issue("t1/one too many"))
		assert.Equal(t, providers.CodeBusy, code(err), "%v", err)
		must(t)(c.Generate(t.Context(), user(76)))
		assert.Equal(t, providers.CodeBusy, code(c.Adopt(t.Context(), user(76), v.issue("t1/user 76"))), "also of a user with a token")
		require.NoError(t, c.Adopt(t.Context(), user(0), v.issue("t1/user 0")), "who is in may adopt again")
		for i := range 1000 {
			must(t)(c.Generate(t.Context(), providers.Request{Tenant: "t1", Subject: fmt.Sprint("invented ", i)}))
		}
		synctest.Wait()
		assert.Equal(t, 100, c.Stats().Entries)
		assert.EqualValues(t, 1+1000-25, c.Stats().Evicted)
		assert.EqualValues(t, 1+1000-25, evicted.Load())
		for i := range 75 {
			tok := must(t)(c.Generate(t.Context(), user(i)))
			assert.Contains(t, tok.AccessToken, "of t1/"+user(i).Subject)
		}
		assert.Empty(t, v.seen, "no refresh token was spent")

		require.NoError(t, c.Purge(t.Context(), user(1)))
		require.NoError(t, c.Adopt(t.Context(), user(75), v.issue("t1/user 75")), "a sign-out makes room")
	})
}

// A sign-out outlives the eviction of its entry.
func TestASignOutOutlivesEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		c := open(t, v, tokencache.Options{MaxEntries: 4})
		kept := v.issue("t1/alice")
		require.NoError(t, c.Adopt(t.Context(), alice, kept))
		require.NoError(t, c.Purge(t.Context(), alice))
		for i := range 8 {
			must(t)(c.Generate(t.Context(), providers.Request{Tenant: "t1", Subject: fmt.Sprint(i)}))
			synctest.Wait() // busy entries stay
		}
		_, err := c.Refresh(t.Context(), alice, kept.RefreshToken)
		assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		_, err = c.Refresh(t.Context(), nobody, kept.RefreshToken)
		assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		assert.Equal(t, providers.CodeRefreshRejected, code(c.Adopt(t.Context(), alice, kept)))
		assert.Empty(t, v.seen)
	})
}

// A grant that is not found says that another request may have been adopted.
func TestAMissingGrantSaysWhichGrantsAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{mode: providers.Rotating, ttl: time.Hour}
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			return providers.Token{}, &providers.Error{Code: providers.CodeGrantRequired, Class: providers.Permanent}
		}
		c := open(t, p, tokencache.Options{})
		require.NoError(t, c.Adopt(t.Context(), providers.Request{Subject: "u"}, providers.Token{RefreshToken: "rt"}))
		_, err := c.Generate(t.Context(), providers.Request{Subject: "u", Scopes: []string{"a"}})
		assert.Equal(t, providers.CodeGrantRequired, code(err))
		assert.ErrorContains(t, errors.Unwrap(err), "is another grant")
		must(t)(c.Generate(t.Context(), providers.Request{Subject: "u"}))

		cause := errors.New("the provider's own")
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			return providers.Token{}, &providers.Error{Code: providers.CodeGrantRequired, Class: providers.Permanent, Err: cause}
		}
		_, err = c.Generate(t.Context(), providers.Request{Subject: "another"})
		assert.ErrorIs(t, err, cause)
	})
}

func TestAnAccessTokenAloneIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		c := open(t, v, tokencache.Options{})
		tok := providers.Token{AccessToken: "brought", Expiry: time.Now().Add(time.Hour)}
		require.NoError(t, c.Adopt(t.Context(), alice, tok))
		assert.Equal(t, "brought", must(t)(c.Generate(t.Context(), alice)).AccessToken)
		tok.AccessToken = "brought later"
		require.NoError(t, c.Adopt(t.Context(), alice, tok))
		assert.Equal(t, "brought later", must(t)(c.Generate(t.Context(), alice)).AccessToken)
	})
}

func TestASharedPairIsAdoptedWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		v.mode = providers.Shared
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		synctest.Wait()
		store.setFails(func(string, string) error { return errors.New("away") })
		tok := v.issue("t1/alice")
		require.NoError(t, c.Adopt(t.Context(), alice, tok))
		assert.Equal(t, tok.AccessToken, must(t)(c.Generate(t.Context(), alice)).AccessToken)
	})
}

// With a Store, an adopted grant may leave the memory: it is read again.
func TestAdoptedGrantsLeaveAFullCacheThatHasAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		c := cluster(t, 1, v, tokencache.Options{MaxEntries: 4})[0]
		for i := range 10 {
			require.NoError(t, c.Adopt(t.Context(), userNo(i), v.issue("t1/"+userNo(i).Subject)))
			synctest.Wait() // busy entries stay
		}
		for i := range 10 {
			assert.Contains(t, must(t)(c.Generate(t.Context(), userNo(i))).AccessToken, userNo(i).Subject)
			synctest.Wait()
		}
		assert.Equal(t, 10, v.n, "nothing was asked upstream")
	})
}

// A grant that has ended makes room. Where the provider cannot refresh, it ends
// with its access token.
func TestAnAdoptedGrantThatHasEndedMakesRoom(t *testing.T) {
	for name, it := range map[string]struct {
		canRefresh  bool
		refreshLife time.Duration
		room        bool
	}{
		"its token has ended":                       {false, time.Hour, true},
		"its refresh token too":                     {true, 90 * time.Second, true},
		"but it has not: its refresh token is good": {true, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &fake{ttl: time.Hour}
				c := open(t, optional{p, it.canRefresh}, tokencache.Options{MaxEntries: 4})
				kept := must(t)(c.Generate(t.Context(), alice)).AccessToken
				adopt := func(i int) error {
					now := time.Now()
					return c.Adopt(t.Context(), userNo(i), providers.Token{
						AccessToken: "at", RefreshToken: fmt.Sprint("rt-", i), Expiry: now.Add(time.Minute), RefreshExpiry: now.Add(it.refreshLife)})
				}
				for i := range 3 {
					require.NoError(t, adopt(i))
				}
				require.Equal(t, providers.CodeBusy, code(adopt(3)))
				time.Sleep(2 * time.Minute)
				for i := range 3 {
					err := adopt(3 + i)
					assert.Equal(t, it.room, err == nil, "%v", err)
				}
				assert.Equal(t, kept, must(t)(c.Generate(t.Context(), alice)).AccessToken, "only what has ended makes room")
			})
		})
	}
}
