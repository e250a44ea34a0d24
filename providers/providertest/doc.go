// Package providertest has tests and fakes for code that implements or uses a
// provider.
//
// [Run] is a conformance suite for any [providers.Provider]. It serves an
// upstream that misbehaves and checks what the provider makes of it.
//
// [NewRedacto], [NewRedox], [NewKudo] and [NewContactsManager] are in-process
// fakes of the four vendors. They are http.Handlers and keep the vendors' real
// rules: Redacto ends a user's earlier pairs when it issues a new one, and a
// refresh token works once; Redox verifies every client assertion; Kudo answers
// { Wrong token }; ContactsManager verifies the token that the caller signed. A
// [Fake] counts the requests ([Fake.Stats], [Fake.ResetStats]) and has switches:
// [Fake.SetLatency], [Fake.SetFault], [Fake.RevokeAll], [Fake.SetLifetimes], and
// [Fake.SetSkew] for a wrong clock.
//
//	vendor, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: keys})
//	…
//	server := httptest.NewServer(vendor)
//	vendor.SetFault(providertest.Fault{Status: 429, RetryAfter: "2", Times: 1})
//	…
//	fmt.Println(vendor.Stats().Generates)
//
// If a vendor does not publish an answer, the fake gives one that clients have
// to expect. The documentation of the constructor says which.
//
// # Concurrency
//
// A Fake is safe for concurrent use. Its switches may be used while it serves.
//
// # Security
//
// A Fake is for tests and demonstrations. It keeps everything in memory, and
// its answers repeat what it receives.
package providertest
