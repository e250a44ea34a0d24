// Package middleware checks the bearer tokens of incoming requests, and puts
// bearer tokens on outgoing ones.
//
// # Inbound
//
// An [Authenticator] accepts JWTs of one or several issuers, whose keys come
// from a JWK Set, from discovery, or from the configuration, and opaque tokens
// by asking whoever issued them:
//
//	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
//		Issuer: "https://id.example.com", Audiences: []string{"https://api.example.com"},
//		Algorithms: []string{"RS256", "ES256"}, Discover: true,
//	}}})
//	mux.Handle("/orders", auth.Handler(orders))
//
// [Authenticator.Check] decides, [Authenticator.Handler] wraps and
// [Authenticator.Deny] answers; [Authenticator.Verify] takes a token that came
// by gRPC, a websocket or a queue. [Authenticator.Require] adds what one route
// demands. Behind Handler, [Subject], [ClaimsFrom] and [VerifiedFrom] read the
// request's context. There is no list of paths to skip: mount Handler on the
// routes that are protected.
//
// A token is verified in this order, so that what is cheap comes before what
// is dear, and before the network: length; form; header; issuer; expiry and
// the other registered claims; key; signature; revocation; rules. Only a token
// that would pass everything but the signature may cause a key set to be
// fetched. A token that expired is said to have expired only if its signature
// is good, which is looked at for a day after its end, with the keys at hand.
//
// A key set is fetched when the first token needs it ([Authenticator.Ready]
// starts it too), refreshed behind the requests' backs, and kept for a day
// while its issuer cannot be reached. An unknown kid has it fetched again: once
// for all requests that wait, at most five times at once and then once in ten
// seconds. Whoever waits keeps its own deadline.
//
// # Outbound
//
// A [Transport] is an http.RoundTripper that attaches the token of a
// [TokenSource], and on a 401 renews it once and sends the request again.
//
// # Events of the Authenticator
//
// [Config.Observer] gets events of these kinds, all with the Source
// "authenticator". [Authenticator.Stats] counts the same without an Observer.
//
//	accepted        a token passes: Op "remembered", "verified" or "renewed"
//	refused         it does not: Outcome is the Reason of the Error, or "rule" for
//	                one that a Rule made up; N is the status
//	renewed         Renew.Token brought a token that passes; Duration
//	renewal_failed  it did not; Outcome as for the Transport
//	keys_fetched    a key set was fetched: Op "first", "same" or "changed", which is a
//	                rotation; Duration
//	keys_failed     it could not be; N fetches in a row failed
//	keys_stale      the first refresh failed, and the set in hand stays in use
//	keys_back       the first fetch after N failed ones succeeded
//	verdict         an Opaque's Verifier was asked: Outcome "ok", "not_valid", or
//	                what failed; Duration
//
// # Events of the Transport
//
// [Transport.Observer] gets events of these kinds, all with the Source
// "transport". The Outcome of a failure is the class of a *providers.Error,
// "canceled", "timeout" or "error".
//
//	sent            a request went out: Op "first", or "bare" without a token; N is
//	                the status, 0 without an answer; Duration is until the headers
//	refused         the answer refused the token: Outcome "rejected", or the code of
//	                a ChallengeError; N is the status
//	renewed         a new token is there; Duration is that of the renewal
//	renewal_failed  there is none; Outcome also "same_token"
//	replayed        the request went out again: Op "replay"; N and Duration as for sent
//	not_replayable  the body could not be sent again
//	no_token        the TokenSource failed, and the request was not sent
//
// # Concurrency
//
// Everything is safe for concurrent use. A [Verified] is shared between
// requests and must not be changed; what [ClaimsFrom] returns is the caller's
// own. There are no goroutines but fetches and renewals under way, which end
// within seconds by themselves, so that nothing needs closing.
//
// # Errors
//
// A refusal is an [*Error]:
//
//	400 invalid_request   two tokens, or credentials that are malformed
//	401                   no Bearer credentials
//	401 invalid_token     malformed, not ours, expired, forged, withdrawn
//	401 insufficient_user_authentication   RFC 9470: acr or max_age
//	403 insufficient_scope                 a rule is not met
//	503 with Retry-After  nobody can tell: no keys, or a verifier or a
//	                      revocation store is down
//
// An outage is never answered 401, for that makes every client refresh its
// token at once.
//
// # Security
//
// Tokens are read by a parser of the kit's own: one spelling per token, no
// ambiguous JSON, no crit, no key taken from a token. A token bound to a key
// by cnf is refused, for a bearer does not prove that it has the key. Answers
// hold fixed texts alone, and nothing of a token is logged. Verified tokens are
// kept in memory as they are until they fall out of the cache; CacheSize
// bounds it, and can switch it off.
//
// With frameworks: chi takes Handler as a middleware; echo by
// echo.WrapMiddleware; gin's WrapH loses the request that Handler made, so
// that its context must be put into the gin.Context by a handler of three
// lines, which the examples show.
package middleware
