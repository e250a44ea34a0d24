package redisstore_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// replicated is a master, and a replica whose replication goes through link.
type replicated struct {
	master, replica *server
	link            *soaktest.Proxy
}

func newReplicated(t testing.TB) replicated {
	t.Helper()
	s := replicated{master: serve(t, "--repl-diskless-sync-delay", "0")}
	s.link = soaktest.NewProxy(t, "127.0.0.1:"+s.master.port)
	s.replica = serve(t, "--replicaof", "127.0.0.1 "+s.link.Port(), "--replica-announce-ip", "127.0.0.1", "--replica-announce-port", "PORT", "--repl-timeout", "5")
	awaitReplica(t, s.replica)
	return s
}

// sentinels is a master and its replica, and three sentinels that watch them.
type sentinels struct {
	replicated
	addrs []string
}

const quorumName = "kit"

func newSentinels(t testing.TB) *sentinels {
	t.Helper()
	s := &sentinels{replicated: newReplicated(t)}
	for range 3 {
		port := freePort(t)
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		conf := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor %s 127.0.0.1 %s 2\nsentinel down-after-milliseconds %[2]s 1000\n"+
			"sentinel failover-timeout %[2]s 3000\nsentinel parallel-syncs %[2]s 1\n", port, quorumName, s.master.port)
		require.NoError(t, os.WriteFile(file, []byte(conf), 0o600))
		cmd := exec.Command("redis-server", file, "--sentinel")
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		s.addrs = append(s.addrs, "127.0.0.1:"+port)
	}
	for _, addr := range s.addrs { // each knows the other two and the replica
		c := redis.NewSentinelClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = c.Close() })
		soaktest.Eventually(t, "the sentinels", func() bool {
			m, err := c.Master(context.Background(), quorumName).Result()
			return err == nil && m["num-other-sentinels"] == "2" && m["num-slaves"] == "1"
		})
	}
	return s
}

func awaitReplica(t testing.TB, s *server) {
	t.Helper()
	admin := s.admin()
	soaktest.Eventually(t, "the replica", func() bool {
		return strings.Contains(admin.Info(context.Background(), "replication").Val(), "master_link_status:up")
	})
}

func (s *sentinels) open(t testing.TB, o redisstore.Options) tokencache.Store {
	t.Helper()
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: quorumName, SentinelAddrs: s.addrs, ContextTimeoutEnabled: true, MaxRetries: -1, DialTimeout: time.Second,
	})
	t.Cleanup(func() { _ = client.Close() })
	store, err := redisstore.New(client, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// promoted waits until the replica is the master.
func (s *sentinels) promoted(t testing.TB) {
	t.Helper()
	admin := s.replica.admin()
	soaktest.Eventually(t, "the failover", func() bool {
		return strings.Contains(admin.Info(context.Background(), "replication").Val(), "role:master")
	})
}

// sharded is a Redis Cluster of three masters and three replicas.
type sharded struct {
	nodes []*server // the masters come first
}

func newSharded(t testing.TB) *sharded {
	t.Helper()
	c := &sharded{}
	for range 6 {
		c.nodes = append(c.nodes, serve(t, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1",
			"--cluster-node-timeout", "5000", // on a busy machine a node is silent for a second
			"--repl-diskless-sync-delay", "0", "--cluster-port", freePort(t)))
	}
	args := []string{"--cluster", "create"}
	for _, n := range c.nodes {
		args = append(args, "127.0.0.1:"+n.port)
	}
	out, err := exec.Command("redis-cli", append(args, "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, n := range c.nodes {
		admin := n.admin()
		soaktest.Eventually(t, "the cluster", func() bool {
			return strings.Contains(admin.ClusterInfo(context.Background()).Val(), "cluster_state:ok")
		})
	}
	for _, n := range c.nodes[3:] {
		awaitReplica(t, n)
	}
	return c
}

func (c *sharded) open(t testing.TB, o redisstore.Options) tokencache.Store {
	t.Helper()
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, "127.0.0.1:"+n.port)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true, DialTimeout: time.Second})
	t.Cleanup(func() { _ = client.Close() })
	store, err := redisstore.New(client, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// slots is how many slots node has, as the others see it.
func (c *sharded) slots(t testing.TB, node *server) int {
	t.Helper()
	all, err := c.nodes[2].admin().ClusterShards(t.Context()).Result()
	require.NoError(t, err)
	n := 0
	for _, shard := range all {
		if !slices.ContainsFunc(shard.Nodes, func(at redis.Node) bool { return at.Role == "master" && fmt.Sprint(at.Port) == node.port }) {
			continue
		}
		for _, r := range shard.Slots {
			n += int(r.End-r.Start) + 1
		}
	}
	return n
}

// migrate moves slots from one master to another while both are in use.
func (c *sharded) migrate(t testing.TB, from, to *server, slots int) {
	t.Helper()
	id := func(s *server) string {
		v, err := s.admin().Do(context.Background(), "CLUSTER", "MYID").Text()
		require.NoError(t, err)
		return v
	}
	out, err := exec.Command("redis-cli", "--cluster", "reshard", "127.0.0.1:"+from.port, "--cluster-from", id(from),
		"--cluster-to", id(to), "--cluster-slots", strconv.Itoa(slots), "--cluster-yes").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
