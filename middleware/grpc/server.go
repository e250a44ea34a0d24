package grpcauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/bearerkit/bearerkit/middleware"
)

// UnaryServerInterceptor returns an interceptor that lets calls with a valid
// token pass. It is safe for concurrent use.
func UnaryServerInterceptor(a *middleware.Authenticator) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		ctx, err := authenticate(ctx, a, info.FullMethod, func(md metadata.MD) { _ = grpc.SetTrailer(ctx, md) })
		if err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

// StreamServerInterceptor returns an interceptor that lets streams with a valid
// token begin. It is safe for concurrent use.
func StreamServerInterceptor(a *middleware.Authenticator) grpc.StreamServerInterceptor {
	return func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		ctx, err := authenticate(s.Context(), a, info.FullMethod, s.SetTrailer)
		if err != nil {
			return err
		}
		return next(srv, stream{s, ctx})
	}
}

// stream is a ServerStream with another context.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s stream) Context() context.Context { return s.ctx }

// authenticate checks a call as the Authenticator checks a request with the
// same authorization header. Missing, repeated and malformed credentials and
// Config.Optional therefore mean the same.
func authenticate(ctx context.Context, a *middleware.Authenticator, method string, setTrailer func(metadata.MD)) (context.Context, error) {
	if a == nil {
		return nil, status.Error(codes.Internal, "grpcauth: no Authenticator")
	}
	header := http.Header{}
	if lines := metadata.ValueFromIncomingContext(ctx, "authorization"); len(lines) > 0 {
		header["Authorization"] = lines
	}
	r := (&http.Request{Method: http.MethodPost, URL: &url.URL{Path: method}, Header: header}).WithContext(ctx)
	v, err := a.Check(r)
	switch {
	case err != nil:
		return nil, refusal(ctx, err, setTrailer)
	case v != nil:
		ctx = middleware.NewContext(ctx, v)
	}
	return ctx, nil
}

// refusal returns the Authenticator's err as a gRPC status.
func refusal(ctx context.Context, err error, setTrailer func(metadata.MD)) error {
	if gone := ctx.Err(); gone != nil {
		return status.FromContextError(gone).Err()
	}
	var e *middleware.Error
	if !errors.As(err, &e) {
		return status.Error(codes.Unavailable, "The access token cannot be checked at the moment.")
	}
	if e.Challenge != "" {
		setTrailer(metadata.Pairs("www-authenticate", e.Challenge))
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusUnauthorized:
		return status.Error(codes.Unauthenticated, e.Description)
	case http.StatusForbidden:
		return status.Error(codes.PermissionDenied, e.Description)
	}
	s := status.New(codes.Unavailable, e.Description)
	if e.RetryAfter > 0 {
		if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)}); err == nil {
			s = detailed
		}
	}
	return s.Err()
}
