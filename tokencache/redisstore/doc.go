// Package redisstore is a [tokencache.Store] over Redis 7 or later, or Valkey,
// by which several processes act as one:
//
//	store, err := redisstore.Open(os.Getenv("REDIS_URL"), redisstore.Options{})
//	…
//	cache, err := tokencache.New(provider, tokencache.Options{Store: store, Namespace: "redacto"})
package redisstore
