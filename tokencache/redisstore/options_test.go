package redisstore_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/redis/go-redis/v9"
)

func TestOpenRefusesWithoutRepeatingTheAddress(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"", "canary", "canary:6379", "http://u:canary@host", "redis://u:can/ary@host", "redis://u:can ary@host", "redis://u:canary@host/0/canary",
		"redis://u:canary@host/canary", "redis://u:canary@host?db=canary", "redis://u:canary@host:canary", "redis://u:%xcanary@host", "redis://host?password=canary",
		"redis://host?canary=1", "rediss://u:canary@host?skip_verify=true", "redis://u:canary\n@host", "redis://u:can#ary@host/x",
		"redis://u:canary@host?max_retries=3", "redis://u:canary@host?min_retry_backoff=1s", "redis://u:canary@host?max_retry_backoff=1s", "redis://u:canary@host?client_name=canary",
	} {
		s, err := redisstore.Open(address, redisstore.Options{})
		if err == nil || s != nil {
			t.Errorf("%q: accepted", address)
		} else if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "ary@") || !strings.HasPrefix(err.Error(), "redisstore: address: ") {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := redisstore.Open("redis://host", redisstore.Options{TLS: &tls.Config{}}); err == nil || !strings.Contains(err.Error(), "rediss://") {
		t.Error("TLS without rediss:", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{})
	late := redis.NewClient(&redis.Options{})
	lateCluster := redis.NewClusterClient(&redis.ClusterOptions{})
	stale := redis.NewClusterClient(&redis.ClusterOptions{ContextTimeoutEnabled: true, RouteRandomly: true})
	good := redis.NewClient(&redis.Options{ContextTimeoutEnabled: true})
	for _, c := range []redis.UniversalClient{ring, late, lateCluster, stale, good} {
		t.Cleanup(func() { _ = c.Close() })
	}
	for name, c := range map[string]redis.UniversalClient{
		"nil": nil, "a nil client": (*redis.Client)(nil), "a nil cluster client": (*redis.ClusterClient)(nil),
		"a ring": ring, "a client without ContextTimeoutEnabled": late, "a cluster client without it": lateCluster, "reads from replicas": stale,
	} {
		if s, err := redisstore.New(c, redisstore.Options{}); err == nil || s != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := redisstore.Open("redis://host?pool_size=3&dial_timeout=2s&read_timeout=1s&protocol=2&conn_max_lifetime=1m&max_active_conns=4", redisstore.Options{}); err != nil {
		t.Error("what the documentation allows:", err)
	}
	if _, err := redisstore.New(good, redisstore.Options{Replicas: -1}); err == nil || !strings.Contains(err.Error(), "Options.Replicas: negative") {
		t.Error(err)
	}
	if _, err := redisstore.New(ring, redisstore.Options{TLS: &tls.Config{}}); err == nil || strings.Count(err.Error(), "redisstore: ") != 2 {
		t.Error("want both faults:", err)
	}
	s, err := redisstore.New(good, redisstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := good.Close(); err != nil {
		t.Error("Close closed the caller's client:", err)
	}
}

func TestPrefixesAreApart(t *testing.T) {
	t.Parallel()
	url := serve(t).url()
	a, b := open(t, url, redisstore.Options{Prefix: "a:"}), open(t, url, redisstore.Options{Prefix: "b:"})
	if rev, err := a.CAS(t.Context(), "k", 0, []byte("a"), time.Minute); err != nil || rev == 0 {
		t.Fatal(rev, err)
	}
	if fence, err := a.Lock(t.Context(), "k", "x", time.Minute); err != nil || fence == 0 {
		t.Fatal(fence, err)
	}
	if _, rev, err := b.Load(t.Context(), "k"); err != nil || rev != 0 {
		t.Error("a value crossed:", rev, err)
	}
	if fence, err := b.Lock(t.Context(), "k", "y", time.Minute); err != nil || fence == 0 {
		t.Error("a lease crossed:", fence, err)
	}
}

func TestStorePrintsNoPassword(t *testing.T) {
	t.Parallel()
	s := open(t, "redis://user:canary@127.0.0.1:1", redisstore.Options{})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, s); strings.Contains(got, "canary") || got != "redisstore.Store" {
			t.Errorf("%s: %s", verb, got)
		}
	}
}
