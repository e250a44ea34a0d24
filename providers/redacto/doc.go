// Package redacto brokers the consent tokens of Redacto
// (docs.redacto.io/docs/backend-integration). The CMS API key stays on the
// server. A frontend gets an access token and a refresh token.
//
// The Tenant of a request is "organisation:workspace" and its Subject is the
// vendor's org_user_id. Identifiers may hold "email" and "mobile".
//
// When the vendor issues a new pair for a user, it ends every earlier pair of
// that user. [Provider.Mode] is therefore [providers.Exclusive], and
// [Provider.Key] names the user. Put it behind package tokencache.
//
// # Concurrency
//
// A [Provider] is immutable and safe for concurrent use.
//
// # Errors
//
// Every error is an [*providers.Error]. A 401 or 403 on generate means that our
// key is wrong ([providers.CodeCredentialsRejected]). The vendor does not
// publish the statuses for a refused refresh token. 400, 404, 410 and 422 with
// a reason end it: [providers.CodeRefreshRejected], [providers.GrantDead]. 401
// and 403 do not say whether the refresh token or our key was refused. The code
// is then the same, but the class is [providers.Permanent], and the refresh
// token is kept. A refresh whose answer was lost is [providers.InDoubt].
//
// # Security
//
// The path sent upstream consists of configured tenants only. A caller's value
// selects one of them and is not sent. The vendor's rules allow token
// generation without a sign-in, but not user management: call
// [Provider.CreateUser], [Provider.UpdateUser] and [Provider.LinkUsers] for a
// verified identity only. What they send about a user, such as an email
// address, must be verified too.
package redacto
