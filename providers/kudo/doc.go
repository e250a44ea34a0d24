// Package kudo brokers the session tokens of Graebert's ARES Kudo editor
// (graebert.atlassian.net, space KUDOPARTNER, "Process to request token"). A
// token stands for a set of editor parameters, so that a browser sees none of
// them.
//
// A request's Subject is the editor's userId and its Params are the other
// parameters, such as file. There is no refresh: generate again.
//
// # Concurrency
//
// A [Provider] is safe for concurrent use. Its only state is a bounded cache of
// [Provider.Verify]'s answers, which are asked for once however many callers
// wait.
//
// # Errors
//
// Every error is an [*providers.Error]. 403 on generate means that our access
// key is wrong ([providers.CodeCredentialsRejected]), 403 on verify that the
// token is ([providers.CodeInvalidToken]). A page of HTML means neither: a proxy
// or a firewall wrote it.
//
// # Security
//
// auth and apiServerURL come from [Config] alone, server from there or from Go
// code: a caller may not send them, and [Provider.Verify] takes them out of what the vendor returns, which is
// the point of the vendor's token. A token in [Provider.EditorURL]'s result is a
// bearer secret: answer it with a redirect and Referrer-Policy: no-referrer, and
// do not log it.
package kudo
