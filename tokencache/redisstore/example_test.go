package redisstore_test

import (
	"bytes"
	"fmt"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/redis/go-redis/v9"
)

// One Store for all caches of a process; their namespaces keep them apart.
func ExampleOpen() {
	store, err := redisstore.Open("rediss://kit:p%40ssword@redis.example:6380/0", redisstore.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Close() }()
	shared := tokencache.Options{Store: store, SealKeys: [][]byte{bytes.Repeat([]byte("v"), 32)}, NameKey: bytes.Repeat([]byte("n"), 32)} // random keys, from where secrets are kept
	redacto, redox := shared, shared
	redacto.Namespace, redox.Namespace = "redacto", "redox"
	fmt.Println(store, redacto.Namespace, redox.Namespace)
	// Output: redisstore.Store redacto redox
}

// Redis Cluster, by a client of one's own.
func ExampleNew() {
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                 []string{"redis-0.example:6379", "redis-1.example:6379"},
		ContextTimeoutEnabled: true, // or a frozen server would hold callers
	})
	defer func() { _ = client.Close() }()
	store, err := redisstore.New(client, redisstore.Options{Prefix: "staging:"})
	fmt.Println(store, err)
	// Output: redisstore.Store <nil>
}
