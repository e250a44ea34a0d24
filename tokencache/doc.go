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
// life it is renewed behind its callers' backs, at a moment drawn at random so
// that of several replicas one renews and the others adopt. Callers wait only
// where there is nothing valid to serve, and each leaves when its own context
// ends; the call goes on, for the upstream will have done the work. A call that
// failed is answered with the same error for a while, which RetryAfter tells.
//
// Generate, Refresh and Purge of one grant are one record, so that a generate
// after a refresh returns the refreshed pair, and nothing issued before a
// sign-out is handed out after it. What a grant is, the provider says
// ([providers.Keyer]), as how many tokens of it may live ([providers.Moder]):
//
//	Shared     many; renewed ahead; goes on without the Store
//	Rotating   the refresh token works once; fails closed without the Store
//	Exclusive  a new token ends the old one; never renewed ahead of expiry;
//	           fails closed without the Store
//
// # Replicas
//
// Rotating and Exclusive grants follow a protocol: load the record, take its
// lease, load again, write the intent to spend the refresh token, call, write
// the outcome by compare-and-swap, let go of the lease. A write without a reply
// is resolved by reading back. What became of a call whose caller died is found
// out by its successor, which waits until the call must be over. This is what
// TestSimulation prints: 4 replicas, 60-second tokens, 12 virtual minutes, an
// upstream that revokes the grant when a spent refresh token comes again.
//
//	scenario                                 grants alive  most calls at once  callers refused
//	no fault                                 40/40         1                   0.00 %
//	5 % store timeouts                       40/40         1                   0.00 %
//	store away for 30 s                      40/40         1                   1.43 %
//	store restarted empty                    40/40         1                   0.00 %
//	leases lost, slow upstream               40/40         1                   0.00 %
//	clocks 30 s apart, 401 storms            40/40         1                   0.00 %
//	15 % lost replies, 60 s grace            40/40         1                   0.10 %
//	10 % hangs                               40/40         1                   0.02 %
//	30 % 429 with Retry-After                40/40         1                   0.01 %
//	crashes, 60 s grace                      40/40         1                   0.00 %
//	all but the clocks, 60 s grace           40/40         1                   0.16 %
//	no fault, neither lease nor intent       7/40          3                   48.94 %
//	clocks 30 s apart, 401 storms, no lease  5/40          2                   39.19 %
//	leases lost, slow upstream, no intent    0/40          4                   65.06 %
//
// # Flights
//
// A flight is not golang.org/x/sync/singleflight's: a caller that wants a newer
// token than the one on its way, a sign-out, and a token that is served before
// it is stored all need to see into the flight, and a provider that calls
// runtime.Goexit would leave singleflight's waiters hanging.
//
// # Concurrency
//
// Everything is safe for concurrent use. [Cache.Close] ends the goroutines.
//
// # Errors
//
// Errors are [*providers.Error], but for the caller's own context error. The
// provider's class decides: Transient and Permanent open the window in which a
// grant fails fast, InDoubt makes the cache look into the outcome before the
// refresh token is presented again, GrantDead ends the refresh token. A dead
// Store is [providers.CodeBusy]. A provider that panics, calls runtime.Goexit,
// hangs or returns no token costs its callers an error, and no later one.
//
// # Security
//
// Keys are SHA-256 digests; [Options.SealKeys] encrypts what goes into a Store.
// No token, subject or tenant is in an [Event], a log record or an error, and a
// Cache, Source or Options prints as its name.
package tokencache
