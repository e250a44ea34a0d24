package tokencache_test

import (
	"context"
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

// A call that has found an entry, and locks it only after its eviction, uses the
// entry that follows. Otherwise one grant would have two attempts at once, and a
// sign-out would end what nobody reads.
func TestAnEntryThatWasEvictedIsNotUsed(t *testing.T) {
	for _, store := range []tokencache.Store{nil, tokencache.NewMemory()} {
		synctest.Test(t, func(t *testing.T) {
			c := open(t, newVendor(), tokencache.Options{Store: store, Namespace: "n"})
			must(t)(c.Generate(t.Context(), alice))
			synctest.Wait() // the attempt has finished
			caller, signOut, notice, err := c.Latecomers(t.Context(), alice)
			require.NoError(t, err)
			assert.True(t, caller, "a caller")
			assert.True(t, signOut, "a sign-out")
			assert.True(t, notice, "a notice")
		})
	}
}

// If two replicas call the upstream at once, because their Store has no leases,
// the callers of the slower one get the token of the faster one.
func TestTheSlowerOfTwoReplicasTakesTheTokenOfTheFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := struct{ tokencache.Store }{tokencache.NewMemory()}
		var n atomic.Int64
		p := &fake{ttl: time.Hour, generate: func(ctx context.Context, _ providers.Request) (providers.Token, error) {
			i := n.Add(1)
			if err := pause(ctx, time.Duration(i)*time.Second); err != nil {
				return providers.Token{}, err
			}
			return providers.Token{AccessToken: fmt.Sprint("at-", i), Expiry: time.Now().Add(time.Hour)}, nil
		}}
		got := make(chan string, 2)
		for range 2 {
			c := open(t, p, tokencache.Options{Store: store, Namespace: "n"})
			go func() {
				tok, err := c.Generate(t.Context(), alice)
				got <- fmt.Sprint(tok.AccessToken, err)
			}()
			synctest.Wait()
		}
		assert.Equal(t, "at-1<nil>", <-got)
		assert.Equal(t, "at-1<nil>", <-got)
		assert.EqualValues(t, 2, n.Load())
	})
}

// A page may refresh without saying who it is. The grant of its new token still
// has the request with which the old one was handed out.
func TestARefreshWithoutAUserKeepsTheGrantsRequest(t *testing.T) {
	handedOut(t, 0, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		var asked []providers.Request
		refresh := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			asked = append(asked, req)
			return refresh(ctx, req, rt)
		}
		req := alice
		req.Params = map[string]any{"region": "eu"}
		first := must(t)(next().Generate(t.Context(), req))
		second := must(t)(next().Refresh(t.Context(), nobody, first.RefreshToken))
		g, ok, err := next().Grant(t.Context(), second.AccessToken)
		require.NoError(t, err)
		require.True(t, ok)
		time.Sleep(2 * time.Minute)
		must(t)(g.Renew(t.Context(), second))
		require.Len(t, asked, 2)
		assert.Equal(t, "alice", asked[1].Subject)
		assert.Equal(t, req.Params, asked[1].Params)
	})
}

// A caller whose token was rejected may come while another caller reads that very
// token from the Store. It gets a newer one.
func TestATokenThatWasRejectedIsNotReadFromTheStoreForItsRejecter(t *testing.T) {
	for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
		synctest.Test(t, func(t *testing.T) {
			v, store := newVendor(), newHistory()
			v.mode = mode
			a := open(t, v, tokencache.Options{Store: store, Namespace: "n"})
			first := must(t)(a.Generate(t.Context(), alice))
			b := open(t, v, tokencache.Options{Store: &lateStore{history: store}, Namespace: "n", StoreTimeout: 2 * time.Second})
			time.Sleep(time.Minute)
			together(2, func(i int) {
				time.Sleep(time.Duration(i) * 500 * time.Millisecond)
				if i == 0 {
					assert.Equal(t, first.Version, must(t)(b.Generate(t.Context(), alice)).Version)
					return
				}
				assert.Greater(t, must(t)(b.Renew(t.Context(), alice, first)).Version, first.Version)
			})
		})
	}
}

// A refresh token from elsewhere may meet a failure at first, also if its user
// has another grant. It is tried again, by any replica.
func TestARefreshTokenFromElsewhereIsTriedAgain(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		must(t)(next().Generate(t.Context(), alice))
		elsewhere := v.issue("t1/alice").RefreshToken
		good := v.refresh
		v.refresh = func(context.Context, providers.Request, string) (providers.Token, error) {
			return providers.Token{}, &providers.Error{Code: providers.CodeBusy, Class: providers.Transient}
		}
		_, err := next().Refresh(t.Context(), alice, elsewhere)
		require.Equal(t, providers.CodeBusy, code(err), "%v", err)
		time.Sleep(10 * time.Minute)
		v.refresh = good
		must(t)(next().Refresh(t.Context(), alice, elsewhere))
	})
}

// A token without a refresh token is revoked too, and nothing where there is none.
func TestPurgeRevokesAnAccessTokenAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &revoker{vendor: newVendor()}
		issue := r.generate
		r.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
			tok, err := issue(ctx, req)
			tok.RefreshToken = ""
			return tok, err
		}
		c := open(t, r, tokencache.Options{})
		require.NoError(t, c.Purge(t.Context(), alice))
		assert.Empty(t, r.revoked)
		must(t)(c.Generate(t.Context(), alice))
		require.NoError(t, c.Purge(t.Context(), alice))
		assert.Len(t, r.revoked, 1)
	})
}

// A value of a page that another process writes at the same time is written after
// it, and not given up.
func TestWhatAPageHasIsWrittenAlthoughAnotherProcessIsFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		a, b, way := aside(t, v, nil)
		refused := map[string]bool{}
		way.set(func(op, key string, call func() error) error {
			if kind := key[:2]; op == "CAS" && kind[0] == 'h' && !refused[kind] {
				refused[kind] = true
				return nil // the revision is another one
			}
			return call()
		})
		page, err := tokencache.NewHandedOut(b, 0)
		require.NoError(t, err)
		tok := must(t)(page.Generate(t.Context(), alice))
		require.NotEmpty(t, refused)
		other, err := tokencache.NewHandedOut(a, 0)
		require.NoError(t, err)
		assert.Equal(t, tok.AccessToken, show(t, other, tok.AccessToken))
	})
}
