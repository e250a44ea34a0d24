package tokencache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// A refresh token that a page has brings the pair of its grant to nobody else,
// also once a proxy has renewed the grant, when no upstream would refuse it.
func TestAPagesRefreshTokenIsGoodForItsGrantAlone(t *testing.T) {
	handedOut(t, 0, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		page := must(t)(next().Generate(t.Context(), alice))
		proxy, known, err := next().Grant(t.Context(), page.AccessToken)
		require.True(t, known && err == nil)
		renewed := must(t)(proxy.Renew(t.Context(), page))
		for _, req := range []providers.Request{other, bob, {Tenant: "t2", Subject: "alice"}} {
			tok, err := next().Refresh(t.Context(), req, page.RefreshToken)
			assert.Error(t, err, "%+v", req)
			assert.Zero(t, tok)
		}
		for _, req := range []providers.Request{alice, nobody} {
			assert.Equal(t, renewed.AccessToken, must(t)(next().Refresh(t.Context(), req, page.RefreshToken)).AccessToken)
		}
	})
}

// A page's refresh token outlives its access token on every replica, also on one
// that has seen it once.
func TestAPagesRefreshTokenOutlivesItsAccessToken(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor()
			v.ttl = time.Minute
			all := cluster(t, 2, v, tokencache.Options{})
			a, err := tokencache.NewHandedOut(all[0], 0)
			require.NoError(t, err)
			b, err := tokencache.NewHandedOut(all[1], 0)
			require.NoError(t, err)
			page := must(t)(a.Generate(t.Context(), alice))
			if !fresh {
				_, err = b.Refresh(t.Context(), other, page.RefreshToken)
				require.Error(t, err)
				require.Equal(t, page.AccessToken, show(t, b, page.AccessToken))
			}
			time.Sleep(10 * time.Minute)
			assert.Empty(t, show(t, b, page.AccessToken))
			proxy := must(t)(all[0].Generate(t.Context(), alice)) // renews
			time.Sleep(2 * time.Minute)
			next := must(t)(b.Refresh(t.Context(), nobody, page.RefreshToken))
			assert.Greater(t, next.Version, proxy.Version)
			assert.Equal(t, next.AccessToken, show(t, a, next.AccessToken))
		})
	}
}

// What pages have is dropped from the Store when it has ended.
func TestWhatPagesCostInTheStore(t *testing.T) {
	for _, window := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			v, store := newVendor(), newHistory()
			v.ttl = 10 * time.Minute
			h, err := tokencache.NewHandedOut(cluster(t, 1, v, tokencache.Options{Store: store, RefreshLifetime: 48 * time.Hour})[0], window)
			require.NoError(t, err)
			tok := must(t)(h.Generate(t.Context(), alice))
			lives := func() (all []time.Duration) {
				for _, kept := range store.remember("ho") {
					all = append(all, time.Until(kept.end))
				}
				return all
			}
			assert.ElementsMatch(t, []time.Duration{v.ttl + window, 48 * time.Hour}, lives(), "the access token and the refresh token")
			began := time.Now()
			must(t)(h.Refresh(t.Context(), nobody, tok.RefreshToken))
			assert.ElementsMatch(t, []time.Duration{v.ttl + window - time.Since(began), v.ttl + window, time.Minute, 48 * time.Hour}, lives(), "the spent one for Grace")
			for _, kept := range store.remember("hg") {
				assert.Equal(t, 48*time.Hour, time.Until(kept.end))
			}
		})
	}
}
