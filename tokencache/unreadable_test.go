package tokencache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// garble makes the values of some keys unreadable.
func (h *history) garble(keys map[string]past) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range keys {
		h.rev++
		h.values[key] = past{[]byte("{not a record"), h.rev, h.now().Add(time.Hour)}
	}
}

// After a failover every replica writes back what the Store has lost. A value
// that a replica cannot read is not lost, and holds up no other grant.
func TestAnUnreadableRecordHoldsUpNoOtherGrant(t *testing.T) {
	for _, signedOut := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v, store := rotating(), newHistory()
			all := cluster(t, 2, v, tokencache.Options{Store: store})
			a, b := all[0], all[1]
			time.Sleep(time.Second) // both are members
			require.NoError(t, a.Adopt(t.Context(), alice, v.issue("t1/alice")))
			unreadable := store.remember("t")
			if signedOut {
				require.NoError(t, a.Purge(t.Context(), alice)) // b only hears of it
			} else {
				must(t)(b.Generate(t.Context(), alice))
			}
			require.NoError(t, a.Adopt(t.Context(), bob, v.issue("t1/bob")))
			store.garble(unreadable)
			store.bringBack("", store.remember(""), "2") // a failover that lost nothing
			time.Sleep(70 * time.Second)
			must(t)(a.Generate(t.Context(), bob))
			assert.NoError(t, b.Purge(t.Context(), bob), "signed out %t", signedOut)
		})
	}
}

// A provider that ignores its context holds up no other grant after a failover,
// once its own callers have been answered.
func TestAProviderThatHangsHoldsUpNoSignOutAfterAFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), newHistory()
		end := make(chan struct{})
		good := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			if req.Subject == "bob" {
				<-end
			}
			return good(ctx, req, rt)
		}
		all := cluster(t, 2, v, tokencache.Options{Store: store})
		a, b := all[0], all[1]
		defer close(end)
		require.NoError(t, a.Adopt(t.Context(), alice, v.issue("t1/alice")))
		require.NoError(t, b.Adopt(t.Context(), bob, v.issue("t1/bob")))
		time.Sleep(70 * time.Second)
		_, err := b.Generate(t.Context(), bob)
		require.Equal(t, providers.CodeTimeout, code(err), fmt.Sprint(err))
		store.bringBack("", store.remember(""), "2")
		time.Sleep(5 * time.Second)
		must(t)(a.Generate(t.Context(), alice))
		assert.NoError(t, a.Purge(t.Context(), alice))
	})
}
