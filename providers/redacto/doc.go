// Package redacto brokers the consent tokens of Redacto
// (docs.redacto.io/docs/backend-integration). The CMS API key stays on the
// server; a frontend gets an access token and a refresh token.
//
// A request's Tenant is "organisation:workspace", its Subject the vendor's
// org_user_id, and Params may hold "email" and "mobile".
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
// key is wrong ([providers.CodeCredentialsRejected]); 400, 401, 403, 404, 410
// and 422 on refresh that the refresh token is dead
// ([providers.CodeRefreshRejected]), for the vendor publishes no statuses. A
// refresh whose answer was lost is [providers.InDoubt].
//
// # Security
//
// The path sent upstream is made of configured tenants only: what a caller
// writes selects one of them and travels no further. Token generation needs no
// sign-in by the vendor's rules; [Provider.CreateUser] does: call it for a
// verified identity only.
package redacto
