// Package redisstore is a [tokencache.Store] over Redis 7 or later, or Valkey.
// By it several processes act as one:
//
//	store, err := redisstore.Open(os.Getenv("REDIS_URL"), redisstore.Options{})
//	…
//	cache, err := tokencache.New(provider, tokencache.Options{Store: store, Namespace: "redacto"})
//
// All caches of a process share one Store. Their Namespaces separate them.
//
// The client is redis/go-redis v9. In one trial it was compared with
// redis/rueidis v1.0.79. It can be made while its server is down. After a lost
// connection it subscribes again and reports that, which wakes every watcher
// that may have missed a change. rueidis is faster (200 callers: 190,000 writes
// a second against 60,000) and smaller (2 modules against 4), but a token cache
// makes only a few writes per renewal.
//
// # What is kept
//
// The value, the lease and the channel of a key are named
//
//	bearerkit:{key}   bearerkit:{key}:lease   bearerkit:{key}
//
// Every script has one key, so Redis Cluster can run all scripts. The braces
// put a value and its lease on one node. Revisions are random, so that none
// comes back after a loss. Fences come from the server's clock and from the
// last fence that the server remembers. They also rise over a restart that
// loses all data, unless that clock is set back at the same time. A lease ends
// by the server's clock. If that clock is set back, a lease ends at most one
// more ttl later.
//
// # The server
//
// The server must keep its data. Use maxmemory-policy noeviction: volatile-ttl
// and similar policies drop refresh tokens when memory runs out. Use appendonly
// yes with appendfsync everysec: otherwise a restart loses every grant that no
// process has in memory. Replication is asynchronous: a failover may lose the
// last writes and grant a lease twice. The live processes write back what they
// know before a refresh token is spent, see [Store.Epoch]. With
// [Options].Replicas a write waits for replicas.
//
// With ACLs, a user needs (for another Prefix, other patterns):
//
//	ACL SETUSER kit on >password resetkeys resetchannels ~bearerkit:* &bearerkit:* -@all
//	  +get +getrange +set +hmget +hset +hdel +pexpire +time +info +eval +evalsha
//	  +publish +subscribe +unsubscribe +ping
//
// It also needs +select for another database than 0, +wait +pttl for
// [Options].Replicas, and +cluster for Redis Cluster. A user of Sentinel is a
// separate user.
//
// For Redis Cluster or Sentinel, give [New] a client of go-redis. In a cluster
// every published message reaches every node. A cluster client of go-redis
// looks for the successor of a dead master once a minute; the Store makes it
// look after every error.
//
// # What a failure costs
//
//	what happens                          what is lost
//	the master is killed (Sentinel,       nothing, also if replication was cut for a second before:
//	Cluster)                              the live processes write their records back. A pair that
//	                                      only a process had that died with the master is lost
//	FLUSHALL, a restart without a file,   the same
//	eviction, a backup restored
//	a process is killed while it calls    nothing, if its call had not left it. Otherwise the others
//	the upstream, or stops for longer     present the refresh token once more, in doubt. If it is spent,
//	than its lease and the upstream's     the pair that the upstream issued is lost, and that ends the
//	time                                  grant if the upstream does not forgive it. So does a call that
//	                                      arrives after the others' call: TestHolderStopped
//	slots migrate; CLIENT PAUSE; READONLY nothing; calls that need the server are errors meanwhile, and
//	after a role change; connections cut  tokens in memory are served
//	leases are deleted                    nothing: the intents in the records keep processes apart
//	the server's clock is set back        nothing; the lease of a process that died ends one ttl later
//
// The figures are for 200 grants, two replicas, and an upstream that ends a
// grant when a spent refresh token is presented: see internal/bench/README.md.
// [Options].Replicas costs 0.2 ms a write on one machine (0.11 ms without, 0.29
// with), otherwise a round trip between the servers. Writes are errors while
// replicas are missing.
//
// Before a refresh token is spent, two reads confirm that the server has lost no
// write: 2 of the 12 round trips of a renewal, 0.06 to 0.14 ms of a core in the process
// and 0.05 to 0.12 ms at the server. 10,000 renewals a minute: 333 round trips a second
// and 2 to 4 % of a core (2026-11-27, Redis 7, a busy machine, TestARenewalConfirmsTheStoreInTwoReads).
//
// # Concurrency
//
// A [Store] is safe for concurrent use. It uses one connection for all watches
// and a pool for all other calls. It continues by itself when a server comes
// back.
//
// # Errors
//
// An error means that the outcome is unknown. If the context ended, the error
// wraps the context's error. From a server's answer only the code is kept, such
// as NOPERM, READONLY, OOM or MISCONF. A Store of Open repeats no call by
// itself. A client given to New may: a CAS that is sent twice counts once.
//
// go-redis reports failed connections on standard error. redis.SetLogger
// changes that for the whole process.
//
// # Security
//
// Errors and logs contain neither the address's password nor values or keys.
// Values are tokens. Use rediss:// between machines. Seal the values with
// [tokencache.Options].SealKeys, because a server's files and backups contain
// them too.
package redisstore
