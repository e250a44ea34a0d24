// Package redox takes tokens from Redox: OAuth 2 client credentials with a
// signed assertion (RFC 7523), as SMART Backend Services has it. It is a preset
// of package oauth.
//
// # Keys
//
// Redox verifies assertions with the public keys that [Provider.JWKS] returns;
// publish them at the URL that the Redox dashboard names. To change the key
// without a gap, set Next and publish it, then set NextFrom to a time at least
// a day later, for Redox may keep a copy of the set. From then on every replica
// signs with Next. The old key stays published for another day, longer than any
// assertion lives, and can be taken out of the Config after that.
//
// # Concurrency
//
// A Provider is immutable and safe for concurrent use.
//
// # Errors
//
// Every error is an [*providers.Error]. A 4xx with an error code, other than
// 408, 425 and 429, means that the key or its settings at Redox are wrong:
// [providers.CodeCredentialsRejected], [providers.Permanent]. The description
// says what Redox said in words of ours: that it does not know the public key
// yet, or which claim it refused. If Redox gave no reason and its clock and ours
// are more than its 10 seconds apart, that is in it too. A scope that is refused
// is [providers.CodeRejectedInput].
//
// # Security
//
// Tokens are for a server's own calls. The type has no wire shape, so that
// package handlers cannot hand one to a browser.
package redox
