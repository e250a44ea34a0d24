package tokencache_test

import (
	"context"
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

// signedInAgain is alice's grant, which was signed out before and signed in
// again. c and way's replica b know nothing of it at first; then c knows it.
func signedInAgain(t *testing.T, v *vendor) (a, b, c *tokencache.Cache, way *hooked) {
	t.Helper()
	a, b, way = aside(t, v, nil)
	c = cluster(t, 1, v, tokencache.Options{Store: way.history})[0]
	must(t)(a.Generate(t.Context(), alice))
	time.Sleep(time.Second)
	require.NoError(t, b.Close(t.Context())) // b's process restarts, and has not heard of the sign-out
	require.NoError(t, a.Purge(t.Context(), alice))
	b = cluster(t, 1, v, tokencache.Options{Store: way})[0]
	time.Sleep(time.Second)
	old := must(t)(a.Generate(t.Context(), alice))
	require.Equal(t, old.AccessToken, must(t)(c.Generate(t.Context(), alice)).AccessToken)
	return a, b, c, way
}

// ofRecords reports whether an operation is one on a record.
func ofRecords(op, want, key string) bool { return op == want && strings.HasPrefix(key, "t") }

// A second sign-out of a grant, by a replica that does not know of the first,
// reaches the others although its write gets no reply.
func TestASecondSignOutWithoutAReplyReachesEveryReplica(t *testing.T) {
	for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor()
			v.mode = mode
			a, b, c, way := signedInAgain(t, v)
			old := must(t)(c.Generate(t.Context(), alice)).AccessToken
			written, lost := false, 0
			way.set(func(op, key string, call func() error) error {
				switch {
				case !written && ofRecords(op, "CAS", key):
					written = true
					_ = call()
					return errHooked
				case written && lost < 8 && strings.HasPrefix(key, "t"):
					lost++
					return errHooked
				}
				return call()
			})
			require.NoError(t, b.Purge(t.Context(), alice))
			assert.Equal(t, 8, lost)
			for name, replica := range map[string]*tokencache.Cache{"a": a, "b": b, "c": c} {
				assert.NotEqual(t, old, must(t)(replica.Generate(t.Context(), alice)).AccessToken, "%s, %v", name, mode)
			}
		})
	}
}

// A sign-out that could not read the record at first ends a token that came
// meanwhile, and a sign-in that this process made after it stands.
func TestASecondSignOutThatCouldNotReadEndsARenewedToken(t *testing.T) {
	for _, outage := range []time.Duration{2 * time.Second, 20 * time.Second} {
		for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
			synctest.Test(t, func(t *testing.T) {
				v := newVendor()
				v.mode = mode
				a, b, c, way := signedInAgain(t, v)
				way.fail(func(op, key string) bool { return ofRecords(op, "Load", key) })
				purged := make(chan error, 1)
				go func() { purged <- b.Purge(t.Context(), alice) }()
				time.Sleep(500 * time.Millisecond)
				old := must(t)(c.Renew(t.Context(), alice, must(t)(c.Generate(t.Context(), alice)))).AccessToken
				time.Sleep(outage)
				way.set(nil)
				if err := <-purged; outage < 10*time.Second {
					require.NoError(t, err)
				} else {
					require.Equal(t, providers.CodeBusy, code(err))
					time.Sleep(15 * time.Second) // it is continued
				}
				for name, replica := range map[string]*tokencache.Cache{"a": a, "b": b, "c": c} {
					assert.NotEqual(t, old, must(t)(replica.Generate(t.Context(), alice)).AccessToken, "%s, %v, %v", name, outage, mode)
				}
			})
		}
	}
}

// After a sign-out that could not be written, its own process does not take the
// token from the Store that it has signed out.
func TestASecondSignOutThatIsNotWrittenEndsTheTokenHere(t *testing.T) {
	for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor()
			v.mode = mode
			_, b, c, way := signedInAgain(t, v)
			old := must(t)(c.Generate(t.Context(), alice)).AccessToken
			way.fail(func(op, key string) bool { return ofRecords(op, "CAS", key) })
			require.Equal(t, providers.CodeBusy, code(b.Purge(t.Context(), alice)))
			if tok, err := b.Generate(t.Context(), alice); err == nil {
				assert.NotEqual(t, old, tok.AccessToken, mode)
			}
		})
	}
}

// A sign-out whose write got no reply ends no later sign-in of another replica.
func TestASignOutWithoutAReplyEndsNoLaterSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		_, b, c, way := signedInAgain(t, v)
		written := false
		way.set(func(op, key string, call func() error) error {
			switch {
			case written && strings.HasPrefix(key, "t"):
				return errHooked
			case ofRecords(op, "CAS", key):
				written = true
				_ = call()
				return errHooked
			}
			return call()
		})
		require.Equal(t, providers.CodeBusy, code(b.Purge(t.Context(), alice)))
		require.NoError(t, c.Purge(t.Context(), alice))
		again := must(t)(c.Generate(t.Context(), alice)).AccessToken
		way.set(nil)
		time.Sleep(15 * time.Second) // it is continued
		assert.Equal(t, again, must(t)(c.Generate(t.Context(), alice)).AccessToken)
		assert.Equal(t, again, must(t)(b.Generate(t.Context(), alice)).AccessToken)
	})
}

// The same for one whose notice could not be written, by a process whose clock is
// behind.
func TestASignOutWithoutANoticeEndsNoLaterSignIn(t *testing.T) {
	for _, skew := range []time.Duration{0, -15 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor()
			_, b, c, way := signedInAgain(t, v)
			require.NoError(t, b.Close(t.Context()))
			b = cluster(t, 1, v, tokencache.Options{Store: way, Now: func() time.Time { return time.Now().Add(skew) }})[0]
			time.Sleep(time.Second)
			old := must(t)(c.Generate(t.Context(), alice))
			way.fail(func(op, key string) bool { return op == "CAS" && strings.HasPrefix(key, "n") })
			require.Equal(t, providers.CodeBusy, code(b.Purge(t.Context(), alice)))
			_, err := c.Renew(t.Context(), alice, old)
			require.Equal(t, providers.CodeNotSignedIn, code(err), "c has read the record: %v", err)
			again := must(t)(c.Generate(t.Context(), alice)).AccessToken
			require.NotEqual(t, old.AccessToken, again)
			way.set(nil)
			time.Sleep(15 * time.Second) // it is continued
			assert.Equal(t, again, must(t)(c.Generate(t.Context(), alice)).AccessToken, "%v", skew)
		})
	}
}

// After Close, Purge calls neither the Store nor the upstream.
func TestPurgeAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &revoker{vendor: newVendor()}
		_, b, way := aside(t, r, nil)
		alone := open(t, r, tokencache.Options{})
		for _, c := range []*tokencache.Cache{b, alone} {
			must(t)(c.Generate(t.Context(), alice))
			require.NoError(t, c.Close(t.Context()))
		}
		var calls atomic.Int64
		way.set(func(_, _ string, call func() error) error {
			calls.Add(1)
			return call()
		})
		for _, c := range []*tokencache.Cache{b, alone} {
			assert.Equal(t, providers.CodeInternal, code(c.Purge(t.Context(), alice)))
		}
		assert.Zero(t, calls.Load())
		assert.Empty(t, r.revoked)
	})
}

// Close waits for a sign-out under way.
func TestCloseWaitsForASignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, way := aside(t, newVendor(), nil)
		dead := &deafStore{history: way.history}
		open(t, newVendor(), tokencache.Options{Store: dead, Namespace: "test"})
		must(t)(b.Generate(t.Context(), alice))
		time.Sleep(time.Second)
		dead.die()
		purged := make(chan error, 1)
		go func() { purged <- b.Purge(t.Context(), alice) }()
		time.Sleep(time.Second)
		require.NoError(t, b.Close(t.Context()))
		var calls atomic.Int64
		way.set(func(_, _ string, call func() error) error {
			calls.Add(1)
			return call()
		})
		require.NoError(t, <-purged)
		assert.Zero(t, calls.Load(), "the Store is not called after Close")
	})
}

// A sign-out that Close cuts short, or that ends in vain while the cache is being
// closed, is not continued. Its error says so.
func TestASignOutThatCloseCutsShortSaysSo(t *testing.T) {
	for _, patience := range []time.Duration{0, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			_, b, way := aside(t, newVendor(), nil)
			must(t)(b.Generate(t.Context(), alice))
			way.fail(func(op, key string) bool { return ofRecords(op, "CAS", key) })
			purged := make(chan error, 1)
			go func() { purged <- b.Purge(t.Context(), alice) }()
			time.Sleep(time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_ = b.Close(ctx)
			var calls atomic.Int64
			way.set(func(_, _ string, call func() error) error {
				calls.Add(1)
				return call()
			})
			err := <-purged
			require.Error(t, err)
			assert.Equal(t, providers.CodeBusy, code(err))
			assert.NotContains(t, err.Error(), "is carried on")
			assert.Contains(t, err.Error(), "closed")
			time.Sleep(time.Minute)
			assert.Zero(t, calls.Load())
		})
	}
}

// hangingRevoker revokes a token when the context ends.
type hangingRevoker struct{ *vendor }

func (hangingRevoker) Revoke(ctx context.Context, _ providers.Token) error {
	<-ctx.Done()
	return ctx.Err()
}

// Close cancels the revocation of a sign-out under way.
func TestCloseCancelsARevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, hangingRevoker{newVendor()}, tokencache.Options{})
		must(t)(c.Generate(t.Context(), alice))
		purged := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { purged <- c.Purge(ctx, alice) }()
		synctest.Wait()
		require.NoError(t, c.Close(t.Context()))
		assert.ErrorIs(t, <-purged, context.Canceled)
	})
}

// Sign-outs that every replica knows take no place from one that is not written
// yet.
func TestASignOutThatIsNotWrittenIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fake{ttl: time.Hour}
		way := &hooked{history: newHistory()}
		a := cluster(t, 1, v, tokencache.Options{Store: way.history})[0]
		b := cluster(t, 1, v, tokencache.Options{Store: way, MaxEntries: 4, Logger: slog.New(slog.DiscardHandler)})[0]
		old := must(t)(a.Generate(t.Context(), user)).AccessToken
		must(t)(b.Generate(t.Context(), user))
		records := way.remember("t")
		require.Len(t, records, 1)
		way.fail(func(_, key string) bool { _, ok := records[key]; return ok })
		require.Equal(t, providers.CodeBusy, code(b.Purge(t.Context(), user)))
		for i := range 100 {
			require.NoError(t, b.Purge(t.Context(), userNo(i)))
		}
		way.set(nil)
		time.Sleep(15 * time.Second)
		assert.NotEqual(t, old, must(t)(a.Generate(t.Context(), user)).AccessToken)
	})
}
