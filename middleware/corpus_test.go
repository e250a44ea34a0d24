package middleware_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware/authtest"
)

func TestCorpus(t *testing.T) {
	algs := []string{"RS256", "ES256", "EdDSA", "PS256", "ES512"}
	i := newIssuer(t, algs...)
	cases, err := authtest.Corpus(i)
	require.NoError(t, err)
	seen := map[string]bool{}
	kinds := map[string]int{}
	for _, c := range cases {
		require.False(t, seen[c.Name], "two cases %s", c.Name)
		seen[c.Name] = true
		kind, _, _ := strings.Cut(c.Name, "/")
		kinds[kind]++
	}
	auth := authFor(t, trusting(i, algs...))
	start := time.Now()
	authtest.Run(t, auth.Handler(ok), cases)
	require.GreaterOrEqual(t, len(cases), 150)
	t.Logf("%d cases in %v, %v; %d key fetches", len(cases), time.Since(start), kinds, i.Fetches())
}

// With no keys at hand a fetch would be needed for any token that may pass.
func TestNoFetchForATokenThatCannotPass(t *testing.T) {
	i := newIssuer(t, "ES256", "EdDSA")
	cases, err := authtest.Corpus(i)
	require.NoError(t, err)
	auth := authFor(t, trusting(i, "ES256", "EdDSA"))
	unsigned := slices.DeleteFunc(cases, func(c authtest.Case) bool {
		kind, _, _ := strings.Cut(c.Name, "/")
		switch kind {
		case "alg", "aud", "b64", "base64", "cnf", "crit", "elsewhere", "encrypted", "exp", "header", "header JSON", "iat", "iss", "jti", "names", "nbf", "payload",
			"confusion", "scope", "segments", "size", "sub", "typ":
			return false
		}
		return true
	})
	require.Greater(t, len(unsigned), 500)
	for _, c := range unsigned {
		authtest.Run(t, auth.Handler(ok), []authtest.Case{c})
		require.Zero(t, i.Fetches(), c.Name)
	}
	t.Logf("%d hopeless requests, no key fetch", len(unsigned))
}
