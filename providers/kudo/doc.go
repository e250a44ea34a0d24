// Package kudo brokers the session tokens of Graebert's ARES Kudo editor
// (graebert.atlassian.net, space KUDOPARTNER, "Process to request token"). A
// token stands for a set of editor parameters, so that a browser sees none of
// the parameters.
//
// The Subject of a request is the editor's userId. Params are the other
// parameters, such as file. Kudo has no refresh: generate a new token instead.
// [Provider.Verify] and [Provider.Owns] make a Provider fit for
// middleware.Opaque.
//
// # Concurrency
//
// A [Provider] is safe for concurrent use. Its only state is a bounded cache of
// the answers of [Provider.Verify]. Callers that ask about the same token at
// the same time share one call.
//
// # Errors
//
// Every error is an [*providers.Error]. A 403 on generate means that our access
// key is wrong ([providers.CodeCredentialsRejected]). A 403 on verify means
// that the token is wrong ([providers.CodeInvalidToken]). A page of HTML means
// neither: a proxy or a firewall wrote it.
//
// # Security
//
// auth and apiServerURL come from [Config] alone. server comes from [Config] or
// from Go code. A caller cannot send them, and [Provider.Verify] removes them
// from its result: the vendor's token exists to hide them. The result of
// [Provider.EditorURL] contains a token, which is a bearer secret. Answer it
// with a redirect and Referrer-Policy: no-referrer, and do not log it.
package kudo
