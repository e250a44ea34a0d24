package redisstore_test

import (
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReplicatedConformance(t *testing.T) {
	t.Parallel()
	master := serve(t, "--repl-diskless-sync-delay", "0")
	replica := serve(t, "--replicaof", "127.0.0.1 "+master.port)
	awaitReplica(t, replica)
	tokencachetest.Run(t, func(t *testing.T) tokencache.Store { return open(t, master.url(), redisstore.Options{Replicas: 1}) })
}

// A write that no replica has is an error, and so is the reading that would
// take it for done, until the replica is back.
func TestAWriteWithoutReplicasIsNotDone(t *testing.T) {
	t.Parallel()
	s := newReplicated(t)
	store := open(t, s.master.url(), redisstore.Options{Replicas: 1})
	rev, err := store.CAS(t.Context(), "k", 0, []byte("v"), time.Minute)
	require.NoError(t, err)
	require.NotZero(t, rev)
	other, err := store.CAS(t.Context(), "other", 0, []byte("v"), time.Minute)
	require.NoError(t, err)

	s.link.Lead("")
	soaktest.Eventually(t, "the master to see its replica go", func() bool {
		return field(s.master.admin().Info(t.Context(), "replication").Val(), "connected_slaves") == "0"
	})
	_, err = store.CAS(t.Context(), "k", rev, []byte("w"), time.Minute)
	require.ErrorContains(t, err, "0 of 1 replicas have the write")
	_, _, err = store.Load(t.Context(), "k")
	require.ErrorContains(t, err, "0 of 1 replicas have the write")
	_, at, err := store.Load(t.Context(), "other")
	require.NoError(t, err, "what was written before is read")
	assert.Equal(t, other, at)

	s.link.Lead("127.0.0.1:" + s.master.port)
	var val []byte
	soaktest.Eventually(t, "the replica to come back", func() bool {
		val, at, err = store.Load(t.Context(), "k")
		return err == nil
	})
	assert.Equal(t, "w", string(val))
	assert.NotEqual(t, rev, at)
	got, err := s.replica.admin().Get(t.Context(), "bearerkit:{k}").Result()
	require.NoError(t, err)
	assert.Equal(t, "w", got[8:])
}

// The epoch changes when a server restarts or a replica is promoted, and at no
// other time.
func TestEpoch(t *testing.T) {
	t.Parallel()
	master := serve(t, "--repl-diskless-sync-delay", "0")
	replica := serve(t, "--replicaof", "127.0.0.1 "+master.port)
	awaitReplica(t, replica)
	epoch := func(s *redisstore.Store, key string) string {
		t.Helper()
		e, err := s.Epoch(t.Context(), key)
		require.NoError(t, err)
		require.NotEmpty(t, e)
		return e
	}
	a, b := open(t, master.url(), redisstore.Options{}), open(t, replica.url(), redisstore.Options{})
	first := epoch(a, "k")
	_, err := a.CAS(t.Context(), "k", 0, nil, time.Minute)
	require.NoError(t, err)
	require.Equal(t, first, epoch(a, "k"))
	require.Equal(t, first, epoch(a, "another key"))
	following := epoch(b, "k")
	require.NotEqual(t, first, following)
	replica.do("REPLICAOF", "NO", "ONE")
	promoted := epoch(b, "k")
	require.NotEqual(t, following, promoted)
	master.kill()
	master.start()
	require.NotEqual(t, first, epoch(a, "k"))
}

// BenchmarkCAS is what a write costs, and what one more costs that a replica
// on the same machine must have.
func BenchmarkCAS(b *testing.B) {
	master := serve(b, "--repl-diskless-sync-delay", "0")
	replica := serve(b, "--replicaof", "127.0.0.1 "+master.port)
	awaitReplica(b, replica)
	for name, n := range map[string]int{"alone": 0, "with a replica": 1} {
		b.Run(name, func(b *testing.B) {
			s := open(b, master.url(), redisstore.Options{Replicas: n, Prefix: name})
			rev := uint64(0)
			for b.Loop() {
				var err error
				if rev, err = s.CAS(b.Context(), "k", rev, make([]byte, 1000), time.Minute); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
