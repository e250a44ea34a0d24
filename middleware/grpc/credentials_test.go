package grpcauth_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	grpcauth "github.com/bearerkit/bearerkit/middleware/grpc"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// counting is a provider whose n-th token is "token-n".
type counting struct{ n int }

func (c *counting) Generate(context.Context, providers.Request) (providers.Token, error) {
	c.n++
	now := time.Now()
	return providers.Token{AccessToken: fmt.Sprintf("token-%d", c.n), TokenType: "Bearer", IssuedAt: now, Expiry: now.Add(time.Hour)}, nil
}

// secure starts a TLS server that keeps the authorization of each call.
func secure(t *testing.T) (address string, roots credentials.TransportCredentials, seen func() []string) {
	t.Helper()
	web := httptest.NewUnstartedServer(nil) // for its certificate
	web.StartTLS()
	t.Cleanup(web.Close)
	var mu sync.Mutex
	var all []string
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&web.TLS.Certificates[0])),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, metadata.ValueFromIncomingContext(ctx, "authorization")...)
			return next(ctx, req)
		}))
	grpc_health_v1.RegisterHealthServer(server, &identity{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	return listener.Addr().String(), credentials.NewClientTLSFromCert(pool, "example.com"), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func TestCredentialsPresentTheCachesToken(t *testing.T) {
	address, roots, seen := secure(t)
	provider := &counting{}
	cache, err := tokencache.New(provider, tokencache.Options{})
	require.NoError(t, err)
	defer func() { _ = cache.Close(context.Background()) }()
	source := cache.Source(providers.Request{})
	conn, err := grpc.NewClient(address, grpc.WithPerRPCCredentials(grpcauth.Credentials(source)), grpc.WithTransportCredentials(roots))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	client := grpc_health_v1.NewHealthClient(conn)
	for range 2 {
		_, err := client.Check(with(t), question)
		require.NoError(t, err)
	}
	token, err := source.Token(t.Context())
	require.NoError(t, err)
	_, err = source.Renew(t.Context(), token)
	require.NoError(t, err)
	_, err = client.Check(with(t), question)
	require.NoError(t, err)
	require.Equal(t, []string{"Bearer token-1", "Bearer token-1", "Bearer token-2"}, seen())
	require.Equal(t, 2, provider.n)
}

func TestCredentialsNeverGoInClear(t *testing.T) {
	_, err := grpc.NewClient("127.0.0.1:1", grpc.WithPerRPCCredentials(grpcauth.Credentials(tokenFunc(nil))),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.Error(t, err)
}

type tokenFunc func() (providers.Token, error)

func (f tokenFunc) Token(context.Context) (providers.Token, error)                  { return f() }
func (f tokenFunc) Renew(context.Context, providers.Token) (providers.Token, error) { return f() }

func TestCredentialsWithoutATokenFailTheCall(t *testing.T) {
	address, roots, seen := secure(t)
	const secret = "hunter2"
	fail := func(err error) tokenFunc {
		return func() (providers.Token, error) { return providers.Token{}, err }
	}
	for name, c := range map[string]struct {
		source tokenFunc
		code   codes.Code
	}{
		"busy":         {fail(&providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Err: errors.New(secret)}), codes.Unavailable},
		"in doubt":     {fail(&providers.Error{Code: providers.CodeTimeout, Class: providers.InDoubt}), codes.Unavailable},
		"unknown":      {fail(errors.New(secret)), codes.Unavailable},
		"grant dead":   {fail(&providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Err: errors.New(secret)}), codes.Unauthenticated},
		"permanent":    {fail(&providers.Error{Code: providers.CodeCredentialsRejected, Class: providers.Permanent}), codes.Unauthenticated},
		"empty":        {fail(nil), codes.Unauthenticated},
		"line break":   {func() (providers.Token, error) { return providers.Token{AccessToken: "a\r\nb"}, nil }, codes.Unauthenticated},
		"not a bearer": {func() (providers.Token, error) { return providers.Token{AccessToken: "jag", TokenType: "N_A"}, nil }, codes.Unauthenticated},
		"wrapped dead": {fail(fmt.Errorf("cache: %w", &providers.Error{Class: providers.GrantDead})), codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient(address, grpc.WithPerRPCCredentials(grpcauth.Credentials(c.source)), grpc.WithTransportCredentials(roots))
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			_, err = grpc_health_v1.NewHealthClient(conn).Check(with(t), question)
			require.Equal(t, c.code, status.Code(err), "%v", err)
			require.NotContains(t, err.Error(), secret)
		})
	}
	require.Empty(t, seen(), "a call went out without a token")
	_, err := grpcauth.Credentials(nil).GetRequestMetadata(t.Context())
	require.Equal(t, codes.Unauthenticated, status.Code(err))
}
