package tokencache_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// What a Store holds is found again by a later release only under the same
// names.
func TestTheNamesOfRecordsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the Store always answers in time
		assertion := providers.Assertion{Token: "jwt", Type: "urn:ietf:params:oauth:token-type:jwt", Issuer: "https://issuer.example"}
		for want, req := range map[string]providers.Request{
			"t2/1mKfDwrUvAuBot6WfVPsLbzfeTWFoCuXdehNCaOpMSI": {},
			"t2/Uo2CUnndNBdMr598vdZeepZ9NWFCEcuT2GkOumu3PbQ": {Subject: "alice"},
			"t2/LrtnyvIf-bigvwAysX0ZSl52ZFP6qJFMNYb1S0UG-X4": {
				Tenant: "t1", Subject: "a subject of more than ten letters", Audience: "api", Scopes: []string{"write", "read", "read"},
				Identifiers: map[string]string{"phone": "+49", "email": "a@example.com"},
				Params:      map[string]any{"region": "eu", "days": 30, "more": map[string]any{"b": []any{true, nil}, "a": 1.5}},
			},
			"t2/6EBQIb9SbxLxR9SMmnkl5dzJUahvTOcj-rFRrHNy7H0": {Subject: "alice", Assertion: assertion},
			"t2/Hs5dRd25KEYcL5L71eZVB1Z3WcyMmE46zY_7LXq9860": {Subject: "alice", Actor: assertion},
		} {
			store := newHistory()
			c, err := tokencache.New(&fake{ttl: time.Hour}, tokencache.Options{Store: store, Namespace: "names"})
			require.NoError(t, err)
			_, err = c.Generate(t.Context(), req)
			require.NoError(t, err)
			require.NoError(t, c.Close(t.Context()))
			var names []string
			for name := range store.values {
				if strings.HasPrefix(name, "t2/") {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			assert.Equal(t, []string{want}, names, req)
		}
	})
}
