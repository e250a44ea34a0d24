package grpcauth_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/bearerkit/bearerkit/middleware"
	grpcauth "github.com/bearerkit/bearerkit/middleware/grpc"
)

var question = &grpc_health_v1.HealthCheckRequest{}

// watch runs a stream to its end and returns how many messages came.
func watch(ctx context.Context, client grpc_health_v1.HealthClient, opts ...grpc.CallOption) (n int, err error) {
	stream, err := client.Watch(ctx, question, opts...)
	for err == nil {
		if _, err = stream.Recv(); err == nil {
			n++
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func TestValidTokenReachesTheHandlerWithItsClaims(t *testing.T) {
	idp, auth := authenticator(t, nil)
	handler, client := serve(t, auth)
	token, err := idp.Token(map[string]any{"sub": "ada", "roles": []string{"editor"}})
	require.NoError(t, err)
	type claims struct {
		Roles []string `json:"roles"`
	}
	check := func() {
		subject, ok := middleware.Subject(handler.last)
		require.True(t, ok)
		require.Equal(t, "ada", subject)
		c, ok := middleware.ClaimsFrom[claims](handler.last)
		require.True(t, ok)
		require.Equal(t, []string{"editor"}, c.Roles)
	}
	_, err = client.Check(with(t, "Bearer "+token), question)
	require.NoError(t, err)
	check()
	handler.last = nil
	n, err := watch(with(t, "bearer "+token), client)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	check()
}

func TestRefusalsAreStatusesWithTheChallenge(t *testing.T) {
	idp, auth := authenticator(t, nil)
	admin, err := auth.Require(middleware.Rule{AllScopes: []string{"admin"}})
	require.NoError(t, err)
	good, err := idp.Token(nil)
	require.NoError(t, err)
	expired, err := idp.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	require.NoError(t, err)
	require.NoError(t, warm(auth, good))
	for name, c := range map[string]struct {
		auth          *middleware.Authenticator
		authorization []string
		code          codes.Code
		challenge     string
	}{
		"no credentials":     {auth, nil, codes.Unauthenticated, `Bearer realm="api"`},
		"other scheme":       {auth, []string{"Basic YTpi"}, codes.Unauthenticated, `Bearer realm="api"`},
		"two tokens":         {auth, []string{"Bearer " + good, "Bearer " + good}, codes.Unauthenticated, `invalid_request`},
		"malformed":          {auth, []string{"Bearer"}, codes.Unauthenticated, `invalid_request`},
		"not a token":        {auth, []string{"Bearer x.y.z"}, codes.Unauthenticated, `invalid_token`},
		"expired":            {auth, []string{"Bearer " + expired}, codes.Unauthenticated, `invalid_token`},
		"forged":             {auth, []string{"Bearer " + good[:len(good)-4] + "AAAA"}, codes.Unauthenticated, `invalid_token`},
		"insufficient scope": {admin, []string{"Bearer " + good}, codes.PermissionDenied, `scope="admin"`},
	} {
		t.Run(name, func(t *testing.T) {
			handler, client := serve(t, c.auth)
			var trailer metadata.MD
			_, err := client.Check(with(t, c.authorization...), question, grpc.Trailer(&trailer))
			require.Equal(t, c.code, status.Code(err), "%v", err)
			require.Len(t, trailer.Get("www-authenticate"), 1)
			require.Contains(t, trailer.Get("www-authenticate")[0], c.challenge)
			require.NotContains(t, err.Error(), good)
			stream, err := client.Watch(with(t, c.authorization...), question)
			require.NoError(t, err)
			_, err = stream.Recv()
			require.Equal(t, c.code, status.Code(err), "%v", err)
			require.Contains(t, stream.Trailer().Get("www-authenticate")[0], c.challenge)
			require.Zero(t, handler.calls, "a handler ran")
		})
	}
}

func warm(auth *middleware.Authenticator, token string) error {
	_, err := auth.Verify(context.Background(), token)
	return err
}

// An outage of the issuer is UNAVAILABLE, says when to come back, and ends.
func TestOutageIsUnavailableWithRetryInfo(t *testing.T) {
	idp, auth := authenticator(t, nil)
	handler, client := serve(t, auth)
	token, err := idp.Token(nil)
	require.NoError(t, err)
	idp.Down(true)
	_, err = client.Check(with(t, "Bearer "+token), question)
	require.Equal(t, codes.Unavailable, status.Code(err))
	var retry *errdetails.RetryInfo
	for _, d := range status.Convert(err).Details() {
		retry, _ = d.(*errdetails.RetryInfo)
	}
	require.NotNil(t, retry, "no RetryInfo")
	require.Positive(t, retry.RetryDelay.AsDuration())
	_, err = watch(with(t, "Bearer "+token), client)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Zero(t, handler.calls)

	idp.Down(false)
	for ctx := with(t, "Bearer "+token); err != nil; { // until the back-off of a second at most has passed
		require.NoError(t, ctx.Err(), "it does not end")
		_, err = client.Check(ctx, question)
	}
}

// A call that waits for the issuer's keys ends with its own deadline, and with
// its caller's cancellation.
func TestDeadlineAndCancellationAreTheCalls(t *testing.T) {
	idp, auth := authenticator(t, nil)
	_, client := serve(t, auth)
	token, err := idp.Token(nil)
	require.NoError(t, err)
	idp.Slow(time.Minute)
	ctx, cancel := context.WithTimeout(with(t, "Bearer "+token), 50*time.Millisecond)
	defer cancel()
	_, err = client.Check(ctx, question)
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	ctx, cancel = context.WithCancel(with(t, "Bearer "+token))
	cancel()
	_, err = watch(ctx, client)
	require.Equal(t, codes.Canceled, status.Code(err))
}

// The interceptor itself names the call's end; grpc-go's client would name it
// whatever the server said.
func TestInterceptorNamesTheCallsEnd(t *testing.T) {
	idp, auth := authenticator(t, nil)
	idp.Slow(time.Minute) // so that only the call's end can end the wait
	token, err := idp.Token(nil)
	require.NoError(t, err)
	for code, end := range map[codes.Code]func(context.Context) (context.Context, context.CancelFunc){
		codes.DeadlineExceeded: func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadline(ctx, time.Now().Add(-time.Second))
		},
		codes.Canceled: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		},
	} {
		ctx, cancel := end(metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+token)))
		defer cancel()
		_, err := grpcauth.UnaryServerInterceptor(auth)(ctx, nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { return nil, nil })
		require.Equal(t, code, status.Code(err), "%v", err)
	}
}

func TestOptionalLetsCallsWithoutCredentialsPass(t *testing.T) {
	_, auth := authenticator(t, func(c *middleware.Config) { c.Optional = true })
	handler, client := serve(t, auth)
	_, err := client.Check(with(t), question)
	require.NoError(t, err)
	_, ok := middleware.Subject(handler.last)
	require.False(t, ok)
	_, err = client.Check(with(t, "Bearer wrong"), question)
	require.Equal(t, codes.Unauthenticated, status.Code(err))
}

func TestWithoutAnAuthenticatorNothingPasses(t *testing.T) {
	handler, client := serve(t, nil)
	_, err := client.Check(with(t, "Bearer x"), question)
	require.Equal(t, codes.Internal, status.Code(err))
	_, err = watch(with(t), client)
	require.Equal(t, codes.Internal, status.Code(err))
	require.Zero(t, handler.calls)
}
