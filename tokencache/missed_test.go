package tokencache_test

import (
	"fmt"
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

// aside opens a cache with a sound way to a Store, and one with a hooked way.
func aside(t *testing.T, v providers.Provider, hook func(op, key string, call func() error) error) (a, b *tokencache.Cache, way *hooked) {
	t.Helper()
	way = &hooked{history: newHistory(), hook: hook}
	a = cluster(t, 1, v, tokencache.Options{Store: way.history})[0]
	synctest.Wait()
	return a, cluster(t, 1, v, tokencache.Options{Store: way})[0], way
}

// manyTokens is a vendor of whose tokens many are valid.
func manyTokens() *vendor {
	v := newVendor()
	v.mode = providers.Shared
	return v
}

// A sign-out elsewhere does not wait for a replica whose first look failed. What
// that replica reads before it joins is read once more.
func TestAReplicaThatJoinsLateMissesNoSignOut(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			v := manyTokens()
			a, b, way := aside(t, v, func(string, string, func() error) error { return errHooked })
			old := must(t)(a.Generate(t.Context(), alice)).AccessToken
			time.Sleep(100 * time.Millisecond) // b's first look has failed
			way.set(nil)
			require.Equal(t, old, must(t)(b.Generate(t.Context(), alice)).AccessToken)
			time.Sleep(after)
			require.NoError(t, a.Purge(t.Context(), alice))
			for range 3 {
				assert.NotEqual(t, old, must(t)(b.Generate(t.Context(), alice)).AccessToken, after)
				time.Sleep(3 * time.Second)
			}
		})
	}
}

// A replica that comes back has a receipt before it reads the notices. Otherwise
// a sign-out during its look would not wait for it. It does not matter which
// call of the Store the sign-out meets. During the look the replica is still away.
func TestASignOutDuringTheLookOfAReplicaThatComesBackReachesIt(t *testing.T) {
	for _, member := range []bool{true, false} {
		for call := range int64(6) {
			synctest.Test(t, func(t *testing.T) {
				v := manyTokens()
				a, b, way := aside(t, v, nil)
				old := must(t)(a.Generate(t.Context(), alice)).AccessToken
				require.Equal(t, old, must(t)(b.Generate(t.Context(), alice)).AccessToken)
				time.Sleep(5 * time.Second)
				way.fail(func(string, string) bool { return true })
				time.Sleep(20 * time.Second)
				if !member {
					require.NoError(t, a.Purge(t.Context(), bob))
				}
				purged := make(chan error, 1)
				var n atomic.Int64
				way.set(func(_, _ string, do func() error) error {
					if n.Add(1) == call+1 {
						go func() { purged <- a.Purge(t.Context(), alice) }()
						time.Sleep(100 * time.Millisecond)
					}
					return do()
				})
				require.NoError(t, <-purged)
				time.Sleep(200 * time.Millisecond) // the look has ended
				assert.NotEqual(t, old, must(t)(b.Generate(t.Context(), alice)).AccessToken, "member %t, call %d", member, call)
			})
		}
	}
}

// A replica that can read the Store and cannot write applies the notices,
// although it cannot be a member.
func TestAReplicaThatCannotWriteAppliesTheNotices(t *testing.T) {
	for name, unwritable := range map[string][]string{"anything": {""}, "notices and receipts": {"n", "m"}, "notices": {"n"}} {
		for _, atStart := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", from the start ", atStart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v := manyTokens()
					readOnly := func(op, key string, call func() error) error {
						for _, prefix := range unwritable {
							if op == "CAS" && strings.HasPrefix(key, prefix) {
								return errHooked
							}
						}
						return call()
					}
					start := readOnly
					if !atStart {
						start = nil
					}
					a, b, way := aside(t, v, start)
					old := map[string]string{}
					for _, who := range []providers.Request{alice, bob} {
						old[who.Subject] = must(t)(a.Generate(t.Context(), who)).AccessToken
						require.Equal(t, old[who.Subject], must(t)(b.Generate(t.Context(), who)).AccessToken)
					}
					time.Sleep(time.Second)
					way.set(readOnly)
					time.Sleep(10 * time.Second)
					for _, who := range []providers.Request{bob, alice} { // the first one takes b for gone
						require.NoError(t, a.Purge(t.Context(), who))
						began := time.Now()
						assert.NotEqual(t, old[who.Subject], must(t)(b.Generate(t.Context(), who)).AccessToken, who.Subject)
						assert.Less(t, time.Since(began), time.Second)
						time.Sleep(5 * time.Second)
					}
				})
			})
		}
	}
}

// A replica that has joined and could not write its receipt yet is waited for by
// no sign-out.
func TestAReplicaWithoutItsFirstReceiptReadsTheNoticesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := aside(t, manyTokens(), func(op, key string, call func() error) error {
			if op == "CAS" && strings.HasPrefix(key, "m") {
				return errHooked
			}
			return call()
		})
		old := must(t)(a.Generate(t.Context(), alice)).AccessToken
		require.Equal(t, old, must(t)(b.Generate(t.Context(), alice)).AccessToken)
		require.NoError(t, a.Purge(t.Context(), alice))
		assert.NotEqual(t, old, must(t)(b.Generate(t.Context(), alice)).AccessToken)
	})
}

// If the watch of the notices ends, callers are still heard that wait for a look.
func TestAfterTheEndOfAWatchCallersAreHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, way := aside(t, manyTokens(), nil)
		old := must(t)(a.Generate(t.Context(), alice)).AccessToken
		require.Equal(t, old, must(t)(b.Generate(t.Context(), alice)).AccessToken)
		way.set(func(op, key string, call func() error) error {
			if op == "CAS" && strings.HasPrefix(key, "m") {
				return errHooked
			}
			time.Sleep(time.Millisecond)
			return call()
		})
		time.Sleep(10 * time.Second)
		way.endWatch()
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, a.Purge(t.Context(), alice))
		assert.NotEqual(t, old, must(t)(b.Generate(t.Context(), alice)).AccessToken)
	})
}
