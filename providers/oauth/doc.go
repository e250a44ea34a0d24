// Package oauth takes tokens from any RFC 6749 token endpoint, as the client
// itself (client_credentials) or for users who gave a grant (refresh_token).
// It also introspects (RFC 7662) and revokes (RFC 7009).
//
// A [Provider] has one grant type, so that a user's token can never become the
// client's own: with client_credentials a request that names a subject is
// refused; with refresh_token one that names none has no key, and Generate
// always fails. A user's first token pair comes from a login elsewhere and is
// handed over with the token cache's Adopt.
//
// What a [providers.Request] says replaces what the [Config] says: Scopes,
// Audience, and each of Params by name. A refresh sends a scope only if the
// request has one, for without it the grant keeps its own (RFC 6749 section 6).
//
// Answers are read with tolerance: token_type in any case or absent, expires_in
// as number or string or absent, scope as string or array, a refresh answer
// without a refresh token, errors in a 2xx, empty, or no JSON at all. If
// the access token is a JWT that ends before expires_in does, its exp counts.
//
// # Concurrency
//
// A Provider is immutable and safe for concurrent use.
//
// # Errors
//
// Every error is an [*providers.Error]:
//
//   - invalid_grant on a refresh is [providers.GrantDead] with
//     [providers.CodeRefreshRejected].
//   - Any other 4xx with an error code of RFC 6749 section 5.2 is
//     [providers.Permanent]; invalid_client and unauthorized_client are
//     [providers.CodeCredentialsRejected].
//   - A 4xx without one is [providers.Transient], for a proxy answered.
//   - A refresh that was sent and got no answer, or a 5xx, is
//     [providers.InDoubt].
//   - Refresh, Verify and Revoke that are not configured wrap
//     [errors.ErrUnsupported].
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
// https unless its host is a loopback address. A client assertion has an
// identifier of its own, is signed for one attempt and lives for two minutes.
// Only Bearer tokens are accepted: one bound to a key (DPoP) is an error.
package oauth
