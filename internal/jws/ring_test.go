package jws_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jws"
)

// Each key of a set may be bound to another issuer. The work to install the set
// grows with the number of keys and not with its square.
func TestKeysOfManyIssuersCostNotMuchMore(t *testing.T) {
	set := func(issuers int) []jws.Key {
		var keys []jws.Key
		for n := range 128 {
			k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			require.NoError(t, err)
			keys = append(keys, jws.Key{ID: fmt.Sprint("k", n), Issuer: fmt.Sprint("https://i", n%issuers), Public: &k.PublicKey})
		}
		return keys
	}
	one, many := set(1), set(128)
	cost := func(keys []jws.Key) float64 {
		return testing.AllocsPerRun(1, func() { jws.NewRing(keys, []string{"ES256"}) })
	}
	require.Less(t, cost(many), 3*cost(one))
	ring := jws.NewRing(many, []string{"ES256"})
	for n := range many {
		found, match := ring.Candidates(&jws.Token{Algorithm: "ES256", KeyID: many[n].ID})
		require.Equal(t, jws.Named, match)
		require.Len(t, found, 1)
		require.True(t, found[0].For(many[n].Issuer, ""))
		require.False(t, found[0].For("https://other", ""))
	}
}
