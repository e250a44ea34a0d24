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
// A hit: [Source.Token] loads the entry's view and looks at both clocks. That is
// all.
//
// A miss without a Store, in the order of the functions:
//
//	Cache.Generate        cache.go     names the record by a digest of the request
//	Cache.current         cache.go     looks into memory
//	Cache.do              flight.go    brings the caller to an answer
//	Cache.join            flight.go    under the entry's lock: answers from memory,
//	                                   joins the attempt under way, or starts one
//	attempt.run           flight.go    the attempt, in a goroutine of singleflight
//	attempt.work          attempt.go   the loop over the five steps that follow
//	attempt.acquire       attempt.go   reads the record, decides, takes a slot
//	record.Decide         internal/record  the decision, a function of its arguments
//	attempt.writeIntent   shared.go    nothing without a Store
//	attempt.perform       attempt.go   the upstream call
//	attempt.recordOutcome attempt.go   a new token, a failure, or a dead grant;
//	                                   record.Succeed, Fail and Die say what changes
//	attempt.answer        flight.go    wakes the callers
//	attempt.finish        flight.go    frees the entry for the next attempt
//
// A refresh over a Store takes the same way. These steps are added:
//
//	Cache.findOwner       index.go     finds the record of the refresh token
//	attempt.loadShared    shared.go    reads the record from the Store;
//	record.Reconcile      internal/record  joins it with what this process knows
//	attempt.prepareShared shared.go    takes the lease, which makes acquire read
//	                                   again; waits for a call of another replica;
//	shared.confirm        notices.go   makes sure that the Store has lost nothing
//	attempt.writeIntent   shared.go    writes which replica is about to call, and
//	                                   looks at the lease last
//	attempt.persist       attempt.go   index of the new refresh token, then the
//	                                   record; tried until it is durable
//	attempt.release       attempt.go   gives the lease back
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
// the Store, and each says how far it has read: [Cache.Purge] returns nil when
// every live replica has read of it. Before a refresh token is spent, the cache
// makes sure that the Store has not lost writes since, by a failover or a
// restart ([Epocher]). If it may have, every live replica first writes back the
// records and sign-outs that it knows.
//
// This is what TestSimulation prints with -seeds 500: 4 replicas,
// 60-second tokens, 12 virtual minutes, an upstream that revokes the grant when
// a spent refresh token comes again. A seed replays.
//
//	scenario                                 grants alive  most calls at once  callers refused
//	no fault                                 500/500       1                   0.00 %
//	5 % store timeouts                       500/500       1                   0.00 %
//	store away for 30 s                      500/500       1                   1.49 %
//	store restarted empty                    500/500       1                   0.00 %
//	leases lost, slow upstream               500/500       1                   0.00 %
//	clocks 30 s apart, 401 storms            500/500       1                   0.00 %
//	15 % lost replies, 60 s grace            500/500       1                   0.14 %
//	10 % hangs                               500/500       1                   0.06 %
//	30 % 429 with Retry-After                500/500       1                   0.01 %
//	crashes, 60 s grace                      500/500       1                   0.00 %
//	all but the clocks, 60 s grace           496/500       1                   0.70 %
//	no fault, neither lease nor intent       146/500       3                   35.66 %
//	clocks 30 s apart, 401 storms, no lease  108/500       2                   34.33 %
//	leases lost, slow upstream, no intent    5/500         4                   67.79 %
//
// The four grants that were lost in "all but the clocks" met three or more faults in a
// row: the upstream's reply was lost, and the next holders crashed or their
// calls hung, until the upstream's grace of 60 s was over. No protocol on this
// side saves them. The last three rows leave parts of the protocol out, to show
// that they are needed.
//
// # Flights
//
// A flight is internal/flight's, on golang.org/x/sync/singleflight. It starts
// and is joined under the entry's lock. It is answered under that lock too, and
// nobody joins an answered flight. The attempt behind it is finished when its
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
