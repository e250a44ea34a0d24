// Package handlers is the kit's drop-in endpoints: [Generate], [Refresh],
// [Verify] and [SignOut] broker a vendor's tokens, so that its key stays on the
// server; [Redirect] sends a browser to a vendor's page with one; [Users] calls a
// vendor's user management for verified persons; [JWKS] publishes our public
// keys; [Proxy] forwards calls with a token attached. [Mount] adds all that a
// vendor can serve.
//
// A handler makes its checks in one fixed order: cross-origin, method, media
// type, size, JSON, tenant, [Authorize], identity, token. Who may ask is never
// a default: every Config names its [Authorize].
//
// # Errors
//
// Every error is one JSON object (RFC 9457) with a stable code; [WriteError] gives
// the same shape to what an application puts before a handler:
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
//	415  unsupported_media_type: a body is application/json, {} at the least
//	421  misdirected_request
//	422  upstream_rejected_input
//	429  rate_limited
//	500  internal
//	502  upstream_credentials_rejected, upstream_error, upstream_bad_response,
//	     upstream_unreachable, upstream_rejected_token
//	503  upstream_busy, with Retry-After
//	504  upstream_timeout
//
// A 401 means one thing: refresh, or sign in. What the upstream said, and our own Go errors,
// reach the Logger only. A handler that cannot answer, because the client has gone, panics with
// [http.ErrAbortHandler]: the connection is closed, and no client takes an empty
// answer for a success.
//
// # Concurrency
//
// Handlers are safe for concurrent use and keep no state of their own.
//
// # Security
//
// Set [http.Server.ReadTimeout], or bound slow bodies in another way: a handler
// waits for its body as long as the server lets it. Answers are no-store. CORS
// and rate limits stand before the handlers, with whatever library the
// application likes. Where a cookie authenticates, set Config.CrossOrigin.
package handlers
