// Package grpcauth puts the kit's middleware into gRPC: interceptors that check
// the bearer tokens of incoming calls, and credentials that put tokens on
// outgoing ones.
//
// # Inbound
//
//	server := grpc.NewServer(
//		grpc.ChainUnaryInterceptor(grpcauth.UnaryServerInterceptor(auth)),
//		grpc.ChainStreamInterceptor(grpcauth.StreamServerInterceptor(auth)))
//
// The token travels in the metadata "authorization". The handler's context
// holds what it says: middleware.Subject, middleware.ClaimsFrom and
// middleware.VerifiedFrom read it. An Authenticator's answers become statuses:
//
//	400, 401  UNAUTHENTICATED; no credentials, malformed ones, a bad token
//	403       PERMISSION_DENIED; a rule is not met
//	503       UNAVAILABLE with google.rpc.RetryInfo, if there is a RetryAfter
//
// The challenge, which says what a token lacks, is in the trailer
// "www-authenticate". A call whose own deadline passes meanwhile, or that is
// cancelled, gets DEADLINE_EXCEEDED or CANCELLED. Tokens are not renewed: gRPC
// has no place to hand a new one back. A stream is checked when it begins, and
// goes on when its token expires.
//
// For rules of single methods, choose the Authenticator by the method's name:
// interceptors are functions, and [middleware.Authenticator.Require] is cheap.
//
// # Outbound
//
// [Credentials] makes per-RPC credentials of a middleware.TokenSource, such as
// a *tokencache.Source. gRPC does not send a call again by itself: after
// UNAUTHENTICATED call Renew with the token of Token, and repeat the call.
//
// # Security
//
// Status messages are the Authenticator's fixed public sentences. No token
// goes over a connection in clear.
package grpcauth
