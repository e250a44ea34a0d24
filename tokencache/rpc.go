package tokencache

import "context"

// GetRequestMetadata returns the authorization header of a gRPC call. With
// [Source.RequireTransportSecurity] it makes a Source fit gRPC's
// credentials.PerRPCCredentials:
//
//	grpc.NewClient(target, grpc.WithPerRPCCredentials(cache.Source(req)), …)
//
// gRPC cannot send a call again by itself: after codes.Unauthenticated, call
// [Source.Renew] with the token of [Source.Token] and repeat the call.
func (s *Source) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	t, err := s.Token(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + t.AccessToken}, nil
}

// RequireTransportSecurity is true: no token over a connection in clear.
func (*Source) RequireTransportSecurity() bool { return true }
