// Package redox takes tokens from Redox: OAuth 2 client credentials with a
// signed assertion (RFC 7523), as SMART Backend Services describes it. It is a
// preset of package oauth.
//
// # Keys
//
// Redox verifies assertions with the public keys that [Provider.JWKS] returns.
// Publish them at the URL that the Redox dashboard names.
//
// To change the key without a gap, set Next and publish it. Then set NextFrom
// to a time at least a day later, because Redox may keep a copy of the set.
// From then on every replica signs with Next. The old key stays published for
// another day, longer than any assertion lives. After that it can be removed
// from the Config.
//
// # Concurrency
//
// A Provider is immutable and safe for concurrent use.
//
// # Errors
//
// Every error is an [*providers.Error]. A 4xx with an error code, other than
// 408, 425 and 429, and other than the codes temporarily_unavailable, slow_down
// and server_error, which are transient, means that the key or its settings at
// Redox are wrong: [providers.CodeCredentialsRejected], [providers.Permanent].
// The description gives Redox's reason in our words: Redox does not know the
// public key yet, or it refused a certain claim. If Redox gave no reason and its
// clock and ours differ by more than its 10 seconds, the description says so. A
// refused scope (status 400) is [providers.CodeRejectedInput].
//
// # Security
//
// Tokens are for a server's own calls. The type has no wire, so package
// handlers cannot hand a token to a browser.
package redox
