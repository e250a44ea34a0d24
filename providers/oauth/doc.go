// Package oauth takes tokens from any RFC 6749 token endpoint: for the client
// itself, for users who gave a grant, or on behalf of a caller whose token is
// exchanged. It also introspects ([Provider.Verify], RFC 7662) and revokes
// ([Provider.Revoke], RFC 7009).
//
// # Grants
//
// A [Provider] has one grant type, so that one kind of token never becomes
// another. [Provider.Mode] follows from it:
//
//   - client_credentials, and any other grant by name, issue the client's own
//     tokens. A request with a Subject is refused.
//   - refresh_token renews the grants of users. Generate always fails with
//     [providers.CodeGrantRequired]. A user's first pair comes from
//     [Provider.Exchange] or from a login elsewhere. The token cache's Adopt
//     takes it.
//   - token_exchange (RFC 8693) and jwt_bearer (RFC 7523 section 2.1) issue a
//     token for the caller's own token, [providers.Request].Assertion. Without
//     one the call fails.
//
// The fields of a [providers.Request] replace those of the [Config]: Scopes,
// Audience, and each of Params by name. A refresh sends a scope only if the
// request has one. Without one the grant keeps its scope (RFC 6749 section 6).
//
// # Answers
//
// The package accepts answers that differ from the RFCs:
//
//   - The body is JSON or, if Content-Type says so, a form.
//   - token_type is in any case, or absent.
//   - expires_in is a number or a string, or absent.
//   - scope is a string or an array.
//   - A refresh answer has no refresh token.
//   - An error comes in a 2xx, with an empty body, or with a body that is no
//     JSON.
//
// Numbers in Extra are [json.Number] and keep their digits. If the access token
// is a JWT that ends before expires_in does, its exp counts. If the answer to a
// refresh has a new refresh token and no usable access token, Refresh returns
// the new refresh token beside the error, see [providers.Refresher].
//
// # Concurrency
//
// A Provider is immutable and safe for concurrent use.
//
// # Errors
//
// Every error is an [*providers.Error]:
//
//   - These codes end a refresh token, [providers.GrantDead] with
//     [providers.CodeRefreshRejected]: invalid_grant, login_required,
//     bad_refresh_token (GitHub), invalid_refresh_token (Slack),
//     BAD_REFRESH_TOKEN in the member status (HubSpot), and dex's two texts for
//     invalid_request. interaction_required and consent_required end it too,
//     unless the request asks for more than the grant has. The code may also be
//     in an error object or a list, or in the member code of the whole object.
//     [Config].Classify is asked first, and adds codes.
//   - The same codes end it in an answer with the status 3xx, 5xx, 408, 425 or
//     429 if the answer has the form of RFC 6749 section 5.2: one whole JSON
//     object without a member twice, with the code in its member error. So does
//     invalid_grant for a code or a caller's token. In any other form the status
//     decides.
//   - invalid_grant is in doubt if we signed an assertion and the server's
//     clock differs from ours by over ten seconds: the assertion may be the
//     cause.
//   - invalid_grant is [providers.CodeBusy] and Transient if the server still
//     works on an earlier refresh with the same token, as Salesforce says in
//     error_description.
//   - invalid_grant, invalid_token and login_required for a caller's token are
//     [providers.CodeNotSignedIn]. interaction_required and consent_required for
//     it are [providers.CodeGrantRequired], and so are invalid_grant,
//     bad_verification_code (GitHub), invalid_code and code_already_used (Slack)
//     for an authorization code.
//   - invalid_request for a caller's token is [providers.CodeUpstreamError]. RFC
//     8693 section 2.2.2 has the same code for a subject_token that is refused
//     and for a request that is wrong. For a server that sends it only for a
//     refused token, [Config].Classify can return CodeNotSignedIn.
//   - A 4xx with temporarily_unavailable, slow_down or server_error is
//     [providers.Transient]. With any other error code it is
//     [providers.Permanent]; invalid_client, unauthorized_client,
//     incorrect_client_credentials (GitHub), bad_client_secret and
//     invalid_client_id (Slack) are [providers.CodeCredentialsRejected].
//   - A 4xx without an error code is [providers.Transient], because a proxy may
//     have answered. The call is repeated at most twice a minute.
//   - A refresh that was sent and got no answer, or any other 5xx, is
//     [providers.InDoubt].
//   - A call that is not configured wraps [errors.ErrUnsupported].
//
// The description contains the server's error code only if the code is one of
// the RFCs. It never contains the server's own words. To get them, use
// errors.As with the type
//
//	interface{ OAuthError() (code, description string) }
//
// # Security
//
// Redirects are never followed, so that credentials reach one URL. That URL is
// https unless its host is a loopback address. A client assertion that we sign
// has a new identifier, is signed for one attempt and lives for two minutes. A
// caller's token is sent only if its issuer is one of [Config].Issuers. The
// application must verify the token before. Only Bearer tokens are accepted: a
// token bound to a key (DPoP) is an error. token_exchange returns a token of
// type N_A if the configuration asks for an assertion. Do not present such a
// token to an API.
package oauth
