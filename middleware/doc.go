// Package middleware checks the bearer tokens of incoming requests, and puts
// bearer tokens on outgoing requests.
//
// # Inbound
//
// An [Authenticator] accepts JWTs of one or several issuers. Their keys come
// from a JWK Set, from discovery, or from the configuration. It accepts opaque
// tokens by asking the server that issued them.
//
//	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
//		Issuer: "https://id.example.com", Audiences: []string{"https://api.example.com"},
//		Algorithms: []string{"RS256", "ES256"}, Discover: true,
//	}}})
//	mux.Handle("/orders", auth.Handler(orders))
//
// [Authenticator.Check] decides, [Authenticator.Handler] wraps a handler and
// [Authenticator.Deny] answers. [Authenticator.Verify] takes a token that came
// by gRPC, a websocket or a queue. [Authenticator.Require] adds the demands of
// one route. In a wrapped handler, [Subject], [ClaimsFrom] and [VerifiedFrom]
// read the request's context. There is no list of paths to skip: mount Handler
// on the routes that are protected.
//
// A token is verified in this order, so that cheap checks come before expensive
// ones and before the network: length; form; header; expiry and the other
// registered claims; issuer; the demands of its entry; key; signature;
// revocation; rules. A key set is fetched only for a token that passes all
// checks before the signature. The answer says that a token has expired only if
// its signature is good. For a day after a token's end its signature is still
// checked, with the keys in memory.
//
// A key set is fetched when the first token needs it or when
// [Authenticator.Ready] is called. It is refreshed in the background, and kept
// for a day while its issuer cannot be reached. A kid that the set does not
// have causes a fetch: one for all requests that wait, at most five at once,
// and then one in ten seconds. Tokens without kid have a separate limit. Each
// request waits no longer than its own deadline. Ages are measured on two
// clocks, the wall clock and the monotonic clock, and the larger age counts. A
// clock that is set, or a suspended machine, therefore does not keep a
// withdrawn key in use.
//
// # Issuers
//
// [Config.Issuers] lists the known issuers. Several entries may have one
// Issuer. The algorithm and the kid then choose one entry, and all its checks
// and its keys apply together. An entry whose Issuer is a template is for the
// tenants of Microsoft Entra.
//
// [Config.Resolve] finds issuers that are not known at the start. It is called
// after every check that needs no issuer. Its answers are used for five
// minutes, and for fifteen while it fails. Keys of its issuers are fetched over
// https, and not from loopback, private or link-local addresses.
//
// The document docs/identity-providers.md has configurations by provider.
//
// # Subjects
//
// Two issuers may both have a user u1. If there is more than one source of
// tokens, each must say whether its subjects are [Own] or [Qualified].
// [Subject] returns a qualified subject together with its issuer. The vendors
// of the kit refuse that form as a user id, so the application must map it to
// one:
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
// [TokenSource]. On a 401 it renews the token once and sends the request again.
//
// # Events of the Authenticator
//
// [Config.Observer] gets events of these kinds, all with the Source
// "authenticator". [Authenticator.Stats] counts the same without an Observer.
//
//	accepted        a token passed: Op "remembered", "verified" or "renewed"
//	refused         a token did not pass: Outcome is the Reason of the Error, or
//	                "rule" for a Reason that a Rule chose; N is the status
//	renewed         Renew.Token returned a token that passed; Duration
//	renewal_failed  Renew.Token did not; Outcome as for the Transport
//	keys_fetched    a key set was fetched: Op "first", "same" or "changed" (a
//	                rotation); Duration
//	keys_failed     a fetch failed; N is how many failed in a row
//	keys_stale      the first refresh failed, and the old set stays in use
//	keys_back       a fetch succeeded after N that failed
//	verdict         an Opaque's Verifier was called: Outcome "ok", "not_valid",
//	                or the failure; Duration
//
// # Events of the Transport
//
// [Transport.Observer] gets events of these kinds, all with the Source
// "transport". The Outcome of a failure is the class of a *providers.Error,
// "canceled", "timeout" or "error".
//
//	sent            a request was sent: Op "first", or "bare" without a token; N is
//	                the status, 0 without an answer; Duration lasts to the headers
//	refused         the answer refused the token: Outcome "rejected", or the code of
//	                a ChallengeError; N is the status
//	renewed         there is a new token; Duration is that of the renewal
//	renewal_failed  there is no new token; Outcome also "same_token"
//	replayed        the request was sent again: Op "replay"; N and Duration as for sent
//	not_replayable  the body could not be sent again
//	no_token        the TokenSource failed, and the request was not sent
//
// # Concurrency
//
// Everything is safe for concurrent use. Requests share a [Verified], so it
// must not be changed. The result of [ClaimsFrom] belongs to the caller. The
// only goroutines are those of fetches, renewals, and calls of Resolve and of
// Verifiers. Each ends within half a minute if the function that it calls obeys
// its context, so nothing needs to be closed.
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
//	408                   the body, a form that may hold the token, came too late
//	503 with Retry-After  it is not known whether the token is good: there are no
//	                      keys; a verifier, a revocation store, Resolve or the
//	                      provider that renews is down; or too many questions
//	                      wait for a verifier
//
// [Error.Err] says what was wrong: which claim or header, and its value.
//
// An outage is not answered 401, because a 401 makes every client refresh its
// token at once. A token that has expired is an exception: if there is no key
// for it, the answer is 401.
//
// # Security
//
// The kit has its own parser of tokens. It accepts one spelling per token. It
// refuses ambiguous JSON and crit. It takes no key from a token and fetches
// nothing that a token names. keyfunc picks the key among those of the token's
// entry, and golang-jwt checks the signature. The parser refuses a name that
// looks like one that the kit uses; all other names are case-sensitive. A token
// bound to a key by cnf is refused, because a bearer does not prove that it has
// the key.
//
// Answers contain fixed texts only. The log gets causes at Debug. They quote
// claims and never a token. Verified tokens are kept in memory, unhashed, until
// they leave the cache. CacheSize bounds the cache in entries and bytes, and
// can switch it off.
//
// # Frameworks
//
// chi takes Handler as a middleware. echo takes it by echo.WrapMiddleware.
// gin's WrapH loses the request that Handler made: a handler of three lines
// must put its context into the gin.Context. The examples show it.
package middleware
