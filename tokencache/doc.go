// Package tokencache keeps the current token of every grant. It is the only
// place that calls a vendor's token endpoint: one call per grant at a time, in
// one process or, over a [Store], in many.
//
//	cache, err := tokencache.New(vendor, tokencache.Options{})
//	token, err := cache.Generate(ctx, req)            // the current token
//	token, err = cache.Renew(ctx, req, token)         // it was refused: a newer one
//	source := cache.Source(req)                       // the same for one request, cheaper
//
// A token is served until shortly before it expires. In the last part of its
// life it is renewed in the background, at a random time: one of several
// replicas renews, and the others read its token from the Store. Callers wait
// only if there is no valid token. Each leaves when its own context ends. The
// upstream call continues, because the upstream does the work in any case. After
// a failed upstream call, callers get the same error for a while; RetryAfter
// tells how long.
//
// Generate, Refresh and Purge of one grant use one record. A generate after a
// refresh therefore returns the refreshed pair, and no token from before a
// sign-out is handed out after it. The provider says what a grant is
// ([providers.Keyer]), and how many of its tokens may be valid
// ([providers.Moder]):
//
//	Shared     many tokens are valid; renewed ahead; continues without the Store
//	Rotating   the refresh token works once; not renewed without the Store
//	Exclusive  a new token ends the old one; never renewed ahead of expiry;
//	           not renewed without the Store
//
// # Life of a call
//
// These words are used: a record is all that is known of one grant. An entry is
// this process's place for a record, and its view is the record as the process
// knows it. An attempt is the work on a record. An intent is a note in the
// record that an attempt is about to call the upstream. A slot is one of the
// MaxFlights upstream calls that may be under way. A lease is the right to work
// on a record, kept in the Store. A member is a replica that sign-outs
// elsewhere wait for.
//
// A hit: [Source.Token] loads the entry's view and reads the clocks. Over a
// Store it also checks that this process was not stopped for long
// (Cache.informed in receipts.go, see Replicas). Then it counts the hit.
//
// A token in the last part of its life is a hit too. Cache.current then starts
// an attempt for which no caller waits (Cache.renewAhead in cache.go).
//
// A miss calls these functions in this order. Lines with a plus do something
// only over a Store.
//
//	  Cache.Generate         cache.go    names the record by a digest of the request
//	  Cache.fresh, current   cache.go    look into memory
//	  Cache.do               flight.go   returns an answer to the caller
//	+ Cache.attend           receipts.go waits until this process has read of
//	                                     sign-outs, if it was stopped for long
//	  Cache.entry            entry.go    finds or makes the entry; a new one begins
//	                                     with the sign-out that is remembered
//	  Cache.join             flight.go   under the entry's lock: answers from memory,
//	                                     joins the attempt under way, or starts one
//	  Cache.start            flight.go   starts an attempt; the caller waits with
//	                                     Ticket.Wait of the module's internal/flight
//	  attempt.run            flight.go   runs the attempt from its start to its end
//	  attempt.work           attempt.go  repeats acquire, writeIntent, perform and
//	                                     recordOutcome until the attempt is answered
//	  attempt.acquire        attempt.go  repeats load, decide and prepare until the
//	                                     attempt may act
//	+ attempt.loadStored     replicas.go waits for the first look at the bulletin, and
//	                                     reads the record from the Store
//	+ record.Reconcile       internal/record/reconcile.go  joins it with what this
//	                                     process knows
//	  record.Decide          internal/record/decide.go  the decision, a function of
//	                                     its arguments
//	  attempt.settled        attempt.go  answers without an upstream call, for example
//	                                     with the token of another replica
//	+ attempt.prepareStored  replicas.go takes the lease, or waits for the replica that
//	                                     has it (takeLease, wait), and acquire reads
//	                                     again; waits for a call that another replica
//	                                     has announced by its intent
//	+ replicas.confirm       rollcall.go makes sure that the Store has lost nothing
//	                                     (not in Shared mode)
//	  attempt.takeSlot       attempt.go  takes a slot
//	+ attempt.writeIntent    replicas.go says which attempt is about to call, and
//	                                     checks the lease last (not in Shared mode)
//	  attempt.perform        attempt.go  makes the upstream call, and gives back the
//	                                     slot
//	  attempt.recordOutcome  outcome.go  recordToken, recordSalvage or recordFailure;
//	                                     Record.Succeed, Salvage, Fail and Die say
//	                                     what changes
//	  attempt.persist        outcome.go  writes the index of refresh tokens and the
//	                                     record: over a Store until they are durable;
//	                                     commit makes the record the entry's view
//	  attempt.answer         flight.go   wakes the callers; each checks whether a
//	                                     sign-out overtook the attempt
//	                                     (entry.overtook in flight.go)
//	  attempt.release        attempt.go  gives back the lease
//	  attempt.finish         flight.go   lets the next attempt of the entry work
//
// A refresh begins with [Cache.Refresh] in grant.go. It finds the record of the
// refresh token (Cache.findOwner in index.go) and continues with Cache.do.
//
// A sign-out is [Cache.Purge] in signout.go. Cache.purgeLocal ends the token in
// the entry and keeps a tombstone: what is remembered of a sign-out when its
// entry is gone. Over a Store, Cache.spreadPurge writes the record and a notice
// (replicas.announce in notices.go) and waits for the receipts of the members
// (replicas.awaitReceipts in receipts.go). Another replica reads the notice in
// replicas.look and applies it in Cache.signedOut. An attempt under way finds the
// sign-out when it saves its token (attempt.save or attempt.commit), and revokes
// that token (attempt.discard). Generate and Renew of a Cache then fail with
// [providers.CodeNotSignedIn]. A Source asks for another token.
//
// # Replicas
//
// An attempt over a Store loads the record, takes its lease, loads again, makes
// sure that the Store has lost nothing, writes its intent, calls, writes the
// outcome by compare-and-swap, and gives back the lease. In Shared mode it
// writes no intent, and does not ask whether the Store has lost something. If a
// write gets no reply, the attempt reads the record to find out whether it
// happened. If a replica dies during an upstream call, the next attempt waits
// until that call must be over. It then presents the refresh token again.
//
// Replicas tell each other of sign-outs and superseded tokens by a bulletin in
// the Store. Each replica writes in a receipt how far it has read.
// [Cache.Purge] returns nil when every live replica has read of the sign-out. A
// replica whose last receipt is six seconds old is waited for no longer. If it
// is alive after all, because its process was stopped, it looks at the bulletin
// before it serves a token from memory; that takes a second at most. A replica
// that cannot reach the Store still serves valid tokens, even one that was
// signed out elsewhere meanwhile. Before a refresh token is spent, the cache
// makes sure that the Store has not lost writes, by a failover or a restart
// ([Epocher]). If it may have lost some, a roll call makes every live replica
// write back the records and sign-outs that it knows.
//
// This is the output of TestSimulation with -seeds 120: 4 replicas, 60-second
// tokens, 12 virtual minutes, and an upstream that revokes the grant when a
// spent refresh token is presented again. A seed can be replayed.
//
//	scenario                                 grants alive  most calls at once  callers refused
//	no fault                                 120/120       1                   0.00 %
//	5 % store timeouts                       120/120       1                   0.00 %
//	store away for 30 s                      120/120       1                   1.33 %
//	store restarted empty                    120/120       1                   0.00 %
//	leases lost, slow upstream               120/120       1                   0.00 %
//	clocks 30 s apart, 401 storms            120/120       1                   0.00 %
//	15 % lost replies, 60 s grace            120/120       1                   0.14 %
//	10 % hangs                               120/120       1                   0.08 %
//	30 % 429 with Retry-After                120/120       1                   0.02 %
//	crashes, 60 s grace                      120/120       1                   0.00 %
//	all but the clocks, 60 s grace           120/120       1                   0.29 %
//	no fault, neither lease nor intent       21/120        3                   43.80 %
//	clocks 30 s apart, 401 storms, no lease  29/120        2                   31.89 %
//	leases lost, slow upstream, no intent    0/120         4                   67.30 %
//
// A grant that meets several faults in a row can still be lost: lost replies of
// the upstream, replicas that crash during a call and calls that hang, until the
// upstream's grace is over. No protocol on this side can save it. The last three
// rows leave out parts of the protocol, to show that the parts are needed.
//
// # Flights
//
// Callers wait for an attempt with package internal/flight of this module, which
// is built on golang.org/x/sync/singleflight. A flight is started, joined and
// answered under the entry's lock. No caller joins an answered one. The attempt
// is finished when its outcome is saved and its lease is given back.
//
// If a provider ignores its context, callers get [providers.CodeTimeout] when
// FetchTimeout is over. The attempt continues, no second call of that grant is
// made beside it, and the grant stays blocked until the provider returns.
// [Stats].Overdue counts such grants and [Cache.Close] reports them.
//
// # Concurrency
//
// Everything is safe for concurrent use. [Cache.Close] ends the goroutines.
//
// # Clocks
//
// A token is served only while both the wall clock and the monotonic clock
// allow it. If the wall clock is set back, the times of a record are counted by
// the monotonic clock. The clocks of replicas may differ by half of Grace,
// and by two seconds if a lease is lost during a call or the Store has no leases.
// Leases and waits are counted by each process's monotonic clock.
//
// # Errors
//
// Errors are [*providers.Error], except for the error of the caller's own
// context. The provider's class decides what follows:
//
//   - After Transient and Permanent the grant fails fast for a while.
//   - After InDoubt the cache presents the same refresh token again after a
//     pause, at most six times if no caller asks. The answer shows whether the
//     first call spent it.
//   - GrantDead ends the refresh token.
//   - A refresh that is refused with Permanent may be about our own key. The
//     refresh token is kept, and a Generate, a Renew or a [Source] generates
//     once.
//   - If twenty grants, and half of those asked, die within a minute, the cache
//     takes that as our own fault too.
//
// A Store that cannot be reached is [providers.CodeBusy]. If a provider panics, calls
// runtime.Goexit, hangs or returns no token, its present callers get an error.
// Later callers are not affected.
//
// # Security
//
// Keys are digests. [Options].SealKeys encrypt the values in a Store. No event,
// log record or error contains a token, a subject or a tenant. A Cache, a
// Source, a Grant and Options print only their names.
package tokencache
