// Package redacto brokers the consent tokens of Redacto
// (docs.redacto.io/docs/backend-integration). The CMS API key stays on the
// server; a frontend gets an access token and a refresh token.
//
// A request's Tenant is "organisation:workspace", its Subject the vendor's
// org_user_id, and Identifiers may hold "email" and "mobile".
//
// The vendor ends every earlier pair of a user when it issues a new one, so the
// provider's mode is [providers.Exclusive] and its keys name the user: put it
// behind package tokencache.
//
// # Concurrency
//
// A [Provider] is immutable and safe for concurrent use.
//
// # Errors
//
// Every error is an [*providers.Error]. 401 and 403 on generate mean that our
// key is wrong ([providers.CodeCredentialsRejected]). The vendor publishes no
// statuses for a refresh token that is refused. 400, 404, 410 and 422 with a
// reason end it: [providers.CodeRefreshRejected], [providers.GrantDead]. 401
// and 403 do not say whether it or our key was refused: the same code, but
// [providers.Permanent], and the refresh token stays. A refresh whose answer
// was lost is [providers.InDoubt].
//
// # Security
//
// The path sent upstream is made of configured tenants only: what a caller
// writes selects one of them and travels no further. Token generation needs no
// sign-in by the vendor's rules; user management does: call
// [Provider.CreateUser], [Provider.UpdateUser] and [Provider.LinkUsers] for a
// verified identity only. What each of them sends of a user, such as an email
// address, must be verified too.
package redacto
