package grpcauth_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	grpcauth "github.com/bearerkit/bearerkit/middleware/grpc"
)

// identity answers with the subject in its context: in a unary call by the
// health service's name, in a stream by one message a subject.
type identity struct {
	grpc_health_v1.UnimplementedHealthServer
	calls int
	last  context.Context
}

func (s *identity) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	s.calls, s.last = s.calls+1, ctx
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func (s *identity) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	s.calls, s.last = s.calls+1, stream.Context()
	for range 3 {
		if err := stream.Send(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}); err != nil {
			return err
		}
	}
	return nil
}

// serve starts a server behind the interceptors and returns a client of it.
func serve(t *testing.T, a *middleware.Authenticator) (*identity, grpc_health_v1.HealthClient) {
	t.Helper()
	handler := &identity{}
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(grpcauth.UnaryServerInterceptor(a)),
		grpc.ChainStreamInterceptor(grpcauth.StreamServerInterceptor(a)),
	)
	grpc_health_v1.RegisterHealthServer(server, handler)
	listener := bufconn.Listen(1 << 16)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///bufnet", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return handler, grpc_health_v1.NewHealthClient(conn)
}

func authenticator(t *testing.T, change func(*middleware.Config)) (*authtest.Issuer, *middleware.Authenticator) {
	t.Helper()
	idp, err := authtest.New("ES256")
	require.NoError(t, err)
	config := middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: idp.URL, Audiences: []string{idp.Audience}, Algorithms: []string{"ES256"}, Discover: true, HTTPClient: idp.Client(),
	}}}
	if change != nil {
		change(&config)
	}
	a, err := middleware.New(config)
	require.NoError(t, err)
	return idp, a
}

func with(t *testing.T, authorization ...string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	for _, v := range authorization {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", v)
	}
	return ctx
}
