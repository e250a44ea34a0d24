// Package middleware checks the bearer tokens of incoming requests, and puts
// bearer tokens on outgoing ones.
//
// # Inbound
//
// An [Authenticator] accepts JWTs of one or several issuers, whose keys come
// from a JWK Set, from discovery, or from the configuration, and opaque tokens
// by asking the server that issued them:
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
// A token is verified in this order, so that cheap checks come before expensive
// ones and before the network: length; form; header; expiry and the other
// registered claims; issuer; what its entry demands; key; signature;
// revocation; rules. Only a token that would pass everything but the signature
// may cause a key set to be fetched. A token is said to have expired only if
// its signature is good. The signature is checked for a day after the token's
// end, with the keys in memory.
//
// A key set is fetched when the first token needs it ([Authenticator.Ready]
// starts it too), refreshed in the background, and kept for a day while its
// issuer cannot be reached. A kid that the set does not have causes a fetch:
// one for all requests that wait, at most five at once and then one in ten
// seconds. Tokens without kid have a budget of their own. Each waiter keeps its
// own deadline. Ages are measured on two clocks, the wall clock and the
// monotonic one, and the larger age counts: neither a clock that is set nor a
// suspended machine keeps a withdrawn key in use.
//
// # Issuers
//
// [Config.Issuers] lists the issuers that are known. Several entries may have
// one Issuer: the algorithm and the kid choose one of them, and all its checks
// and its key apply together. An entry whose Issuer is a template is for the
// tenants of Microsoft Entra. [Config.Resolve] finds issuers that are not known
// at the start. It is asked after every check that needs no issuer, its answers
// are used for five minutes, and for fifteen while it fails. What it names is
// fetched over https, and not from loopback, private or link-local addresses.
// The document docs/identity-providers.md has configurations by provider.
//
// # Subjects
//
// Two issuers may both have a user u1. With more than one source of tokens each
// says whether its subjects are [Own] or [Qualified]. [Subject] returns a
// qualified subject together with its issuer. The vendors of the kit refuse
// that form as a user id, so that the application maps it to one:
//
//	handlers.SubjectFrom(func(ctx context.Context) (string, bool) {
//		if v, ok := middleware.VerifiedFrom(ctx); ok && v.Issuer == partner {
//			return "partner-" + v.Subject, true
//		}
//		return middleware.Subject(ctx)
//	})
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
// own. The only goroutines are those of fetches and renewals under way. They end
// within seconds, so that nothing needs closing.
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
//	503 with Retry-After  it is not known whether the token is good: there are no
//	                      keys, or a verifier, a revocation store or Resolve
//	                      is down, or too many questions wait for a verifier
//
// [Error.Err] says what was wrong: which claim or header, and what it was.
//
// An outage is never answered 401, for that makes every client refresh its
// token at once.
//
// # Security
//
// Tokens are read by a parser of the kit's own: one spelling per token, no
// ambiguous JSON, no crit, no key taken from a token, nothing fetched that a
// token names. keyfunc picks the key among those of the token's entry, and
// golang-jwt checks the signature. A name that looks like one that decides is
// refused; all other names are case-sensitive. A token bound to a key
// by cnf is refused, for a bearer does not prove that it has the key. Answers
// hold fixed texts alone. The log gets causes at Debug, which quote claims and
// never a token. Verified tokens are kept in memory as they are until they fall
// out of the cache. CacheSize bounds it in entries and bytes, and can switch it
// off.
//
// With frameworks: chi takes Handler as a middleware; echo by
// echo.WrapMiddleware; gin's WrapH loses the request that Handler made, so
// that its context must be put into the gin.Context by a handler of three
// lines, which the examples show.
package middleware
