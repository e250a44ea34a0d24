// Package tokencache keeps the current token of every grant, and is the one
// place from which a vendor's token endpoint is called: one call per grant at a
// time, in one process or, over a [Store], in many.
//
//	cache, err := tokencache.New(vendor, tokencache.Options{})
//	token, err := cache.Generate(ctx, req)            // the current token
//	token, err = cache.Renew(ctx, req, token)         // it was refused: a newer one
//	source := cache.Source(req)                       // the same for one request, cheaper
//
// A token is served until shortly before it expires. In the last part of its
// life it is renewed in the background, at a moment drawn at random, so that
// one of several replicas renews and the others adopt. Callers wait only where
// there is nothing valid to serve, and each leaves when its own context ends;
// the call goes on, for the upstream will have done the work. A call that
// failed is answered with the same error for a while, which RetryAfter tells.
//
// Generate, Refresh and Purge of one grant are one record, so that a generate
// after a refresh returns the refreshed pair, and nothing issued before a
// sign-out is handed out after it. What a grant is, the provider says
// ([providers.Keyer]), and how many tokens of it may live ([providers.Moder]):
//
//	Shared     many; renewed ahead; goes on without the Store
//	Rotating   the refresh token works once; fails closed without the Store
//	Exclusive  a new token ends the old one; never renewed ahead of expiry;
//	           fails closed without the Store
//
// # Life of a call
//
// Words: a record is all that is known of one grant. An entry is this process's
// place for a record, and its view is the record as the process knows it. An
// attempt is the work on a record. An intent is the note, in the record, that an
// attempt is about to call the upstream.
//
// A hit: [Source.Token] loads the entry's view and looks at both clocks. That is
// all.
//
// A miss goes through these functions in this order. Lines with a plus do
// something over a Store alone.
//
//	  Cache.Generate         cache.go    names the record by a digest of the request
//	  Cache.fresh, current   cache.go    look into memory
//	  Cache.do               flight.go   brings the caller to an answer
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
//	  attempt.takeSlot       attempt.go  one of MaxFlights
//	+ attempt.writeIntent    shared.go   says who is about to call, and looks at the
//	                                     lease last (not Shared)
//	  attempt.perform        attempt.go  the upstream call
//	  attempt.recordOutcome  outcome.go  recordToken, recordSalvage or recordFailure;
//	                                     Record.Succeed, Salvage, Fail and Die say
//	                                     what changes
//	  attempt.persist        outcome.go  points the index at the record, and saves it:
//	                                     over a Store until it is durable; commit makes
//	                                     it the entry's view
//	  attempt.answer         flight.go   wakes the callers; each looks whether a
//	                                     sign-out overtook it (entry.overtook)
//	  attempt.release        attempt.go  frees the slot, and the lease
//	  attempt.finish         flight.go   lets the next attempt of the entry work
//
// A refresh begins with [Cache.Refresh] in grant.go, which finds the record of
// the refresh token (Cache.findOwner in index.go), and goes on with Cache.do.
//
// # Replicas
//
// Rotating and Exclusive grants follow a protocol: load the record, take its
// lease, load again, write the intent to spend the refresh token, call, write
// the outcome by compare-and-swap, release the lease. A write without a reply
// is resolved by reading back. What became of a call whose caller died is found
// out by its successor, which waits until the call must be over.
//
// Replicas tell each other of sign-outs and superseded tokens by a bulletin in
// the Store, and each says in a receipt how far it has read: [Cache.Purge] returns nil when
// every live replica has read of it. Before a refresh token is spent, the cache
// makes sure that the Store has not lost writes since, by a failover or a
// restart ([Epocher]). If it may have, a roll call has every live replica
// write back the records and sign-outs that it knows.
//
// This is what TestSimulation prints with -seeds 120: 4 replicas,
// 60-second tokens, 12 virtual minutes, an upstream that revokes the grant when
// a spent refresh token comes again. A seed replays.
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
//	all but the clocks, 60 s grace           119/120       1                   0.79 %
//	no fault, neither lease nor intent       48/120        3                   31.60 %
//	clocks 30 s apart, 401 storms, no lease  30/120        2                   34.11 %
//	leases lost, slow upstream, no intent    1/120         4                   71.21 %
//
// The grant that was lost in "all but the clocks" (seed 22) met several faults in
// a row: replies of the upstream that were lost, holders that crashed and calls
// that hung, until the upstream's grace of 60 s was over. No protocol on this
// side saves it. The last three rows leave parts of the protocol out, to show
// that they are needed.
//
// # Flights
//
// A flight is internal/flight's, on golang.org/x/sync/singleflight. It starts
// and is joined under the entry's lock. It is answered under that lock too, and
// no caller joins an answered flight. The attempt behind it is finished when its
// outcome is saved and its lease released.
//
// A provider that ignores its context keeps its attempt: callers get
// [providers.CodeTimeout] when FetchTimeout is over, no second call of that
// grant is made beside the first, and the grant stays blocked until the
// provider returns. [Stats].Overdue counts such grants and [Cache.Close] reports
// them.
//
// # Concurrency
//
// Everything is safe for concurrent use. [Cache.Close] ends the goroutines.
//
// # Clocks
//
// A token is served only while the wall clock and the monotonic clock allow it.
// What is counted from a record's times goes on by the monotonic clock when the
// wall clock is set back. The clocks of replicas may differ by the half of
// Grace; leases and waits are counted by each process's monotonic clock.
//
// # Errors
//
// Errors are [*providers.Error], but for the caller's own context error. The
// provider's class decides: Transient and Permanent open the window in which a
// grant fails fast, InDoubt makes the cache look into the outcome before the
// refresh token is presented again, GrantDead ends the refresh token. A refusal
// of a refresh that is Permanent may be about our own key: the refresh token
// stays, and a [Source] generates once. When twenty grants and half of those
// asked die within a minute, that is taken for our own fault too. A dead Store
// is [providers.CodeBusy]. A provider that panics, calls runtime.Goexit, hangs
// or returns no token costs its callers an error, and no later one.
//
// # Security
//
// Keys are digests; [Options].SealKeys encrypts what goes into a Store. No
// token, subject or tenant is in an event, a log record or an error, and a
// Cache, Source or Options prints as its name.
package tokencache
