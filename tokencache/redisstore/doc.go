// Package redisstore is a [tokencache.Store] over Redis 7 or later, or Valkey,
// by which several processes act as one:
//
//	store, err := redisstore.Open(os.Getenv("REDIS_URL"), redisstore.Options{})
//	…
//	cache, err := tokencache.New(provider, tokencache.Options{Store: store, Namespace: "redacto"})
//
// All caches of a process share one Store; their Namespaces keep them apart.
//
// The client is redis/go-redis v9. Against redis/rueidis v1.0.79, in one trial:
// it can be made while its server is down, and it subscribes again after a lost
// connection and says so, which wakes everybody who may have missed a change.
// rueidis is faster (200 callers: 190,000 writes a second against 60,000) and
// smaller (2 modules against 4), but a token cache writes a few times per renewal.
//
// # What is kept
//
// A value, a lease and the channel of a key are named
//
//	bearerkit:{key}   bearerkit:{key}:lease   bearerkit:{key}
//
// Every script touches one of them, so that Redis Cluster runs them all; the
// braces make a value and its lease share a node. Revisions are random, so that
// none comes back after a loss. Fences come from the server's clock and its memory
// of the last one: they rise over an empty restart too, unless that clock is set
// back at the same time. A lease ends by the server's clock. Where that is set
// back, a lease ends one more of its own time later at the most.
//
// # The server
//
// It must keep what it was given: maxmemory-policy noeviction, or volatile-ttl
// and its like will drop refresh tokens when memory runs out; appendonly yes with
// appendfsync everysec, or a restart forgets every grant that no process has in
// memory. Replication is asynchronous: a failover may take the last writes away,
// and give a lease twice. The processes that are alive write back what they know
// before anyone spends a refresh token, see [Store.Epoch]; [Options].Replicas
// makes a write wait for replicas instead.
//
// With ACLs, a user needs (for another Prefix, other patterns):
//
//	ACL SETUSER kit on >password resetkeys resetchannels ~bearerkit:* &bearerkit:* -@all
//	  +get +getrange +set +hmget +hset +hdel +pexpire +time +info +eval +evalsha
//	  +publish +subscribe +unsubscribe +ping
//
// and +select for another database than 0, +wait +pttl for [Options].Replicas,
// +cluster for Redis Cluster. A user of Sentinel is the sentinels' own.
//
// For Redis Cluster or Sentinel, give [New] a client of go-redis. In a cluster,
// what is published reaches every node. In a cluster of go-redis a master that is
// gone is asked for until the client has seen its successor, which it looks for
// once a minute; the Store has it look after every error.
//
// # What a failure costs
//
//	what happens                          what is lost
//	the master is killed (Sentinel,       nothing, also where replication was cut for a second before:
//	Cluster)                              the processes that are alive write their records back. A pair
//	                                      that only a process had that died with the master is lost
//	FLUSHALL, a restart without a file,   the same
//	eviction, a backup restored
//	a process is killed while it calls    nothing, if its call did not leave it. Otherwise the others
//	the upstream, or stands still for     show the refresh token once more, in doubt. If it is spent,
//	longer than its lease and the         the pair that the upstream issued is lost, and that ends the
//	upstream's time                       grant where the upstream does not forgive it. So does a
//	                                      call that arrives after the others' call: TestHolderStopped
//	slots migrate; CLIENT PAUSE; READONLY nothing; calls that need the server are errors meanwhile, and
//	after a role change; connections cut  tokens in memory are served
//	leases are deleted                    nothing: the intents in the records keep processes apart
//	the server's clock is set back        nothing; the lease of a process that died ends one ttl later
//
// Measured with 200 grants, two replicas, and an upstream that ends a grant when a
// spent refresh token is shown: see internal/bench/README.md. [Options].Replicas
// costs 0.2 ms a write on one machine (0.11 ms without, 0.29 with), a round trip
// between the servers otherwise, and writes are errors while replicas are missing.
//
// Before a refresh token is spent, two reads confirm that the server has lost no
// write: 2 of the 12 round trips of a renewal, 0.06 to 0.14 ms of a core in the process
// and 0.05 to 0.12 ms at the server. 10,000 renewals a minute: 333 round trips a second
// and 2 to 4 % of a core (2026-11-27, Redis 7, a busy machine, TestARenewalConfirmsTheStoreInTwoReads).
//
// # Concurrency
//
// A [Store] is safe for concurrent use. It keeps one connection for all watches
// and a pool for the rest, and goes on by itself when a server comes back.
//
// # Errors
//
// An error means that the outcome is unknown. It ends with the context's error
// when that was the cause; of what a server answered only the code is kept, like
// NOPERM, READONLY, OOM or MISCONF. Open repeats no call by itself. A client given
// to New may: a CAS that is sent twice is one.
//
// go-redis reports failed connections on standard error; redis.SetLogger, which
// is for the whole process, changes that.
//
// # Security
//
// Errors and logs hold neither the address's password nor values or keys. Values
// are tokens: use rediss:// beyond one machine, and seal them with
// [tokencache.Options].SealKeys, for a server's files and backups hold them too.
package redisstore
