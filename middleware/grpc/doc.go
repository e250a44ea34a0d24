// Package grpcauth connects the kit's middleware to gRPC. Interceptors check
// the bearer tokens of incoming calls, and credentials put tokens on outgoing
// calls.
//
// # Inbound
//
//	server := grpc.NewServer(
//		grpc.ChainUnaryInterceptor(grpcauth.UnaryServerInterceptor(auth)),
//		grpc.ChainStreamInterceptor(grpcauth.StreamServerInterceptor(auth)))
//
// The token is in the metadata "authorization". The handler's context holds the
// verified token: middleware.Subject, middleware.ClaimsFrom and
// middleware.VerifiedFrom read it. An Authenticator's answers become statuses:
//
//	400, 401  UNAUTHENTICATED; no credentials, malformed ones, a bad token
//	403       PERMISSION_DENIED; a rule is not met
//	503       UNAVAILABLE with google.rpc.RetryInfo, if there is a RetryAfter
//
// The trailer "www-authenticate" has the challenge, which says what a token
// lacks. A call that is cancelled, or whose deadline passes during the check,
// gets CANCELLED or DEADLINE_EXCEEDED. Tokens are not renewed, because gRPC has
// no place for a new one. A stream is checked when it begins, and goes on when
// its token expires.
//
// For rules of single methods, choose the Authenticator by the method's name:
// interceptors are functions, and [middleware.Authenticator.Require] is cheap.
//
// # Outbound
//
// [Credentials] makes per-RPC credentials from a middleware.TokenSource, such
// as a *tokencache.Source. gRPC does not send a call again by itself: after
// UNAUTHENTICATED call Renew with the token of Token, and repeat the call.
//
// # Security
//
// Status messages are the Authenticator's fixed public sentences. Tokens are
// sent over encrypted connections only.
package grpcauth
