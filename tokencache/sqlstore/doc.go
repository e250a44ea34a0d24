// Package sqlstore is a [tokencache.Store] over Postgres, MySQL, MariaDB or
// SQLite, by database/sql: grants outlive the process, and several processes act
// as one, without Redis.
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
// The driver is the caller's. The tests run pgx, go-sql-driver/mysql and
// modernc.org/sqlite.
//
// # What is kept
//
// One table, of which [Schema] is the DDL. A row is a value or a lease. Every call
// is one statement on one connection of the pool, outside of transactions; MySQL,
// which returns nothing from an INSERT, needs up to three for a lease that is new
// or held. There are no advisory locks, which would pin a connection.
//
// A CAS compares the revision within the statement. Revisions are 63 random bits,
// so that none comes back after a loss. Leases end by the database's clock. Where
// that is set back, a lease ends one more of its own time later at the most.
// Fences rise over that clock and over the last one, which is remembered for an
// hour after its lease; they fall only if the clock is set back after that.
//
// A row that has expired is absent at once. It is deleted within two hours, 500
// rows in a statement, by whichever process comes first.
//
// # The database
//
// Postgres: the primary, at any isolation level. A replica must not be read, so
// with several hosts in the URL set target_session_attrs=read-write. Leave
// synchronous_commit on. Changes are polled for, or become known at once by
// [Options].Listen; the example of [New] shows it for pgx. NOTIFY costs a lock of
// the whole database for the moment of the commit, and so bounds the writes of all
// tables. Behind PgBouncer, Listen needs a connection past it.
//
// MySQL and MariaDB: InnoDB, the primary. With interpolateParams=true the driver
// needs one round trip for a statement in place of three. Leave
// innodb_flush_log_at_trx_commit at 1.
//
// SQLite: one machine, a local disk. Migrate turns the write-ahead log on. The
// Store lets one of its calls write at a time and waits for other processes as
// long as the call's context allows, so busy_timeout may stay 0. Leave synchronous
// at FULL, which is the default: with NORMAL, a power cut takes the last refresh
// tokens.
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
//	the server is a replica now         nothing; its connections are closed, and the next ones lead to
//	                                    where the URL says
//	failover to a replica without the   nothing that a process which is alive has in memory: it writes
//	last writes, or a backup restored   that back before anyone spends a refresh token, see Store.Epoch
//	                                    (40 grants, replication cut for a second: 0 lost, 0 dead tokens
//	                                    served). A pair that only a process had that died as well is
//	                                    lost with its grant
//	the table is lost                   the same, for all grants
//	the clock is set back               nothing; a lease of a process that died ends one ttl later
//	the clock is set forward            nothing; leases end early, and the intents in the records keep
//	                                    processes apart
//
// # Size
//
// Measured with Postgres 15 and a million grants: a record with tokens of 1,000
// bytes together and the entry of its refresh token take 2.3 KB, and their two rows
// 0.18 KB of index. A lease takes 0.15 KB while it is used and for two hours after.
// A renewal is 12 statements and 3 ms of one core of Postgres, at 10,000 grants and
// at 1,000,000, so that a core carries some 350 renewals a second.
//
// For 10^8 grants that is 230 GB, 18 GB of it indexes, and 15 GB more for each spent
// refresh token that is remembered. The primary key (names are random) is 70 bytes a
// row and does best in memory. The index of the sweep is on the hour and about 10
// bytes a row after deduplication; it changes once an hour for a row, so that most
// updates are heap-only. With tokens of an hour, 10^8 grants are 28,000 renewals a
// second: 80 cores, more than one server has. Give each part of the users a database
// and a Store of its own; a grant never needs two. A process sweeps up to 3,000 rows a second,
// 10^8 rows in 9 hours for one process and 1 hour for ten; rows that wait for it cost
// space and nothing else. At that size raise autovacuum_vacuum_cost_limit for the
// table and partition it by hash of name.
//
// # Concurrency
//
// A [Store] is safe for concurrent use. Bound the pool (SetMaxOpenConns) below what
// the server allows, over all processes; 16 a process are plenty. The Store works in
// the background: it sweeps, polls while somebody watches, and listens.
//
// # Errors
//
// An error means that the outcome is unknown, and reading back tells. It ends with
// the context's error when that was the cause. Of what a database answered only the
// code is kept (an SQLSTATE, MySQL's number, SQLite's code), and what it means for
// a Store: no table, no right, no room, no writes.
//
// # Security
//
// Errors hold no values, keys, addresses' passwords or text of the database. Values
// are tokens: set [tokencache.Options].SealKeys and NameKey, for a database's files,
// replicas, logs and dumps hold them too. With them, a dump shows neither a token
// nor whose it is. Use TLS beyond one machine.
package sqlstore
