// Package authtest is an issuer of JWTs for tests, and a corpus of requests
// with the answers that a protected handler must give.
//
//	issuer, err := authtest.New("ES256")
//	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
//		Issuer: issuer.URL, Audiences: []string{issuer.Audience}, Algorithms: []string{"ES256"},
//		Discover: true, HTTPClient: issuer.Client(),
//	}}})
//	token, err := issuer.Token(map[string]any{"sub": "ada"})
//
// No socket is opened unless you serve the Issuer, an http.Handler, yourself;
// it therefore works inside a testing/synctest bubble, whose clock it follows.
//
// [Corpus] returns attacks, malformed requests and good tokens in every shape
// as data; [Run] fires them at a handler that trusts the issuer.
//
// # Concurrency
//
// An Issuer is safe for concurrent use once its exported fields are set.
//
// # Errors
//
// Errors name what the caller asked for and cannot have, such as an algorithm
// that is not known or claims that JSON cannot express.
//
// # Security
//
// For tests and demonstrations only: keys are made anew by every New and
// live in memory, and anybody who holds the Issuer can sign anything.
package authtest
