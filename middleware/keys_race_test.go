package middleware_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

// A second request is answered while the first one reads the clock, once before
// it looks at the key set and once after. The first one finds what the second
// one has fetched.
func TestAKeySetThatAnotherRequestHasJustFetchedIsNotFetchedAgain(t *testing.T) {
	for at := 1; at <= 2; at++ {
		i := newIssuer(t)
		token := mint(t, i, nil)
		var h http.Handler
		readings := -1 // not counted yet
		h = newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Now: func() time.Time {
			if readings >= 0 {
				if readings++; readings == at {
					readings = -1
					assert.Equal(t, http.StatusOK, ask(h, token).Code)
				}
			}
			return time.Now()
		}}).Handler(ok)
		readings = 0
		require.Equal(t, http.StatusOK, ask(h, token).Code)
		assert.Equal(t, -1, readings, "the second request was made")
		assert.Equal(t, 1, i.Fetches(), "at reading %d", at)
	}
}
