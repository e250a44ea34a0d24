// Package handlers is the kit's drop-in endpoints: [Generate], [Refresh],
// [Verify] and [SignOut] broker a vendor's tokens, so that its key stays on the
// server; [JWKS] publishes our public keys; [Proxy] forwards calls with a token
// attached.
//
// A handler makes its checks in one fixed order: cross-origin, method, media
// type, size, JSON, tenant, [Authorize], identity, token. Who may ask is never
// a default: every Config names its [Authorize].
//
// # Errors
//
// Every error is one JSON object (RFC 9457) with a stable code; [Error] gives
// the same shape to what an application puts before a handler:
//
//	400  invalid_json, invalid_field, tenant_required, tenant_invalid,
//	     tenant_conflict, identity_required, refresh_token_required
//	401  not_signed_in, refresh_rejected
//	403  cross_origin, tenant_not_allowed, identity_mismatch, invalid_token
//	404  not_found
//	405  method_not_allowed
//	413  body_too_large: over 16 KiB
//	415  unsupported_media_type: a body is application/json, {} at the least
//	422  upstream_rejected_input
//	429  rate_limited
//	500  internal
//	502  upstream_credentials_rejected, upstream_error, upstream_bad_response,
//	     upstream_unreachable, upstream_rejected_token
//	503  upstream_busy, with Retry-After
//	504  upstream_timeout
//
// A 401 means one thing: refresh, or sign in. What the upstream said, and our own Go errors,
// reach the Logger only. To a client that has gone nothing is written.
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
