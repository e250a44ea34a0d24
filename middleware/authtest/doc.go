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
// The package opens no socket. The Issuer is an http.Handler that you may serve
// yourself. It therefore works inside a testing/synctest bubble, whose clock it
// follows.
//
// [Issuer.Rotate], [Issuer.Down], [Issuer.Slow], [Issuer.Serve] and
// [Issuer.ServeSet] change what the Issuer publishes. [Issuer.Sign] signs any
// header and claims.
//
// [Corpus] returns attacks, malformed requests and good tokens of every shape
// as data. [Run] sends them to a handler that trusts the issuer.
//
// # Concurrency
//
// An Issuer is safe for concurrent use once its exported fields are set.
//
// # Errors
//
// An error names what the caller asked for and cannot have, such as an unknown
// algorithm or claims that JSON cannot express.
//
// # Security
//
// Use this package for tests and demonstrations only. New makes new keys each
// time and keeps them in memory. Code that has the Issuer can sign anything.
package authtest
