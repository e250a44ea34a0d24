package grpcauth_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	grpcauth "github.com/bearerkit/bearerkit/middleware/grpc"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// greeter greets the subject of the call.
type greeter struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (greeter) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	subject, _ := middleware.Subject(ctx)
	fmt.Println("hello", subject)
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

// A server that checks the token of each call and of each stream.
func ExampleUnaryServerInterceptor() {
	idp, _ := authtest.New("ES256") // stands in for an identity provider
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: idp.URL, Audiences: []string{idp.Audience}, Algorithms: []string{"ES256"}, Discover: true, HTTPClient: idp.Client(),
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(grpcauth.UnaryServerInterceptor(auth)),
		grpc.ChainStreamInterceptor(grpcauth.StreamServerInterceptor(auth)),
	)
	grpc_health_v1.RegisterHealthServer(server, greeter{})
	listener := bufconn.Listen(1 << 16)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	conn, err := grpc.NewClient("passthrough:///bufnet", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	client := grpc_health_v1.NewHealthClient(conn)
	token, _ := idp.Token(map[string]any{"sub": "ada"})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = client.Check(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), &grpc_health_v1.HealthCheckRequest{})
	fmt.Println(status.Code(err))
	_, err = client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	fmt.Println(status.Code(err) == codes.Unauthenticated, status.Convert(err).Message())
	// Output:
	// hello ada
	// OK
	// true Authentication is required.
}

// A client whose calls carry the cache's token. A connection in clear is
// refused before any call.
func ExampleCredentials() {
	cache, err := tokencache.New(&counting{}, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cache.Close(context.Background()) }()
	source := cache.Source(providers.Request{Subject: "service"})
	conn, err := grpc.NewClient("api.example.com:443",
		grpc.WithTransportCredentials(credentials.NewTLS(nil)),
		grpc.WithPerRPCCredentials(grpcauth.Credentials(source)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	_, err = grpc.NewClient("api.example.com:80",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(grpcauth.Credentials(source)))
	fmt.Println(err != nil)
	// Output: true
}
