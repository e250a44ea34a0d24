package tokencache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
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

func userNo(i int) providers.Request {
	return providers.Request{Tenant: "t1", Subject: fmt.Sprint("user ", i)}
}

// Once Purge has returned nil, no replica serves the token, at that very
// moment and with however many sign-outs at once.
func TestAfterPurgeNoReplicaServesTheToken(t *testing.T) {
	for name, fails := range map[string]func(rng *rand.Rand) func(op, key string) error{
		"store sound": func(*rand.Rand) func(string, string) error { return nil },
		"every third write of notices fails": func(rng *rand.Rand) func(string, string) error {
			return func(op, key string) error {
				if op == "CAS" && strings.HasPrefix(key, "n") && rng.IntN(3) == 0 {
					return errors.New("no")
				}
				return nil
			}
		},
		// A replica that cannot write its receipt for six seconds is taken for
		// dead. So no two calls in a row fail for one key.
		"every tenth call fails": func(rng *rand.Rand) func(string, string) error {
			failed := map[string]bool{}
			return func(_, key string) error {
				if failed[key] = !failed[key] && rng.IntN(10) == 0; failed[key] {
					return errors.New("no")
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, store := newVendor(), newHistory()
				all := cluster(t, 2, v, tokencache.Options{Store: store})
				const grants, at1 = 100, 64
				old := map[int]string{}
				for i := range grants {
					old[i] = must(t)(all[0].Generate(t.Context(), userNo(i))).AccessToken
					must(t)(all[1].Generate(t.Context(), userNo(i)))
				}
				store.setFails(fails(rand.New(rand.NewPCG(1, 2)))) // called under the store's lock
				var wg sync.WaitGroup
				purged := 0
				var mu sync.Mutex
				work := make(chan int)
				for range at1 {
					wg.Go(func() {
						for i := range work {
							if err := all[0].Purge(t.Context(), userNo(i)); err != nil {
								assert.Equal(t, providers.CodeBusy, code(err), "%v", err)
								continue
							}
							mu.Lock()
							purged++
							mu.Unlock()
							for _, c := range all {
								if tok, err := c.Generate(t.Context(), userNo(i)); err == nil {
									assert.NotEqual(t, old[i], tok.AccessToken)
								}
							}
						}
					})
				}
				for i := range grants {
					work <- i
				}
				close(work)
				wg.Wait()
				assert.Equal(t, grants, purged, "a sign-out goes on until it is known, for as long as a call may take")
			})
		})
	}
}

// A sign-out that cannot be made known is an error, and is carried on.
func TestPurgeThatCannotBeMadeKnownIsAnErrorAndIsCarriedOn(t *testing.T) {
	for name, broken := range map[string]func(op, key string) error{
		"no notice can be written": func(op, key string) error {
			if op == "CAS" && strings.HasPrefix(key, "n") {
				return errors.New("no")
			}
			return nil
		},
		"the store is away": func(string, string) error { return errors.New("away") },
		"the record cannot be written": func(op, key string) error {
			if op == "CAS" && strings.HasPrefix(key, "t") {
				return errors.New("no")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, store := newVendor(), newHistory()
				all := cluster(t, 2, v, tokencache.Options{Store: store})
				tok := must(t)(all[0].Generate(t.Context(), alice))
				must(t)(all[1].Generate(t.Context(), alice))
				store.setFails(broken)
				start := time.Now()
				err := all[0].Purge(t.Context(), alice)
				assert.Equal(t, providers.CodeBusy, code(err), "%v", err)
				assert.LessOrEqual(t, time.Since(start), 11*time.Second)
				if next, err := all[0].Generate(t.Context(), alice); err == nil {
					assert.NotEqual(t, tok.AccessToken, next.AccessToken, "signed out here all the same")
				}
				store.setFails(nil)
				time.Sleep(windowOf(all[0], t))
				again := must(t)(all[0].Generate(t.Context(), alice))
				time.Sleep(15 * time.Second)
				for _, c := range all {
					next := must(t)(c.Generate(t.Context(), alice))
					assert.Equal(t, again.AccessToken, next.AccessToken, "a sign-in after the sign-out stands")
					_, err := c.Refresh(t.Context(), nobody, tok.RefreshToken)
					assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
				}
			})
		})
	}
}

// A replica that has died holds sign-outs up for its lease and not longer.
func TestPurgeDoesNotWaitForTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		all := cluster(t, 1, v, tokencache.Options{Store: store})
		dead := &deafStore{history: store}
		must(t)(open(t, v, tokencache.Options{Store: dead, Namespace: "test"}).Generate(t.Context(), alice))
		must(t)(all[0].Generate(t.Context(), alice))
		time.Sleep(time.Second)
		dead.die()
		start := time.Now()
		require.NoError(t, all[0].Purge(t.Context(), alice))
		assert.LessOrEqual(t, time.Since(start), 7*time.Second)
		start = time.Now()
		require.NoError(t, all[0].Purge(t.Context(), bob))
		assert.Less(t, time.Since(start), time.Second, "it is a member no longer")
		assert.Len(t, membersIn(t, store), 1)
	})
}

// membersIn are the replicas that the Store names.
func membersIn(t *testing.T, store *history) []string {
	t.Helper()
	for key, v := range store.remember("n") {
		var b struct {
			Members []string `json:"m"`
		}
		require.NoError(t, json.Unmarshal(v.val, &b), key)
		return b.Members
	}
	return nil
}

// After a failure of the Store the receipt of a live replica may be gone: it has
// four seconds to write another. Without a failure a replica that says nothing
// is waited for no longer than its receipt lasts; the other ones look every two.
func TestPurgeHasPatienceAfterAFailureOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		var silent [2]*deafStore
		for i := range silent {
			silent[i] = &deafStore{history: store}
			must(t)(open(t, v, tokencache.Options{Store: silent[i], Namespace: "test"}).Generate(t.Context(), alice))
		}
		time.Sleep(time.Second)
		purge := func(req providers.Request) time.Duration {
			began := time.Now()
			require.NoError(t, a.Purge(t.Context(), req))
			return time.Since(began)
		}
		silent[0].die()
		time.Sleep(15 * time.Second)
		assert.Less(t, purge(alice), 3*time.Second)
		silent[1].die()
		time.Sleep(10 * time.Second)
		store.setFails(func(string, string) error { return errors.New("away") })
		time.Sleep(3 * time.Second)
		store.setFails(nil)
		time.Sleep(5 * time.Second)
		took := purge(bob)
		assert.GreaterOrEqual(t, took, 4*time.Second)
		assert.Less(t, took, 5*time.Second)
	})
}

// deafStore is one replica's way to a Store, which can be cut.
type deafStore struct {
	*history
	mu  sync.Mutex
	cut bool
}

func (d *deafStore) die() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
}

func (d *deafStore) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = false
}

func (d *deafStore) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return errors.New("cut")
	}
	return nil
}

func (d *deafStore) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := d.err(); err != nil {
		return nil, 0, err
	}
	return d.history.Load(ctx, key)
}

func (d *deafStore) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	if err := d.err(); err != nil {
		return 0, err
	}
	return d.history.CAS(ctx, key, rev, val, ttl)
}

// A sign-out that others have heard of survives a Store that is emptied or
// brought back to before it.
func TestASignOutSurvivesTheStore(t *testing.T) {
	for name, lose := range map[string]func(s *history, before map[string]past){
		"emptied":                    func(s *history, _ map[string]past) { s.bringBack("", nil, "2") },
		"rolled back":                func(s *history, before map[string]past) { s.bringBack("", before, "2") },
		"rolled back, epoch unknown": func(s *history, before map[string]past) { s.bringBack("", before, "") },
		"record alone rolled back": func(s *history, before map[string]past) {
			for k := range before {
				if !strings.HasPrefix(k, "t") {
					delete(before, k)
				}
			}
			s.bringBack("t", before, "2")
		},
	} {
		for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
			t.Run(fmt.Sprint(name, ", ", mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v, store := newVendor(), newHistory()
					v.mode = mode
					all := cluster(t, 2, v, tokencache.Options{Store: store})
					a, b := all[0], all[1]
					tok := must(t)(a.Generate(t.Context(), alice))
					must(t)(b.Generate(t.Context(), alice))
					time.Sleep(10 * time.Second)
					before := store.remember("")
					require.NoError(t, a.Purge(t.Context(), alice))
					lose(store, before)
					time.Sleep(5 * time.Second) // a look at the notices
					fresh := cluster(t, 1, v, tokencache.Options{Store: store})[0]
					for who, c := range map[string]*tokencache.Cache{"a": a, "b": b, "a new replica": fresh} {
						_, err := c.Refresh(t.Context(), alice, tok.RefreshToken)
						assert.Equal(t, providers.CodeRefreshRejected, code(err), "%s: %v", who, err)
						next := must(t)(c.Generate(t.Context(), alice))
						assert.NotEqual(t, tok.AccessToken, next.AccessToken, who)
					}
					assert.Empty(t, v.seen, "the signed-out refresh token was presented")
				})
			})
		}
	}
}

// A replica that never had the grant, and only heard of its sign-out, restores
// that too when nobody else is left.
func TestASignOutThatAReplicaHeardOfSurvivesTheStore(t *testing.T) {
	for name, lose := range map[string]func(s *history, before map[string]past){
		"emptied":     func(s *history, _ map[string]past) { s.bringBack("", nil, "2") },
		"rolled back": func(s *history, before map[string]past) { s.bringBack("", before, "2") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, store := newVendor(), newHistory()
				o := tokencache.Options{Store: store}
				cluster(t, 1, v, o)
				a := cluster(t, 1, v, o)[0]
				first := must(t)(a.Generate(t.Context(), alice))
				pair := must(t)(a.Refresh(t.Context(), nobody, first.RefreshToken))
				time.Sleep(10 * time.Second)
				before := store.remember("")
				require.NoError(t, a.Purge(t.Context(), alice))
				require.NoError(t, a.Close(t.Context()))
				lose(store, before)
				time.Sleep(5 * time.Second) // a look at the notices
				fresh := cluster(t, 1, v, o)[0]
				assert.Equal(t, providers.CodeRefreshRejected, code(fresh.Adopt(t.Context(), alice, pair)))
				for _, rt := range []string{pair.RefreshToken, first.RefreshToken} {
					for _, who := range []providers.Request{nobody, alice} {
						_, err := fresh.Refresh(t.Context(), who, rt)
						assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
					}
				}
				assert.NotEqual(t, pair.AccessToken, must(t)(fresh.Generate(t.Context(), alice)).AccessToken)
				assert.Len(t, v.seen, 1, "a signed-out refresh token was presented")
			})
		})
	}
}

// A bulletin that was brought back to before some notices gets an edition of its
// own: its numbers rise again, beyond those that a replica has read, which was
// away meanwhile.
func TestAReplicaThatWasAwayWhileTheStoreWentBackHearsOfEverySignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		plain := struct{ tokencache.Store }{store} // without an Epoch
		a := cluster(t, 1, v, tokencache.Options{Store: plain})[0]
		cut := &deafStore{history: store}
		b := open(t, v, tokencache.Options{Store: struct{ tokencache.Store }{cut}, Namespace: "test"})
		old := map[int]string{}
		for i := range 10 {
			old[i] = must(t)(b.Generate(t.Context(), userNo(i))).AccessToken
		}
		for i := range 10 {
			require.NoError(t, a.Purge(t.Context(), userNo(100+i)))
		}
		kept := store.remember("n")
		for i := range 5 {
			require.NoError(t, a.Purge(t.Context(), userNo(200+i))) // b has read 15
		}
		cut.die()
		time.Sleep(10 * time.Second) // b is a member no longer
		store.bringBack("n", kept, "")
		time.Sleep(5 * time.Second) // a has seen it
		for i := range 10 {
			require.NoError(t, a.Purge(t.Context(), userNo(i)))
		}
		cut.heal()
		time.Sleep(10 * time.Second)
		for i := range 10 {
			assert.NotEqual(t, old[i], must(t)(b.Source(userNo(i)).Token(t.Context())).AccessToken, i)
		}
	})
}

func TestPurgedTellsTokensFromBeforeASignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, newVendor(), tokencache.Options{})
		before := must(t)(c.Generate(t.Context(), alice))
		assert.False(t, c.Purged(alice, before))
		require.NoError(t, c.Purge(t.Context(), alice))
		assert.True(t, c.Purged(alice, before))
		assert.False(t, c.Purged(bob, before), "another grant")
		after := must(t)(c.Generate(t.Context(), alice))
		assert.False(t, c.Purged(alice, after))
		assert.True(t, c.Purged(alice, before))
	})
}

// A Store that has lost everything does not know its members. The sign-out waits
// until they have had time to come back, and what they serve is read anew.
func TestASignOutRightAfterTheStoreWasEmptiedReachesEveryReplica(t *testing.T) {
	for _, after := range []time.Duration{0, 500 * time.Millisecond, 1900 * time.Millisecond, 2100 * time.Millisecond, 5 * time.Second} {
		for name, see := range map[string]func(*history) tokencache.Store{
			"with an epoch":    func(h *history) tokencache.Store { return h },
			"without an epoch": func(h *history) tokencache.Store { return struct{ tokencache.Store }{h} },
		} {
			synctest.Test(t, func(t *testing.T) {
				v, store := newVendor(), newHistory()
				all := cluster(t, 2, v, tokencache.Options{Store: see(store)})
				old := must(t)(all[1].Generate(t.Context(), alice))
				must(t)(all[0].Generate(t.Context(), alice))
				time.Sleep(30*time.Second + after)
				store.bringBack("", nil, "2")
				require.NoError(t, all[0].Purge(t.Context(), alice))
				for range 2 {
					tok := must(t)(all[1].Source(alice).Token(t.Context()))
					assert.NotEqual(t, old.AccessToken, tok.AccessToken, "%s, %v", name, after)
					time.Sleep(5 * time.Second)
				}
				assert.Zero(t, v.presented(), "the refresh token that was signed out was presented")
			})
		}
	}
}

// Notices that are read once more end nothing that came after them.
func TestASignInAfterASignOutOutlivesAnotherEditionOfTheNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		all := cluster(t, 2, v, tokencache.Options{Store: struct{ tokencache.Store }{store}})
		must(t)(all[0].Generate(t.Context(), alice))
		must(t)(all[1].Generate(t.Context(), alice))
		require.NoError(t, all[0].Purge(t.Context(), alice))
		again := must(t)(all[0].Generate(t.Context(), alice))
		must(t)(all[1].Generate(t.Context(), alice))
		kept := store.remember("n")
		require.NoError(t, all[0].Purge(t.Context(), bob))
		time.Sleep(5 * time.Second)
		store.bringBack("n", kept, "")
		time.Sleep(10 * time.Second)
		for _, c := range all {
			assert.Equal(t, again.AccessToken, must(t)(c.Generate(t.Context(), alice)).AccessToken)
		}
	})
}

// A replica that only heard of a sign-out writes it again where the Store has
// lost it, and nowhere else: not over a later sign-in.
func TestWhatAReplicaHeardOfEndsNoLaterSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		all := cluster(t, 2, v, tokencache.Options{Store: store})
		time.Sleep(time.Second) // both are members
		must(t)(all[0].Generate(t.Context(), alice))
		require.NoError(t, all[0].Purge(t.Context(), alice)) // the other one hears of it
		again := must(t)(all[0].Generate(t.Context(), alice))
		require.NoError(t, all[0].Close(t.Context()))
		store.bringBack("", store.remember(""), "2") // a failover that lost nothing
		time.Sleep(10 * time.Second)
		assert.Equal(t, again.AccessToken, must(t)(all[1].Generate(t.Context(), alice)).AccessToken)
	})
}
