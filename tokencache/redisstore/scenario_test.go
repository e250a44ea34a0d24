package redisstore_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

var grants = flag.Int("grants", 40, "how many grants the scenarios have; 200 is the long version")

// scenario runs two replicas over the Store that open returns, lets harm be
// done while they work, and counts.
func scenario(t *testing.T, open func() tokencache.Store, harm func(f *soaktest.Fleet)) soaktest.Outcome {
	t.Helper()
	f := soaktest.NewFleet(t, 2, *grants, open)
	time.Sleep(3 * time.Second) // of renewals before the harm
	harm(f)
	time.Sleep(5 * time.Second) // of renewals after it
	out := f.Finish(time.Minute)
	f.Whole(out)
	return out
}

func TestSentinel(t *testing.T) {
	for name, cut := range map[string]time.Duration{
		"the master is killed":                                 0,
		"the master is killed 0.2 s after replication was cut": 200 * time.Millisecond,
		"the master is killed 1 s after replication was cut":   time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSentinels(t)
			scenario(t, func() tokencache.Store { return s.open(t, redisstore.Options{}) }, func(f *soaktest.Fleet) {
				before := f.Issued()
				if cut > 0 {
					s.link.Lead("")
					time.Sleep(cut)
					// Without pairs that the next master does not have, nothing
					// is tried.
					soaktest.Eventually(t, "renewals", func() bool { return f.Issued()-before >= int(cut.Seconds()*float64(*grants)/4) })
				}
				missing := f.Issued() - before
				s.master.kill()
				t.Logf("%d pairs issued that the next master does not have", missing)
				s.promoted(t)
			})
		})
	}
}

func TestSharded(t *testing.T) {
	t.Run("a master is killed", func(t *testing.T) {
		t.Parallel()
		c := newSharded(t)
		scenario(t, func() tokencache.Store { return c.open(t, redisstore.Options{}) }, func(*soaktest.Fleet) {
			c.nodes[0].kill()
			soaktest.Eventually(t, "the failover", func() bool { return c.slots(t, c.nodes[0]) == 0 })
		})
	})
	t.Run("slots migrate under use", func(t *testing.T) {
		t.Parallel()
		c := newSharded(t)
		before := c.slots(t, c.nodes[0])
		scenario(t, func() tokencache.Store { return c.open(t, redisstore.Options{}) }, func(*soaktest.Fleet) {
			c.migrate(t, c.nodes[0], c.nodes[1], 2000)
		})
		require.Equal(t, before-2000, c.slots(t, c.nodes[0]))
	})
}

func TestOneServerHarmed(t *testing.T) {
	for _, tt := range []struct {
		name string
		harm func(t *testing.T, s *server, admin *redis.Client)
	}{
		{"FLUSHALL", func(t *testing.T, _ *server, admin *redis.Client) {
			require.NoError(t, admin.FlushAll(t.Context()).Err())
		}},
		{"CLIENT PAUSE", func(t *testing.T, _ *server, admin *redis.Client) {
			require.NoError(t, admin.Do(t.Context(), "CLIENT", "PAUSE", 3000, "ALL").Err())
			time.Sleep(3 * time.Second)
		}},
		{"leases are deleted", func(t *testing.T, _ *server, admin *redis.Client) {
			for begun := time.Now(); time.Since(begun) < 3*time.Second; time.Sleep(5 * time.Millisecond) {
				names, err := admin.Keys(t.Context(), "*:lease").Result()
				require.NoError(t, err)
				if len(names) > 0 {
					require.NoError(t, admin.Del(t.Context(), names...).Err())
				}
			}
		}},
		{"allkeys-lru", func(t *testing.T, _ *server, admin *redis.Client) {
			require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
			require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "3mb").Err())
			for i := range 3000 { // others fill the server
				_ = admin.Set(t.Context(), fmt.Sprint("junk:", i), make([]byte, 1000), time.Minute).Err()
			}
			evicted := field(admin.Info(t.Context(), "stats").Val(), "evicted_keys")
			require.NotEqual(t, "0", evicted)
			require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "0").Err())
		}},
		{"killed and restarted empty", func(_ *testing.T, s *server, _ *redis.Client) {
			s.kill()
			s.start()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			scenario(t, func() tokencache.Store { return open(t, s.url(), redisstore.Options{}) }, func(*soaktest.Fleet) { tt.harm(t, s, s.admin()) })
		})
	}
}

// A master that became a replica answers READONLY, until the address leads to
// its successor.
func TestReadOnlyAfterARoleChange(t *testing.T) {
	t.Parallel()
	first := serve(t, "--repl-diskless-sync-delay", "0")
	second := serve(t, "--replicaof", "127.0.0.1 "+first.port, "--repl-diskless-sync-delay", "0")
	awaitReplica(t, second)
	p := soaktest.NewProxy(t, "127.0.0.1:"+first.port)
	scenario(t, func() tokencache.Store { return open(t, via(p), redisstore.Options{}) }, func(*soaktest.Fleet) {
		second.do("REPLICAOF", "NO", "ONE")
		first.do("REPLICAOF", "127.0.0.1", second.port)
		time.Sleep(2 * time.Second) // of READONLY
		p.Lead("127.0.0.1:" + second.port)
	})
}

// The process that holds a grant's lease stands still for longer than that. The
// others show the refresh token once more, in doubt. What comes of that depends
// on the moment; the process that wakes up harms no one.
func TestHolderStopped(t *testing.T) {
	for _, tt := range []struct {
		name               string
		at                 soaktest.Moment
		refused, generates int
	}{
		{"before its call is sent: nothing is lost", soaktest.Unsent, 0, 1},
		{"before its answer is read: the vendor's pair is lost, and the others generate", soaktest.Unread, 1, 2},
		{"and its call arrives after another's: the vendor refuses it, and nothing is lost", soaktest.Overtaken, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, begun := soaktest.NewRig(t, serve(t).url()), time.Now()
			r.Stop(tt.at)
			sum, s := r.Finish(begun)
			r.Served(begun, sum, s)
			r.Vendor(s, tt.refused, tt.generates)
		})
	}
}
