package tokencache_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/subject"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// handedOut runs a test with and without a Store. With one, each call of next is
// another replica.
func handedOut(t *testing.T, window time.Duration, run func(t *testing.T, v *vendor, next func() *tokencache.HandedOut)) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		byCache := map[*tokencache.Cache]*tokencache.HandedOut{}
		run(t, v, func() *tokencache.HandedOut {
			c := next()
			if byCache[c] == nil {
				h, err := tokencache.NewHandedOut(c, window)
				require.NoError(t, err)
				byCache[c] = h
			}
			return byCache[c]
		})
	})
}

// show presents an access token and returns what the proxy would send, or "".
func show(t *testing.T, h *tokencache.HandedOut, accessToken string) string {
	t.Helper()
	g, ok, err := h.Grant(t.Context(), accessToken)
	require.NoError(t, err)
	if !ok {
		return ""
	}
	tok, err := g.Token(t.Context())
	require.NoError(t, err)
	return tok.AccessToken
}

func TestATokenThatWasHandedOutIsKnown(t *testing.T) {
	handedOut(t, 0, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		a := must(t)(next().Generate(t.Context(), alice))
		b := must(t)(next().Generate(t.Context(), bob))
		for range 3 {
			assert.Equal(t, a.AccessToken, show(t, next(), a.AccessToken))
			assert.Equal(t, b.AccessToken, show(t, next(), b.AccessToken))
		}
		for _, not := range []string{"", "x", a.RefreshToken, a.AccessToken + " ", a.AccessToken[:len(a.AccessToken)-1], strings.ToUpper(a.AccessToken)} {
			assert.Empty(t, show(t, next(), not), "%q", not)
		}
		g, ok, err := next().Grant(t.Context(), a.AccessToken)
		require.True(t, ok && err == nil)
		assert.Equal(t, "t1", g.Tenant())
		assert.True(t, subject.Qualified(g.Subject()), "no source's plain subject has this form")
		assert.NotEqual(t, "alice", g.Subject())
		assert.Equal(t, 2, v.n, "nothing was asked upstream")
	})
}

// A token of the cache that no page was given is no page's token.
func TestATokenThatWasNotHandedOutIsNotKnown(t *testing.T) {
	handedOut(t, 0, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		tok := must(t)(next().Source(alice).Token(t.Context()))
		assert.Empty(t, show(t, next(), tok.AccessToken))
		must(t)(next().Generate(t.Context(), alice))
		assert.Equal(t, tok.AccessToken, show(t, next(), tok.AccessToken))
	})
}

func TestASupersededTokenIsKnownForGrace(t *testing.T) {
	handedOut(t, 0, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		a := must(t)(next().Generate(t.Context(), alice))
		b := must(t)(next().Refresh(t.Context(), nobody, a.RefreshToken)) // another tab
		time.Sleep(30 * time.Second)
		assert.Equal(t, b.AccessToken, show(t, next(), a.AccessToken))
		c := must(t)(next().Refresh(t.Context(), nobody, b.RefreshToken))
		time.Sleep(31 * time.Second)
		assert.Empty(t, show(t, next(), a.AccessToken), "a token replaced a minute ago")
		assert.Equal(t, c.AccessToken, show(t, next(), b.AccessToken))
		assert.Equal(t, c.AccessToken, show(t, next(), c.AccessToken))
	})
}

func TestAnExpiredTokenIsKnownWithinTheWindow(t *testing.T) {
	const life = 10 * time.Minute
	handedOut(t, 0, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		v.ttl = life
		a := must(t)(next().Generate(t.Context(), alice))
		time.Sleep(life)
		assert.Empty(t, show(t, next(), a.AccessToken))
		b := must(t)(next().Refresh(t.Context(), nobody, a.RefreshToken))
		assert.Equal(t, b.AccessToken, show(t, next(), b.AccessToken))
	})
	handedOut(t, 3*time.Minute, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		v.ttl = life
		a := must(t)(next().Generate(t.Context(), alice))
		time.Sleep(life + 2*time.Minute)
		renewed := show(t, next(), a.AccessToken)
		assert.Equal(t, "at-2 of t1/alice", renewed)
		assert.Equal(t, renewed, show(t, next(), a.AccessToken))
		assert.Equal(t, 1, v.presented(), "it was renewed once")
		time.Sleep(2 * time.Minute)
		assert.Empty(t, show(t, next(), a.AccessToken))
	})
}

// A proxy that renews a grant takes nothing from the page: the refresh token that
// it holds still brings the pair that nobody was handed.
func TestThePageCanRefreshWhatTheProxyHasRenewed(t *testing.T) {
	handedOut(t, 0, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		a := must(t)(next().Generate(t.Context(), alice))
		g, ok, err := next().Grant(t.Context(), a.AccessToken)
		require.True(t, ok && err == nil)
		b := must(t)(g.Renew(t.Context(), a)) // the vendor revoked it early
		time.Sleep(2 * time.Minute)
		assert.Empty(t, show(t, next(), a.AccessToken), "replaced for longer than Grace")
		_, err = next().Cache.Refresh(t.Context(), nobody, a.RefreshToken)
		require.Equal(t, providers.CodeRefreshRejected, code(err), "to the cache alone it is a spent one")
		for range 2 {
			got := must(t)(next().Refresh(t.Context(), nobody, a.RefreshToken))
			assert.Equal(t, b.AccessToken, got.AccessToken)
			assert.Equal(t, b.RefreshToken, got.RefreshToken)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Minute)
		_, err = next().Refresh(t.Context(), nobody, a.RefreshToken)
		assert.Equal(t, providers.CodeRefreshRejected, code(err), "once the page has its successor it is over: %v", err)
		must(t)(next().Refresh(t.Context(), nobody, b.RefreshToken))
	})
}

// The same where another replica has renewed the grant, and nothing has told this
// one: in Rotating mode the page's token, and what this replica has, stay valid.
func TestThePageCanRefreshWhatAnotherReplicaHasRenewed(t *testing.T) {
	for _, mode := range []providers.Mode{providers.Rotating, providers.Exclusive} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor()
			v.mode = mode
			all := cluster(t, 2, v, tokencache.Options{Store: tokencache.NewMemory()})
			page, err := tokencache.NewHandedOut(all[0], 0)
			require.NoError(t, err)
			a := must(t)(page.Generate(t.Context(), alice))
			b := must(t)(all[1].Renew(t.Context(), alice, must(t)(all[1].Generate(t.Context(), alice))))
			time.Sleep(2 * time.Minute) // longer than Grace
			got := must(t)(page.Refresh(t.Context(), nobody, a.RefreshToken))
			assert.Equal(t, b.AccessToken, got.AccessToken, mode)
			assert.Equal(t, b.RefreshToken, got.RefreshToken, mode)
			assert.Equal(t, 1, v.presented(), "nothing more was spent")
		})
	}
}

// The same after days in which the proxy has renewed often, and where the
// current pair is over too.
func TestThePageCanRefreshAfterDays(t *testing.T) {
	handedOut(t, 0, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		a := must(t)(next().Generate(t.Context(), alice))
		hours := 30
		if first, second := next(), next(); first != second {
			hours = 2 // the heartbeats of replicas take real time
		}
		for range hours {
			time.Sleep(59 * time.Minute)
			must(t)(next().Source(alice).Token(t.Context()))
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Hour)
		got := must(t)(next().Refresh(t.Context(), nobody, a.RefreshToken))
		assert.Equal(t, got.AccessToken, show(t, next(), got.AccessToken))
		for _, req := range []providers.Request{other, bob} {
			_, err := next().Refresh(t.Context(), req, got.RefreshToken)
			assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		}
	})
}

func TestASignOutEndsWhatWasHandedOut(t *testing.T) {
	handedOut(t, time.Hour, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		a := must(t)(next().Generate(t.Context(), alice))
		g, ok, err := next().Grant(t.Context(), a.AccessToken)
		require.True(t, ok && err == nil)
		require.NoError(t, next().Purge(t.Context(), alice))
		issued := v.n
		_, err = g.Token(t.Context())
		assert.Equal(t, providers.CodeNotSignedIn, code(err), "a grant found before the sign-out: %v", err)
		_, err = g.Renew(t.Context(), a)
		assert.Equal(t, providers.CodeNotSignedIn, code(err), "%v", err)
		for range 3 {
			assert.Empty(t, show(t, next(), a.AccessToken))
			_, err = next().Refresh(t.Context(), nobody, a.RefreshToken)
			assert.Equal(t, providers.CodeRefreshRejected, code(err), "%v", err)
		}
		assert.Equal(t, issued, v.n, "nobody was signed in again")
		b := must(t)(next().Generate(t.Context(), alice)) // signs in again
		for range 3 {
			assert.Empty(t, show(t, next(), a.AccessToken), "from before the sign-out")
			assert.Equal(t, b.AccessToken, show(t, next(), b.AccessToken))
			_, err = g.Token(t.Context())
			assert.Equal(t, providers.CodeNotSignedIn, code(err), "%v", err)
		}
	})
}

// A refresh token that the kit has not seen before names nobody but its grant.
func TestAnUnknownPairIsKnownOnceItWasRefreshed(t *testing.T) {
	handedOut(t, 0, func(t *testing.T, v *vendor, next func() *tokencache.HandedOut) {
		old := v.issue("t1/alice")
		tok := must(t)(next().Refresh(t.Context(), nobody, old.RefreshToken))
		assert.Empty(t, show(t, next(), old.AccessToken))
		for range 3 {
			assert.Equal(t, tok.AccessToken, show(t, next(), tok.AccessToken))
		}
		g, ok, err := next().Grant(t.Context(), tok.AccessToken)
		require.True(t, ok && err == nil)
		assert.Equal(t, "t1", g.Tenant())
		renewed := must(t)(g.Renew(t.Context(), tok))
		assert.NotEqual(t, tok.AccessToken, renewed.AccessToken)
	})
}

// What a page shows proves nothing about a person. It cannot be made a source of
// an Authenticator, which takes Verifiers.
func TestAGrantDoesNotPrintItsPerson(t *testing.T) {
	ctx := context.Background()
	h, err := tokencache.NewHandedOut(open(t, &fake{ttl: time.Hour}, tokencache.Options{}), 0)
	require.NoError(t, err)
	tok := must(t)(h.Generate(ctx, providers.Request{Subject: "PERSON", Tenant: "PERSON", Identifiers: map[string]string{"email": "PERSON"}}))
	g, ok, err := h.Grant(ctx, tok.AccessToken)
	require.NoError(t, err)
	require.True(t, ok)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("grant", "g", g, "h", h)
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v %v %+v %#v", g, g, g, h, h, h)+log.String(), "PERSON")
}

func TestHandedOutIsNoVerifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := tokencache.NewHandedOut(open(t, newVendor(), tokencache.Options{}), 0)
		require.NoError(t, err)
		_, is := any(h).(providers.Verifier)
		assert.False(t, is)
		_, is = any(h).(http.Handler)
		assert.False(t, is)
		a := must(t)(h.Generate(t.Context(), alice))
		g, _, _ := h.Grant(t.Context(), a.AccessToken)
		_, is = any(g).(providers.Verifier)
		assert.False(t, is)
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v %v", h, h, h, g), a.AccessToken)
	})
}

func TestHandedOutTokensAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := tokencache.NewHandedOut(open(t, newVendor(), tokencache.Options{MaxEntries: 64}), 0)
		require.NoError(t, err)
		for i := range 2000 {
			time.Sleep(time.Millisecond)
			tok := must(t)(h.Generate(t.Context(), providers.Request{Tenant: "t1", Subject: fmt.Sprint(i)}))
			require.Equal(t, tok.AccessToken, show(t, h, tok.AccessToken), "what was handed out last is known, however full the memory is")
		}
		tokens, grants := h.Remembered()
		assert.LessOrEqual(t, tokens, 256)
		assert.LessOrEqual(t, grants, 64)
		tok := must(t)(h.Generate(t.Context(), alice))
		assert.Equal(t, tok.AccessToken, show(t, h, tok.AccessToken))
	})
}

// What the Store keeps of a token names neither it nor its user.
func TestHandedOutTokensAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newHistory()
		all := cluster(t, 2, newVendor(), tokencache.Options{Store: store, SealKeys: [][]byte{make([]byte, 32)}, NameKey: bytes.Repeat([]byte("n"), 32)})
		a, err := tokencache.NewHandedOut(all[0], 0)
		require.NoError(t, err)
		b, err := tokencache.NewHandedOut(all[1], 0)
		require.NoError(t, err)
		tok := must(t)(a.Generate(t.Context(), alice))
		store.mu.Lock()
		for key, v := range store.values {
			for _, secret := range []string{"alice", tok.AccessToken, tok.RefreshToken} {
				assert.NotContains(t, key+string(v.val), secret)
			}
		}
		store.mu.Unlock()
		store.setFails(func(op, key string) error { return errors.New("away") })
		_, ok, err := b.Grant(t.Context(), tok.AccessToken)
		assert.False(t, ok)
		assert.Equal(t, providers.CodeBusy, code(err), "nobody can tell: %v", err)
		store.setFails(nil)
		assert.Equal(t, tok.AccessToken, show(t, b, tok.AccessToken))
	})
}

// A Shared grant's tokens live side by side.
func TestASharedTokenIsKnownUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{mode: providers.Shared, ttl: 10 * time.Minute}
		h, err := tokencache.NewHandedOut(open(t, p, tokencache.Options{}), 0)
		require.NoError(t, err)
		a := must(t)(h.Generate(t.Context(), alice))
		b := must(t)(h.Renew(t.Context(), alice, a))
		time.Sleep(5 * time.Minute)
		assert.Equal(t, b.AccessToken, show(t, h, a.AccessToken))
		time.Sleep(5 * time.Minute)
		assert.Empty(t, show(t, h, a.AccessToken))

		c := must(t)(h.Generate(t.Context(), alice))
		require.NoError(t, h.Purge(t.Context(), alice))
		d := must(t)(h.Generate(t.Context(), alice))
		assert.Empty(t, show(t, h, c.AccessToken), "from before the sign-out")
		assert.Equal(t, d.AccessToken, show(t, h, d.AccessToken))
	})
}

func TestHandedOutIsValidated(t *testing.T) {
	_, err := tokencache.NewHandedOut(nil, -1)
	assert.ErrorContains(t, err, "no cache")
	assert.ErrorContains(t, err, "window: negative")
}

// An Assertion is a credential of the caller. It is not kept.
func TestATokenForAnAssertionIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := tokencache.NewHandedOut(open(t, newVendor(), tokencache.Options{}), 0)
		require.NoError(t, err)
		req := alice
		req.Assertion.Token = "the caller's"
		tok := must(t)(h.Generate(context.Background(), req))
		assert.Empty(t, show(t, h, tok.AccessToken))
	})
}

// While the Store is away, what is valid is handed out as fast as before, and is
// known where it was handed out.
func TestHandingOutOutlivesTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newHistory()
		c := cluster(t, 1, newVendor(), tokencache.Options{Store: store})[0]
		must(t)(c.Generate(t.Context(), alice))
		h, err := tokencache.NewHandedOut(c, 0)
		require.NoError(t, err)
		store.setFails(func(op, key string) error { return errors.New("away") })
		tok := must(t)(h.Generate(t.Context(), alice))
		assert.Equal(t, tok.AccessToken, show(t, h, tok.AccessToken))
		errorsBefore := c.Stats().StoreErrors
		for range 1000 {
			must(t)(h.Generate(t.Context(), alice))
		}
		assert.Less(t, c.Stats().StoreErrors-errorsBefore, uint64(50), "the Store is not asked for each caller")
		_, err = h.Refresh(t.Context(), nobody, tok.RefreshToken)
		assert.Equal(t, providers.CodeBusy, code(err), "nobody is signed out by an outage: %v", err)
		store.setFails(nil)
		time.Sleep(2 * time.Minute)
		must(t)(h.Generate(t.Context(), alice))
		second, err := tokencache.NewHandedOut(cluster(t, 1, newVendor(), tokencache.Options{Store: store})[0], 0)
		require.NoError(t, err)
		assert.Equal(t, tok.AccessToken, show(t, second, tok.AccessToken), "written again")
	})
}

// Numbers in Params go upstream with all their digits, also from a replica that
// has them from the Store.
func TestTheParamsOfAGrantKeepTheirDigits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		var asked []providers.Request
		refresh := v.refresh
		v.refresh = func(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
			asked = append(asked, req)
			return refresh(ctx, req, rt)
		}
		all := cluster(t, 2, v, tokencache.Options{})
		page, err := tokencache.NewHandedOut(all[0], 0)
		require.NoError(t, err)
		proxy, err := tokencache.NewHandedOut(all[1], 0)
		require.NoError(t, err)
		req := alice
		req.Params = map[string]any{"account": json.Number("9007199254740993")}
		tok := must(t)(page.Generate(t.Context(), req))
		g, ok, err := proxy.Grant(t.Context(), tok.AccessToken)
		require.True(t, ok && err == nil)
		must(t)(g.Renew(t.Context(), tok))
		assert.Equal(t, []providers.Request{req}, asked)
	})
}

// What a replica never had is not counted when it is dropped.
func TestHandedOutTokensAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := cluster(t, 2, newVendor(), tokencache.Options{})
		a, err := tokencache.NewHandedOut(all[0], 0)
		require.NoError(t, err)
		b, err := tokencache.NewHandedOut(all[1], 0)
		require.NoError(t, err)
		tok := must(t)(a.Generate(t.Context(), alice))
		must(t)(all[0].Renew(t.Context(), alice, tok))
		must(t)(b.Generate(t.Context(), alice)) // drops the page's earlier pair
		tokens, _ := b.Remembered()
		assert.Equal(t, 2, tokens)
	})
}
