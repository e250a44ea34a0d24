package middleware_test

import (
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
)

// Time is looked at on every hit of the cache, and a key that is dropped, or a
// policy that differs, is never overlooked.
func TestRememberedTokensAreJudgedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		var deny middleware.DenyList
		auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Revoked: deny.Revoked})
		scoped, err := auth.Require(middleware.Rule{AllScopes: []string{"admin"}})
		require.NoError(t, err)
		token, second := mint(t, i, map[string]any{"scope": "user"}), mint(t, i, map[string]any{"jti": nil})
		got, err := auth.Verify(t.Context(), token)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256([]byte(token[:strings.LastIndexByte(token, '.')])), got.Digest())
		require.Empty(t, reasonOf(t, auth, token))
		require.Equal(t, "scope", reasonOf(t, scoped, token), "rules are not cached")
		other := trusting(i)
		other.Audiences = []string{"other"}
		require.Equal(t, "audience", reasonOf(t, authFor(t, other), token), "policies do not share")
		v, err := auth.Verify(t.Context(), second)
		require.NoError(t, err)
		deny.Add(v)
		require.Equal(t, "revoked", reasonOf(t, auth, second))
		// The same token in its second spelling has the same digest.
		require.Equal(t, "revoked", reasonOf(t, auth, negated(t, second)))
		deny.AddID(i.URL, idOf(t, auth, token), time.Now().Add(time.Hour))
		require.Equal(t, "revoked", reasonOf(t, auth, token))
		third := mint(t, i, nil)
		require.Empty(t, reasonOf(t, auth, third))
		time.Sleep(time.Hour + 59*time.Second)
		require.Empty(t, reasonOf(t, auth, third))
		time.Sleep(2 * time.Second)
		require.Equal(t, "expired", reasonOf(t, auth, third))
	})
}

func idOf(t *testing.T, a *middleware.Authenticator, token string) string {
	v, err := a.Verify(t.Context(), token)
	require.NoError(t, err)
	return v.ID
}

// negated is the other ES256 signature of a token.
func negated(t *testing.T, token string) string {
	sig, err := segmentOf(token, 2)
	require.NoError(t, err)
	n := elliptic.P256().Params().N
	s := new(big.Int).Sub(n, new(big.Int).SetBytes(sig[32:]))
	copy(sig[32:], s.FillBytes(make([]byte, 32)))
	return token[:strings.LastIndexByte(token, '.')+1] + base64.RawURLEncoding.EncodeToString(sig)
}

func mustSign(t *testing.T, i *authtest.Issuer, header map[string]any) string {
	token, err := i.Sign(header, claimsOf(t, mint(t, i, nil)))
	require.NoError(t, err)
	return token
}

func TestOpaqueTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		asked := map[string]int{}
		kudo := verifier(func(_ context.Context, token string) (providers.Verified, error) {
			asked[token]++
			time.Sleep(10 * time.Millisecond)
			switch token {
			case "bbf18f21-3d0d-4a4c-b650-9c14d4075ce0":
				return providers.Verified{Subject: "kudo-user", Scopes: []string{"edit"}, Claims: []byte(`{"jti":"j","acr":"gold","auth_time":1,"file":"a.dwg"}`)}, nil
			case "00000000-0000-0000-0000-000000000001":
				return providers.Verified{Subject: "x", Claims: []byte(`{"cnf":{"jkt":"x"}}`)}, nil
			case "00000000-0000-0000-0000-000000000002":
				return providers.Verified{Subject: "x", Expiry: time.Now().Add(-time.Hour)}, nil
			}
			return providers.Verified{}, &providers.Error{Code: providers.CodeInvalidToken}
		})
		uuid := func(s string) bool { return len(s) == 36 && strings.Count(s, "-") == 4 && !strings.Contains(s, ".") }
		auth := newAuth(t, middleware.Config{Issuers: own(trusting(i)), Opaque: []middleware.Opaque{{Verifier: kudo, Owns: uuid, Issuer: "kudo", AnyAudience: true, Subjects: middleware.Qualified}}})
		h := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v, _ := middleware.VerifiedFrom(r.Context())
			_, _ = w.Write([]byte(v.Issuer + " " + v.Subject))
		}))
		require.Equal(t, i.URL+" ada", ask(h, mint(t, i, nil)).Body.String(), "a JWT on the same route")
		require.Empty(t, asked, "and it does not travel to the vendor")
		const good = "bbf18f21-3d0d-4a4c-b650-9c14d4075ce0"
		require.Equal(t, map[int]int{200: 50}, together(h, repeat(50, func() string { return good })...))
		require.Equal(t, "kudo kudo-user", ask(h, good).Body.String())
		require.Equal(t, 1, asked[good], "asked once for all")
		time.Sleep(31 * time.Second)
		require.Equal(t, 200, ask(h, good).Code)
		require.Equal(t, 2, asked[good])
		bad := "99999999-0000-0000-0000-000000000000"
		require.Equal(t, 401, ask(h, bad).Code)
		require.Equal(t, 401, ask(h, bad).Code)
		require.Equal(t, 1, asked[bad])
		time.Sleep(6 * time.Second)
		require.Equal(t, 401, ask(h, bad).Code)
		require.Equal(t, 2, asked[bad])
		require.Equal(t, 401, ask(h, good[:35]).Code, "truncated: nobody's")
		require.Equal(t, 401, ask(h, good+"0").Code)
		require.Len(t, asked, 2)
		require.Equal(t, "bound", reasonOf(t, auth, "00000000-0000-0000-0000-000000000001"))
		require.Equal(t, "expired", reasonOf(t, auth, "00000000-0000-0000-0000-000000000002"))
		v, err := auth.Verify(t.Context(), good)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256([]byte(good)), v.Digest())
		require.Equal(t, "j", v.ID)
	})
}

func TestRuleCheck(t *testing.T) {
	i := newIssuer(t)
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Require: middleware.Rule{Check: func(_ context.Context, v *middleware.Verified) error {
		var c struct {
			Role string `json:"role"`
		}
		if err := v.Decode(&c); err != nil {
			return err
		}
		switch c.Role {
		case "banned":
			return http.ErrAbortHandler // any error: its text stays with us
		case "later":
			return &middleware.Error{Status: 503, RetryAfter: 3 * time.Second, Description: "Later."}
		case "own":
			return &middleware.Error{Status: 403, Code: "insufficient_scope", Description: "Own words."}
		}
		return nil
	}}})
	h := auth.Handler(ok)
	answer := func(role any) *httptest.ResponseRecorder { return ask(h, mint(t, i, map[string]any{"role": role})) }
	require.Equal(t, 200, answer("user").Code)
	require.Equal(t, 401, answer(1).Code, "a claims type that does not fit")
	require.Equal(t, 401, ask(h, mint(t, i, map[string]any{"ROLE": "user"})).Code, "nor by another case of its name")
	w := answer("banned")
	require.Equal(t, 403, w.Code)
	require.Contains(t, w.Header().Get("WWW-Authenticate"), `error="insufficient_scope"`)
	require.NotContains(t, w.Body.String(), "abort")
	w = answer("later")
	require.Equal(t, []any{503, "3", ""}, []any{w.Code, w.Header().Get("Retry-After"), w.Header().Get("WWW-Authenticate")})
	w = answer("own")
	require.Equal(t, 403, w.Code)
	require.Contains(t, w.Header().Get("WWW-Authenticate"), `error_description="Own words."`)
}

// A Verified is shared: a handler that appends to what it holds gets a copy.
func TestWhatAVerifiedHoldsHasNoRoomToAppend(t *testing.T) {
	i := newIssuer(t)
	opaque := verifier(func(context.Context, string) (providers.Verified, error) {
		return providers.Verified{Subject: "ada", Scopes: make([]string, 1, 9), Claims: append(make([]byte, 0, 99), `{"aud":["a","b","c"]}`...)}, nil
	})
	auth := newAuth(t, middleware.Config{Issuers: own(trusting(i)), Opaque: []middleware.Opaque{{
		Verifier: opaque, Owns: func(s string) bool { return s == "opaque" }, Issuer: "kudo", Audiences: []string{"a"}, Subjects: middleware.Qualified,
	}}})
	for _, token := range []string{"opaque", mint(t, i, map[string]any{"scope": "a"}), mint(t, i, map[string]any{"scope": "a b c d e"}), mint(t, i, map[string]any{"scope": nil, "scp": []string{"a", "b", "c"}})} {
		v, err := auth.Verify(t.Context(), token)
		require.NoError(t, err)
		require.NotEmpty(t, v.Scopes)
		require.Equal(t, []int{len(v.Audience), len(v.Scopes), len(v.Claims)}, []int{cap(v.Audience), cap(v.Scopes), cap(v.Claims)}, token)
	}
}

// What is remembered is bounded by number and by bytes.
func TestRememberedTokensAreBounded(t *testing.T) {
	cfg := middleware.Issuer{Issuer: "a", AnyAudience: true, Algorithms: []string{"HS256"}, Secrets: [][]byte{secret}}
	filler := strings.Repeat("x", 6000)
	for _, c := range []struct {
		size   int
		bound  int64
		filler string
	}{{1000, 4 << 20, ""}, {1000, 6 << 20, filler}, {-1, 1 << 20, ""}} {
		auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{cfg}, CacheSize: c.size})
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		exp := time.Now().Add(time.Hour).Unix()
		for n := range 5000 {
			_, err := auth.Verify(t.Context(), hs256(t, map[string]any{"iss": "a", "exp": exp, "jti": fmt.Sprint(n), "filler": c.filler}))
			require.NoError(t, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		require.Less(t, grown, c.bound)
		t.Logf("5000 tokens, CacheSize %d, %d claims bytes: %d KiB", c.size, len(c.filler), grown>>10)
		runtime.KeepAlive(auth)
	}
}
