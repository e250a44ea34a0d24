package interop_test

import (
	"context"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

var _ credentials.PerRPCCredentials = (*tokencache.Source)(nil)

// A Source is gRPC per-RPC credentials as it stands.
func TestSourceIsPerRPCCredentials(t *testing.T) {
	web := httptest.NewUnstartedServer(nil) // for its certificate
	web.StartTLS()
	defer web.Close()
	var seen []string
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&web.TLS.Certificates[0])),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			seen = append(seen, md.Get("authorization")...)
			return next(ctx, req)
		}))
	healthpb.RegisterHealthServer(server, health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	upstream := &calls{lifetime: time.Hour}
	cache, err := tokencache.New(counted(upstream), tokencache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close(t.Context())
	source := cache.Source(providers.Request{})
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithPerRPCCredentials(source),
		grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "example.com")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 3 {
		if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 3 || seen[0] != "Bearer token-1" || upstream.n.Load() != 1 {
		t.Fatalf("%v, %d upstream calls", seen, upstream.n.Load())
	}
	if _, err := grpc.NewClient("127.0.0.1:1", grpc.WithPerRPCCredentials(source), grpc.WithTransportCredentials(insecure.NewCredentials())); err == nil {
		t.Fatal("a token over a connection in clear")
	}
}
