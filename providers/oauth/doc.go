// Package oauth takes tokens from any RFC 6749 token endpoint: as the client
// itself, for users who gave a grant, or on behalf of a caller whose token is
// exchanged. It also introspects (RFC 7662) and revokes (RFC 7009).
//
// # Grants
//
// A [Provider] has one grant type, so that one kind of token never becomes
// another:
//
//   - client_credentials, and any other grant by name, issue the client's own
//     tokens. A request that names a subject is refused.
//   - refresh_token renews the grants of users. Generate always fails with
//     [providers.CodeGrantRequired]. A user's first pair comes from
//     [Provider.Exchange] or from a login elsewhere, and goes to the token
//     cache's Adopt.
//   - token_exchange (RFC 8693) and jwt_bearer (RFC 7523 section 2.1) issue a
//     token for the caller's own token, [providers.Request].Assertion. Without
//     one the call fails.
//
// What a [providers.Request] says replaces what the [Config] says: Scopes,
// Audience, and each of Params by name. A refresh sends a scope only if the
// request has one, for without it the grant keeps its own (RFC 6749 section 6).
//
// # Answers
//
// Answers are read with tolerance: JSON or, by Content-Type, a form; token_type
// in any case or absent, expires_in as number or string or absent, scope as
// string or array, a refresh answer without a refresh token, errors in a 2xx,
// empty, or no JSON at all. Numbers in Extra are [json.Number] and keep their
// digits. If the access token is a JWT that ends before expires_in does, its exp
// counts. A refresh answered with a new refresh token and no access token that
// can be used returns the new one beside the error, see [providers.Refresher].
//
// # Concurrency
//
// A Provider is immutable and safe for concurrent use.
//
// # Errors
//
// Every error is an [*providers.Error]:
//
//   - A refresh token is dead, [providers.GrantDead] with
//     [providers.CodeRefreshRejected], by invalid_grant, login_required,
//     bad_refresh_token (GitHub), invalid_refresh_token (Slack),
//     BAD_REFRESH_TOKEN in the member status (HubSpot), dex's two texts for
//     invalid_request, and interaction_required or consent_required where
//     nothing further was asked for; also in error objects and lists.
//     [Config].Classify is asked before, and adds to these.
//   - Beside a 3xx, a 5xx, 408, 425 and 429 the same codes end it where the
//     answer has the form of RFC 6749 section 5.2: one whole JSON object without
//     a member twice, and the code in its member error. So does invalid_grant
//     for a code or a caller's token. In any other form the status decides.
//   - invalid_grant while our signed assertion and the server's clock are over
//     ten seconds apart is in doubt, for it may be about the assertion.
//   - invalid_grant for a caller's token is [providers.CodeNotSignedIn]; for a
//     code, [providers.CodeGrantRequired].
//   - Any other 4xx with an error code is [providers.Permanent];
//     invalid_client and unauthorized_client are
//     [providers.CodeCredentialsRejected].
//   - A 4xx without one is [providers.Transient], for a proxy may have answered,
//     and is repeated at most twice a minute.
//   - A refresh that was sent and got no answer, or any other 5xx, is
//     [providers.InDoubt].
//   - What is not configured wraps [errors.ErrUnsupported].
//
// A code from the fixed list of the RFCs appears in the description. The
// server's own words never do; errors.As with the type
//
//	interface{ OAuthError() (code, description string) }
//
// gets at them.
//
// # Security
//
// Redirects are never followed, so that credentials reach one URL, which is
// https unless its host is a loopback address. A client assertion that we sign
// has a new identifier, is signed for one attempt and lives for two
// minutes. A caller's token is sent only if its issuer is one of
// [Config].Issuers; the application verifies it before. Only Bearer tokens are accepted: one bound to a key (DPoP) is an
// error. A token of type N_A, which token_exchange returns where the
// configuration asks for an assertion, is not to be presented to an API.
package oauth
