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
// life it is renewed in the background, at a random time, so that one of
// several replicas renews and the others adopt. Callers wait only if there is
// no valid token. Each leaves when its own context ends. The call goes on,
// because the upstream does the work in any case. After a failed call, callers
// get the same error for a while; RetryAfter tells how long.
//
// Generate, Refresh and Purge of one grant use one record. A generate after a
// refresh therefore returns the refreshed pair, and no token from before a
// sign-out is handed out after it. The provider says what a grant is
// ([providers.Keyer]), and how many of its tokens may be valid
// ([providers.Moder]):
//
//	Shared     many tokens are valid; renewed ahead; continues without the Store
//	Rotating   the refresh token works once; fails closed without the Store
//	Exclusive  a new token ends the old one; never renewed ahead of expiry;
//	           fails closed without the Store
//
// # Life of a call
//
// These words are used: a record is all that is known of one grant. An entry is
// this process's place for a record, and its view is the record as the process
// knows it. An attempt is the work on a record. An intent is a note in the
// record that an attempt is about to call the upstream.
//
// A hit: [Source.Token] loads the entry's view and reads the clocks. Over a
// Store it also checks that the others still wait for this replica
// (Cache.informed in receipts.go). It does nothing else.
//
// A miss calls these functions in this order. Lines with a plus do something
// only over a Store.
//
//	  Cache.Generate         cache.go    names the record by a digest of the request
//	  Cache.fresh, current   cache.go    look into memory
//	  Cache.do               flight.go   returns an answer to the caller
//	+ Cache.attend           receipts.go looks for sign-outs first, if the others may
//	                                     no longer wait for this replica
//	  Cache.join             flight.go   under the entry's lock: answers from memory,
//	                                     joins the attempt under way, or starts one
//	  Cache.start            flight.go   starts an attempt as a flight; the caller
//	                                     waits with Ticket.Wait
//	  attempt.run            flight.go   the attempt's life, in a goroutine of the flight
//	  attempt.work           attempt.go  repeats acquire, writeIntent, perform and
//	                                     recordOutcome until the attempt is answered
//	  attempt.acquire        attempt.go  repeats load, decide and prepare until the
//	                                     attempt may act
//	+ attempt.loadShared     shared.go   waits until this replica is a member, and
//	                                     reads the record from the Store
//	+ record.Reconcile       internal/record/reconcile.go  joins it with what this
//	                                     process knows
//	  record.Decide          internal/record/decide.go  the decision, a function of
//	                                     its arguments
//	+ attempt.prepareShared  shared.go   takes the lease, after which acquire reads
//	                                     again; waits for another replica's call
//	+ shared.confirm         rollcall.go makes sure that the Store has lost nothing
//	                                     (not Shared)
//	  attempt.takeSlot       attempt.go  takes one of MaxFlights
//	+ attempt.writeIntent    shared.go   says which attempt is about to call, and
//	                                     checks the lease last (not Shared)
//	  attempt.perform        attempt.go  makes the upstream call
//	  attempt.recordOutcome  outcome.go  recordToken, recordSalvage or recordFailure;
//	                                     Record.Succeed, Salvage, Fail and Die say
//	                                     what changes
//	  attempt.persist        outcome.go  writes the index and the record: over a Store
//	                                     until they are durable; commit makes the
//	                                     record the entry's view
//	  attempt.answer         flight.go   wakes the callers; each checks whether a
//	                                     sign-out overtook it (entry.overtook)
//	  attempt.release        attempt.go  frees the slot, and the lease
//	  attempt.finish         flight.go   lets the next attempt of the entry work
//
// A refresh begins with [Cache.Refresh] in grant.go. It finds the record of the
// refresh token (Cache.findOwner in index.go) and continues with Cache.do.
//
// # Replicas
//
// Rotating and Exclusive grants follow a protocol: load the record, take its
// lease, load again, write the intent to spend the refresh token, call, write
// the outcome by compare-and-swap, release the lease. If a write gets no reply,
// the attempt reads the record to find out whether it happened. If a caller
// dies during a call, its successor waits until the call must be over, and then
// finds out its outcome.
//
// Replicas tell each other of sign-outs and superseded tokens by a bulletin in
// the Store. Each replica writes in a receipt how far it has read.
// [Cache.Purge] returns nil when every live replica has read of the sign-out. A
// replica whose last receipt is six seconds old is waited for no longer. If it
// is alive after all, because its process was stopped, it looks at the bulletin
// before it serves a token from memory. A replica that cannot reach the Store
// serves valid tokens on, also one that was signed out elsewhere meanwhile.
// Before a refresh token is spent, the cache makes sure that the Store has not
// lost writes, by a failover or a restart ([Epocher]). If it may have lost
// some, a roll call makes every live replica write back the records and
// sign-outs that it knows.
//
// This is the output of TestSimulation with -seeds 120: 4 replicas, 60-second
// tokens, 12 virtual minutes, and an upstream that revokes the grant when a
// spent refresh token is presented again. A seed can be replayed.
//
//	scenario                                 grants alive  most calls at once  callers refused
//	no fault                                 120/120       1                   0.00 %
//	5 % store timeouts                       120/120       1                   0.00 %
//	store away for 30 s                      120/120       1                   1.45 %
//	store restarted empty                    120/120       1                   0.00 %
//	leases lost, slow upstream               120/120       1                   0.00 %
//	clocks 30 s apart, 401 storms            120/120       1                   0.00 %
//	15 % lost replies, 60 s grace            120/120       1                   0.16 %
//	10 % hangs                               120/120       1                   0.06 %
//	30 % 429 with Retry-After                120/120       1                   0.01 %
//	crashes, 60 s grace                      120/120       1                   0.00 %
//	all but the clocks, 60 s grace           120/120       1                   0.32 %
//	no fault, neither lease nor intent       48/120        3                   31.60 %
//	clocks 30 s apart, 401 storms, no lease  30/120        2                   34.11 %
//	leases lost, slow upstream, no intent    1/120         4                   71.21 %
//
// A grant that meets several faults in a row can still be lost: lost replies of
// the upstream, holders that crash and calls that hang, until the upstream's
// grace is over. No protocol on this side can save it. The last three rows leave
// out parts of the protocol, to show that the parts are needed.
//
// # Flights
//
// A flight is one of internal/flight, on golang.org/x/sync/singleflight. It is
// started, joined and answered under the entry's lock, and no caller joins an
// answered flight. Its attempt is finished when the outcome is saved and the
// lease released.
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
// the monotonic clock. The clocks of replicas may differ by half of Grace.
// Leases and waits are counted by each process's monotonic clock.
//
// # Errors
//
// Errors are [*providers.Error], except for the error of the caller's own
// context. The provider's class decides what follows:
//
//   - After Transient and Permanent the grant fails fast for a while.
//   - After InDoubt the cache finds out the outcome before it presents the
//     refresh token again.
//   - GrantDead ends the refresh token.
//   - A refresh that is refused with Permanent may be about our own key. The
//     refresh token is kept, and a [Source] generates once.
//   - If twenty grants, and half of those asked, die within a minute, the cache
//     takes that as our own fault too.
//
// A dead Store is [providers.CodeBusy]. If a provider panics, calls
// runtime.Goexit, hangs or returns no token, its present callers get an error.
// Later callers are not affected.
//
// # Security
//
// Keys are digests. [Options].SealKeys encrypt the values in a Store. No event,
// log record or error contains a token, a subject or a tenant. A Cache, a
// Source and Options print only their names.
package tokencache
