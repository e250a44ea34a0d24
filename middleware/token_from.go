package middleware

import (
	"context"

	"github.com/bearerkit/bearerkit/providers"
)

// TokenFrom returns the verified token that ctx carries, after a renewal its
// successor, for exchanging it for a token of the next API on behalf of the
// caller (RFC 8693, RFC 7523): it is the Assertion of a [providers.Request],
// and prints redacted. It is for nothing else: an API that gets a caller's
// token as it is can act as the caller everywhere.
//
// Issuer is the one that verified the token, so that a provider sends it only
// to servers that may see it. ok is false without a verified token.
func TokenFrom(ctx context.Context) (token providers.Assertion, ok bool) {
	v, ok := VerifiedFrom(ctx)
	if !ok || v.token == "" {
		return providers.Assertion{}, false
	}
	return providers.Assertion{Token: v.token, Issuer: v.Issuer, Expiry: v.Expiry}, true
}
