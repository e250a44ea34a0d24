// Package providertest helps to test what uses or implements a provider.
//
// [Run] is a conformance suite for any [providers.Provider]: it plays an
// upstream that misbehaves and checks how the provider takes it.
//
// [NewRedacto], [NewRedox], [NewKudo] and [NewContactsManager] are in-process
// fakes of the four vendors, as http.Handlers that keep the vendors' real rules:
// Redacto ends a user's earlier pairs when it issues a new one and spends a
// refresh token once; Redox verifies every client assertion; Kudo answers
// { Wrong token }; ContactsManager verifies the token that the caller signed. A
// [Fake] has switches for latency, faults, revocation, lifetimes and a wrong
// clock, and counts what it saw:
//
//	vendor, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: keys})
//	…
//	server := httptest.NewServer(vendor)
//	vendor.SetFault(providertest.Fault{Status: 429, RetryAfter: "2", Times: 1})
//	…
//	fmt.Println(vendor.Stats().Generates)
//
// Where a vendor publishes no answer, a fake picks one that its clients have to
// expect; the constructor's documentation says which.
//
// # Concurrency
//
// A Fake is safe for concurrent use, its switches too, while it serves.
//
// # Security
//
// A Fake is for tests and demonstrations: it keeps everything in memory, and
// its answers repeat what it was sent.
package providertest
