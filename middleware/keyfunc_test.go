package middleware_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// keyfuncFor verifies as keyfunc's and golang-jwt's documentation shows.
func keyfuncFor(t *testing.T, i *authtest.Issuer) (verify func(token string) bool, stop func()) {
	ctx, stop := context.WithCancel(context.Background())
	k, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{i.URL + "/jwks"}, keyfunc.Override{
		Client: i.Client(), RefreshErrorHandlerFunc: func(string) func(context.Context, error) { return func(context.Context, error) {} },
	})
	require.NoError(t, err)
	return func(token string) bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := jwt.Parse(token, k.KeyfuncCtx(ctx), jwt.WithIssuer(i.URL), jwt.WithAudience(i.Audience), jwt.WithExpirationRequired(), jwt.WithValidMethods([]string{"ES256"}))
		return err == nil
	}, stop
}

// The rows of the table that our key set is tested against elsewhere, with
// keyfunc's defaults in its place: each of those tests would fail.
func TestWhereKeyfuncsDefaultsFail(t *testing.T) {
	for _, row := range []struct {
		name string
		run  func(t *testing.T, i *authtest.Issuer) string
	}{
		{"200 requests at a rotation", func(t *testing.T, i *authtest.Issuer) string {
			verify, stop := keyfuncFor(t, i)
			defer stop()
			require.True(t, verify(mint(t, i, nil)))
			require.NoError(t, i.Rotate(false))
			i.Slow(100 * time.Millisecond)
			var served atomic.Int64
			var wg sync.WaitGroup
			for _, token := range repeat(200, func() string { return mint(t, i, nil) }) {
				wg.Go(func() {
					if verify(token) {
						served.Add(1)
					}
				})
			}
			wg.Wait()
			require.Less(t, served.Load(), int64(200))
			return "served some of 200 only"
		}},
		{"random kid, then a rotation", func(t *testing.T, i *authtest.Issuer) string {
			verify, stop := keyfuncFor(t, i)
			defer stop()
			require.False(t, verify(mintAs(t, i, "random")))
			require.NoError(t, i.Rotate(false))
			require.False(t, verify(mint(t, i, nil)))
			return "refuses the new key"
		}},
		{"issuer down for 300 ms at the start", func(t *testing.T, i *authtest.Issuer) string {
			i.Down(true)
			verify, stop := keyfuncFor(t, i)
			defer stop()
			require.False(t, verify(mint(t, i, nil)))
			time.Sleep(300 * time.Millisecond)
			i.Down(false)
			time.Sleep(time.Minute)
			require.False(t, verify(mint(t, i, nil)))
			return "still refuses a minute after the issuer's return"
		}},
		{"200 with {}", func(t *testing.T, i *authtest.Issuer) string {
			verify, stop := keyfuncFor(t, i)
			defer stop()
			require.True(t, verify(mint(t, i, nil)))
			i.ServeSet([]byte("{}"))
			time.Sleep(61 * time.Minute)
			require.False(t, verify(mint(t, i, nil)))
			return "refuses every token"
		}},
		{"malformed neighbour", func(t *testing.T, i *authtest.Issuer) string {
			good := strings.TrimSuffix(string(i.JWKS()), "]}")
			i.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(good + `,{"kty":"RSA","kid":"bad"}]}`))
			}))
			verify, stop := keyfuncFor(t, i)
			defer stop()
			require.False(t, verify(mint(t, i, nil)))
			return "has no usable key"
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			t.Logf("keyfunc 3.9: %s: %s", row.name, row.run(t, newIssuer(t)))
			synctest.Wait()
		})
	}
}
