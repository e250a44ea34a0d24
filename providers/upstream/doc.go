// Package upstream makes the one call that a provider makes for a token: a
// bounded round trip to the vendor, with the errors of package providers. Use
// it to write a provider. The kit's own providers use it.
//
// [Client.Do] sends a JSON or form body and returns an answer of any status. A
// [Response] then says what the answer means. [Response.OK] reports a success;
// [Response.Err] is the error of any other status. [Response.Decode],
// [Response.Expiry] and [Response.Bad] are for the body, and [Response.Salvage]
// is for the answer to a refresh that cannot be used.
//
// # Limits
//
// One attempt takes at most ten seconds and reads at most 1 MiB. Redirects are
// never followed and cookies are never kept, so that a credential reaches
// exactly one URL.
//
// # Errors
//
// Every error is an [*providers.Error] and contains no credential and no byte
// of an answer. Its Class says whether another attempt may help. If the answer
// to a call with [Call.OneTime] is lost, the Class is InDoubt.
//
// # Concurrency
//
// A Client is safe for concurrent use.
package upstream
