// Package providers is the contract between bearerkit and the services that
// issue tokens. It imports only the standard library.
//
// A [Provider] turns a [Request] into a [Token]. It says what else the upstream
// can do by implementing small capability interfaces: [Refresher], [Verifier],
// [Revoker], [Keyer], [Moder]. The kit asks for them by type assertion. A
// provider that lacks one lacks the feature. A wrapper of a provider, such as
// the token cache, may also be an [OptionalRefresher], a [Renewer] and a
// [Purger].
//
// # Glossary
//
// The packages of the kit use these words, each in one sense:
//
//	provider  what issues tokens: a vendor's service, or the Go type that calls it
//	grant     the permission behind tokens: one user's, or one client's, at a provider
//	generate  issue a token without spending a refresh token
//	refresh   spend a refresh token for a new token
//	renew     replace a token that ended or was refused: refresh, or else generate
//	source    yields the current token of one request
//	store     keeps records as bytes, for several processes or over a restart
//	record    what the token cache knows of one grant: token, refresh token, failures
//	flight    one upstream call that several callers wait for
//	wire      the JSON shapes of a vendor's endpoints
//
// # Errors
//
// Every failure is an [*Error] with a public half (Code, Description), fit for
// an HTTP answer, and a private half (Err), fit for a log. Package handlers
// gives each code its HTTP status. [Class] tells the token cache whether
// another attempt may help.
//
// # Concurrency
//
// Providers are safe for concurrent use. A Token is immutable once returned:
// callers may share its maps and slices and must not write to them.
//
// # Security
//
// A Token, a Request and an Assertion do not print themselves: fmt, slog and
// the encoders of the standard library show a redacted form or return an error.
// There are two limits. fmt does not call methods of a value in an unexported
// field, so the %+v of a private struct prints the credentials in it. fmt does
// not call them for %p and %w either, unless the value is a pointer or an
// error.
package providers
