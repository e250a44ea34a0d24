// Package providers is the contract between bearerkit and the services that
// issue tokens. It imports only the standard library.
//
// A [Provider] turns a [Request] into a [Token]. What else an upstream can do it
// says by implementing one of the small capability interfaces: [Refresher],
// [Verifier], [Revoker], [Keyer], [Moder]. The kit asserts for them; a provider
// that lacks one simply lacks the feature. What stands before a provider, like
// the token cache, may be an [OptionalRefresher], a [Renewer] and a [Purger]
// too.
//
// # Errors
//
// Every failure is an [*Error] with a public half (Code, Description), fit for
// an HTTP answer, and a private half (Err), fit for a log. Package
// handlers gives each code its HTTP status. [Class] tells the token cache whether
// another attempt may help.
//
// # Concurrency
//
// Providers are safe for concurrent use. A Token is immutable once returned:
// its maps and slices may be shared between callers and must not be written.
//
// # Security
//
// A Token, a Request and an Assertion do not print themselves: fmt, slog and
// the encoders of the standard library see a redacted form or an error. fmt does not call methods of values
// in unexported fields, and not for %p and %w of a value that is no pointer or
// error: a caller's own %+v of a private struct that holds one is not covered.
package providers
