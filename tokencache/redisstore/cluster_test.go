package redisstore_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
	"github.com/redis/go-redis/v9"
)

// TestCluster runs the suite over the smallest cluster: one node with every
// slot, which refuses a script that touches two.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := serve(t, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--cluster-port", freePort(t))
	s.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	admin := s.admin()
	soaktest.Eventually(t, "the cluster", func() bool {
		return strings.Contains(admin.ClusterInfo(context.Background()).Val(), "cluster_state:ok")
	})
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:" + s.port}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	tokencachetest.Run(t, func(t *testing.T) tokencache.Store {
		store, err := redisstore.New(client, redisstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return store
	})
	store, err := redisstore.New(client, redisstore.Options{Prefix: "slots:"})
	if err != nil {
		t.Fatal(err)
	}
	if rev, err := store.CAS(t.Context(), "t/abc", 0, nil, time.Minute); err != nil || rev == 0 {
		t.Fatal(rev, err)
	}
	if fence, err := store.Lock(t.Context(), "t/abc", "a", time.Minute); err != nil || fence == 0 {
		t.Fatal(fence, err)
	}
	slots := map[int64]bool{}
	names, err := admin.Keys(t.Context(), "slots:*").Result()
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		slots[admin.ClusterKeySlot(t.Context(), name).Val()] = true
	}
	if len(slots) != 1 {
		t.Error("a value and its lease lie in different slots:", names)
	}
}
