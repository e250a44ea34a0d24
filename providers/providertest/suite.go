package providertest

import (
	"testing"

	"github.com/bearerkit/bearerkit/providers"
)

// Suite describes a provider to [Run].
type Suite struct {
	// New builds the provider against an upstream at baseURL, which is http on
	// a loopback address. It is called for every case.
	New func(t testing.TB, baseURL string) providers.Provider
	// Request is one that the provider accepts.
	Request providers.Request
	// Answer is the body of the upstream's successful answer to Generate and
	// Refresh. "" says that the provider calls no upstream; the cases about
	// one are then left out.
	Answer string
	// Refusal is the body of an answer that refuses with a 4xx; "" means
	// {"error":"invalid_request"}.
	Refusal string
	// RefreshToken, if not empty, is what Refresh is driven with.
	RefreshToken string
	// AccessToken, if not empty, is what Verify is driven with, and
	// VerifyAnswer the body of the upstream's answer that it is valid.
	AccessToken, VerifyAnswer string
	// Secrets are what must never be seen: every key that New plants and
	// every token in the answers. RefreshToken and AccessToken need not be
	// repeated.
	Secrets []string
}
