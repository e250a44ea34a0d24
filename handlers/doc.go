// Package handlers has the kit's drop-in endpoints for the tokens of a vendor.
// The vendor's key stays on the server:
//
//   - [Generate], [Refresh], [Verify] and [SignOut] broker tokens.
//   - [Redirect] sends a browser with a token to a vendor's page.
//   - [Users] calls a vendor's user management for verified persons.
//   - [JWKS] publishes our public keys.
//   - [Proxy] forwards calls with a token attached.
//   - [Mount] adds all endpoints that a vendor can serve.
//
// A handler makes its checks in one fixed order: cross-origin, method, media
// type, size, JSON, tenant, [Authorize], identity, token. There is no default
// answer to who may ask: every Config names its [Authorize].
//
// # Errors
//
// Every error is one JSON object (RFC 9457) with a stable code. [WriteError]
// gives the same shape to what an application puts before a handler:
//
//	400  invalid_json, invalid_field, tenant_required, tenant_invalid,
//	     tenant_conflict, identity_required, refresh_token_required
//	401  not_signed_in, refresh_rejected; grant_required: signed in, but the
//	     user has granted this service no access to the vendor
//	403  cross_origin, tenant_not_allowed, identity_mismatch, invalid_token
//	404  not_found
//	405  method_not_allowed
//	408  request_timeout: the body came later than the server waits
//	413  body_too_large: over 16 KiB
//	415  unsupported_media_type: a body is application/json, {} at the least;
//	     for Redirect also a form, for introspection only a form
//	421  misdirected_request
//	422  upstream_rejected_input
//	429  rate_limited
//	500  internal
//	502  upstream_credentials_rejected, upstream_error, upstream_bad_response,
//	     upstream_unreachable, upstream_rejected_token
//	503  upstream_busy, with Retry-After
//	504  upstream_timeout
//
// A 401 means one thing: refresh, or sign in. Only the Logger gets the words of
// the upstream and our own Go errors. If the client has gone, a handler cannot
// answer. It then panics with [http.ErrAbortHandler], which closes the
// connection, so that no client takes an empty answer for a success.
//
// # Concurrency
//
// Handlers are safe for concurrent use. They keep nothing about callers.
//
// # Security
//
// Set [http.Server.ReadTimeout], or bound slow bodies in another way: a handler
// waits for its body as long as the server lets it. Answers are no-store. Put
// CORS and rate limits before the handlers, with any library. If a cookie
// authenticates the caller, set Config.CrossOrigin.
package handlers
