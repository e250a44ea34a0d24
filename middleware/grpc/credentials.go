package grpcauth

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// Credentials returns per-RPC credentials that present the source's current
// token. They require transport security, so that gRPC does not send a token
// over an unencrypted connection. A call without a token fails with UNAVAILABLE
// if the source may have one later, else with UNAUTHENTICATED. The message is
// the text of the *providers.Error, which names the vendor's call and status: do
// not pass it to your own callers. Credentials are safe for concurrent use.
func Credentials(source middleware.TokenSource) credentials.PerRPCCredentials {
	return perRPC{source}
}

type perRPC struct{ source middleware.TokenSource }

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c perRPC) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if c.source == nil {
		return nil, status.Error(codes.Unauthenticated, "grpcauth: no TokenSource")
	}
	t, err := c.source.Token(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	case err != nil:
		return nil, noToken(err)
	case t.TokenType == "N_A": // RFC 8693 section 2.2.1
		return nil, status.Error(codes.Unauthenticated, "grpcauth: the TokenSource has a token of type N_A, which is not an access token")
	case t.AccessToken == "" || strings.ContainsAny(t.AccessToken, "\r\n"):
		return nil, status.Error(codes.Unauthenticated, "grpcauth: the TokenSource has no usable token")
	}
	return map[string]string{"authorization": "Bearer " + t.AccessToken}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (perRPC) RequireTransportSecurity() bool { return true }

func noToken(err error) error {
	code := codes.Unavailable
	var e *providers.Error
	if errors.As(err, &e) && (e.Class == providers.Permanent || e.Class == providers.GrantDead) {
		code = codes.Unauthenticated
	}
	if e == nil {
		return status.Error(code, "grpcauth: no token at the moment")
	}
	return status.Error(code, "grpcauth: no token: "+e.Error())
}
