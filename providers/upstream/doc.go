// Package upstream makes the one call that a provider makes for a token: a
// bounded round trip to the vendor, with errors in the terms of package
// providers. It is for those who write a provider; the kit's own are written
// with it.
//
// [Client.Do] sends a JSON or form body and returns an answer of any status. A
// [Response] then says what the answer means: [Response.Err] for a status that
// is no success, [Response.Decode], [Response.Expiry] and [Response.Bad] for a
// body.
//
// # Limits
//
// One attempt takes at most ten seconds and reads at most 1 MiB. Redirects are
// never followed and cookies never kept, so that a credential reaches exactly
// one URL.
//
// # Errors
//
// Every error is an [*providers.Error] and holds no credential and no
// byte of an answer. Its Class says what another attempt may bring; for a call
// that spends something that works once, [Call.OneTime], an answer that was
// lost leaves it InDoubt.
//
// # Concurrency
//
// A Client is safe for concurrent use.
package upstream
