package middleware

import (
	"context"

	"github.com/bearerkit/bearerkit/providers"
)

// TokenFrom returns the verified token that ctx carries, or its successor after
// a renewal. Use it only to exchange it for a token of the next API on behalf
// of the caller (RFC 8693, RFC 7523): it is the Assertion of a
// [providers.Request], and prints redacted. Do not send it to another API as it
// is: that API could act as the caller everywhere.
//
// Issuer is the issuer that verified the token, so that a provider sends the
// token only to servers that may see it. ok is false without a verified token.
func TokenFrom(ctx context.Context) (token providers.Assertion, ok bool) {
	v, ok := VerifiedFrom(ctx)
	if !ok || v.token == "" {
		return providers.Assertion{}, false
	}
	return providers.Assertion{Token: v.token, Issuer: v.Issuer, Expiry: v.Expiry}, true
}
