// Package sqlstore is a [tokencache.Store] over Postgres, MySQL, MariaDB or
// SQLite, by database/sql. Grants outlive the process, and several processes
// act as one, without Redis.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	…
//	store, err := sqlstore.New(db, sqlstore.Postgres, sqlstore.Options{})
//	…
//	err = store.Migrate(ctx)
//	cache, err := tokencache.New(provider, tokencache.Options{
//		Store: store, Namespace: "redacto", NameKey: nameKey, SealKeys: sealKeys,
//	})
//
// The application chooses the driver. The tests use pgx, go-sql-driver/mysql
// and modernc.org/sqlite.
//
// # What is kept
//
// The Store has one table; [Schema] returns its DDL. A row is a value or a
// lease. Every call is one statement on one connection of the pool, outside of
// transactions. MySQL returns nothing from an INSERT, so it needs up to three
// statements for a lease that is new or held. There are no advisory locks,
// which would occupy a connection.
//
// A CAS compares the revision within the statement. Revisions are 63 random
// bits, so that none comes back after a loss. Leases end by the database's
// clock. If that clock is set back, a lease ends at most one more ttl later. A
// fence is higher than that clock and than the last fence, which is remembered
// for an hour after its lease. A fence is lower than an earlier one only if the
// clock is set back after that hour.
//
// A row that has expired is absent at once. It is deleted within two hours, 500
// rows in a statement, by any of the processes.
//
// # The database
//
// Postgres: use the primary, at any isolation level. A replica must not be
// read: with several hosts in the URL set target_session_attrs=read-write.
// Leave synchronous_commit on. The Store polls for changes, or learns of them
// at once by [Options].Listen; the example of [New] shows it for pgx. NOTIFY
// locks the whole database at the moment of the commit, and so limits the
// writes of all tables. Behind PgBouncer, Listen needs a direct connection.
//
// MySQL and MariaDB: use InnoDB and the primary. With interpolateParams=true
// the driver needs one round trip for a statement instead of three. Leave
// innodb_flush_log_at_trx_commit at 1.
//
// SQLite: use one machine and a local disk. Migrate turns the write-ahead log
// on. The Store makes one write at a time. It waits for other processes as long
// as the call's context allows, so busy_timeout may stay 0. Leave synchronous
// at its default FULL: with NORMAL, a power cut loses the last refresh tokens.
//
// # What a failure costs
//
//	what happens                        what is lost
//	a process is killed, any time       the pair that the upstream issued and the process had not saved
//	                                    yet: one grant at most for each call under way
//	the server restarts, connections    nothing; calls are errors meanwhile, and grants in memory are
//	are cut                             served
//	the disk is full                    nothing stored before; every write is an error that says so,
//	                                    and no refresh token is spent without being saved (Rotating
//	                                    and Exclusive fail closed)
//	deadlock, serialization failure,    nothing: the statement is repeated within its context
//	SQLite is locked
//	the server is a replica now         nothing; its connections are closed, and new ones follow the
//	                                    URL
//	failover to a replica without the   nothing that a live process has in memory: it writes that back
//	last writes, or a backup restored   before a refresh token is spent, see Store.Epoch
//	                                    (40 grants, replication cut for a second: 0 lost, 0 dead tokens
//	                                    served). A pair that only a process had that died as well is
//	                                    lost with its grant
//	the table is lost                   the same, for all grants
//	the clock is set back               nothing; a lease of a process that died ends one ttl later
//	the clock is set forward            leases end early, and the intents in the records keep processes
//	                                    apart. Values end early too: a grant whose time has passed by
//	                                    that clock is deleted, and a sign-out may return up to 2 s
//	                                    before every process has heard of it
//	a dump is loaded into a running     as above, but only if a bulletin went backwards shows it: Epoch
//	server, or SQLite's file restored   does not change
//
// # Size
//
// The figures are for Postgres 15 and a million grants. A record with tokens of
// 1,000 bytes together and the entry of its refresh token take 2.3 KB, and
// their two rows 0.18 KB of index. A lease takes 0.15 KB while it is used and
// for two hours after. A renewal is 12 statements and 3 ms of one core of
// Postgres, at 10,000 grants and at 1,000,000. One core therefore does some 350
// renewals a second.
//
// For 10^8 grants that is 230 GB, 18 GB of it indexes, and 15 GB more for each
// spent refresh token that is remembered. The primary key has random names,
// takes 70 bytes a row and should fit into memory. The index of the sweep is on
// the hour. It takes about 10 bytes a row after deduplication and changes once
// an hour for a row, so that most updates are heap-only. With tokens of an
// hour, 10^8 grants are 28,000 renewals a second: 80 cores, more than one
// server has. Divide the users between several databases, each with its own
// Store: no grant needs two. A process sweeps up to 3,000 rows a second: 10^8
// rows take 9 hours for one process and 1 hour for ten. Rows that wait for the
// sweep cost only space. At that size raise autovacuum_vacuum_cost_limit for
// the table and partition it by hash of name.
//
// # Concurrency
//
// A [Store] is safe for concurrent use. Limit the pool (SetMaxOpenConns) so
// that all processes together stay below what the server allows; 16 connections
// a process are enough. The Store works in the background: it sweeps, it polls
// while there are watches, and it listens.
//
// # Errors
//
// An error means that the outcome is unknown; the cache then reads the value.
// If the context ended, the error wraps the context's error. From a database's
// answer only the code is kept (an SQLSTATE, MySQL's number, SQLite's code),
// and what it means for a Store: no table, no right, no room, no writes.
//
// # Security
//
// Errors contain no values, keys, passwords of addresses or text of the
// database. Values are tokens. Set [tokencache.Options].SealKeys and NameKey,
// because a database's files, replicas, logs and dumps contain the values too.
// With them, a dump shows neither tokens nor their users. Use TLS between
// machines.
package sqlstore
