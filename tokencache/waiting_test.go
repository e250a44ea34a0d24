package tokencache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// Close ends the wait for another replica's lease with an error.
func TestCloseEndsTheWaitForAnotherReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := rotating(), &spyStore{Store: tokencache.NewMemory()}
		c := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		require.NoError(t, c.Adopt(t.Context(), alice, v.issue("t1/alice")))
		time.Sleep(70 * time.Second)
		store.onLock = func(key string) { store.block(t, key, time.Minute) }
		var tok providers.Token
		err := errors.New("not yet")
		done := make(chan struct{})
		go func() {
			defer close(done)
			tok, err = c.Generate(t.Context(), alice)
		}()
		time.Sleep(time.Second)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, c.Close(gone))
		<-done
		assert.Equal(t, providers.CodeTimeout, code(err), "%v", err)
		assert.Zero(t, tok)
		assert.Zero(t, v.presented())
	})
}

// deafening is a Store whose watches end at once.
type deafening struct{ tokencache.Store }

func (deafening) Watch(context.Context, string) (<-chan struct{}, error) {
	ch := make(chan struct{})
	close(ch)
	return ch, nil
}

// A replica that waits for another one's token hears of it from a Watcher, and
// looks ten times a second where there is no watch.
func TestAWaitingReplicaHasTheTokenSoon(t *testing.T) {
	for _, tt := range []struct {
		name  string
		store tokencache.Store
		after time.Duration
	}{
		{"watched", tokencache.NewMemory(), 0},
		{"polled", newHistory(), 100 * time.Millisecond},
		{"the watch has ended", deafening{newHistory()}, 100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := rotating()
				all := cluster(t, 2, v, tokencache.Options{Store: tt.store})
				require.NoError(t, all[0].Adopt(t.Context(), alice, v.issue("t1/alice")))
				for _, c := range all { // before its first refresh each asks the other
					time.Sleep(70 * time.Second)
					must(t)(c.Generate(t.Context(), alice))
				}
				time.Sleep(70 * time.Second)
				good := v.refresh
				v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
					time.Sleep(550 * time.Millisecond)
					return good(ctx, req, rt)
				}
				var ended [2]time.Time
				together(2, func(i int) {
					time.Sleep(time.Duration(i) * 130 * time.Millisecond)
					assert.Equal(t, "at-4 of t1/alice", must(t)(all[i].Generate(t.Context(), alice)).AccessToken)
					ended[i] = time.Now()
				})
				assert.LessOrEqual(t, ended[1].Sub(ended[0]), tt.after)
				presentedOnce(t, v)
			})
		})
	}
}

// holdSlot makes bob's refreshes take d and fail.
func (v *vendor) holdSlot(d time.Duration) {
	good := v.refresh
	v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
		if req.Subject == "bob" {
			time.Sleep(d)
			return providers.Token{}, &providers.Error{Code: providers.CodeBusy, Class: providers.Transient}
		}
		return good(ctx, req, rt)
	}
}

// A slot of MaxFlights is given back by work that needs no call in the end.
func TestASlotThatIsNotNeededIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := rotating()
		v.holdSlot(8 * time.Second)                  // the only one
		o := tokencache.Options{Store: newHistory()} // without leases
		b := cluster(t, 1, v, o)[0]
		o.MaxFlights = 1
		a := cluster(t, 1, v, o)[0]
		carol := providers.Request{Tenant: "t1", Subject: "carol"}
		for _, who := range []providers.Request{alice, bob, carol} {
			require.NoError(t, a.Adopt(t.Context(), who, v.issue("t1/"+who.Subject)))
		}
		time.Sleep(70 * time.Second)
		go func() { _, _ = a.Generate(t.Context(), bob) }()
		time.Sleep(3 * time.Second) // a has asked the other replica, and calls
		// While a waits for the slot, the user brings a newer pair to b.
		go func() { _, _ = a.Generate(t.Context(), alice) }()
		time.Sleep(time.Second)
		require.NoError(t, b.Adopt(t.Context(), alice, v.issue("t1/alice")))
		time.Sleep(15 * time.Second)
		began := time.Now()
		must(t)(a.Generate(t.Context(), carol))
		assert.LessOrEqual(t, time.Since(began), 10*time.Second)
	})
}
