package middleware_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, err = middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{
			{},
			{Issuer: "a", Audiences: []string{""}, AnyAudience: true, Algorithms: []string{"none", "HS256"}, JWKSURL: "http://keys.example/", Discover: true},
			{Issuer: "b", Audiences: []string{""}, Algorithms: []string{"RS256", "HS512"}, Secrets: [][]byte{nil, make([]byte, 63)}},
			{Issuer: "c", Audiences: []string{"x"}, Algorithms: []string{"RS256", "ES384"}, Keys: map[string]crypto.PublicKey{"weak": &weak.PublicKey, "curve": &p256.PublicKey, "private": weak}},
			{Issuer: "c", AnyAudience: true, Algorithms: []string{"EdDSA"}, JWKSURL: "https://user:pw@keys.example/", RefreshEvery: time.Millisecond},
		},
		Opaque:  []middleware.Opaque{{}},
		Require: middleware.Rule{AllScopes: []string{"a b"}, AnyScope: []string{`"`}, ACR: []string{""}, MaxAge: -1},
		Leeway:  time.Hour, Realm: "a\r\nb", Resource: "http://api.example", Cookie: "x", Extract: func(*http.Request) []string { return nil },
		Renew: &middleware.Renew{},
	})
	require.Error(t, err)
	for _, want := range []string{
		"Issuers[0]: Issuer is empty", "Issuers[0]: Audiences is empty", "Issuers[0]: Algorithms is empty", "Issuers[0]: exactly one of",
		"Issuers[1]: AnyAudience and Audiences", `algorithm "none" is not known`, "Issuers[1]: HS256 needs Secrets", "Issuers[1]: JWKSURL: must be https", "Issuers[1]: exactly one of", "Issuers[1]: Issuer: ",
		"Issuers[2]: an audience is empty", "Issuers[2]: RS256 does not go with Secrets", "Secrets[0] is empty", "Secrets[1] is shorter than the hash of HS512",
		`Issuers[3]: Keys["weak"]`, `Issuers[3]: Keys["curve"]`, `Issuers[3]: Keys["private"]`,
		"Issuers[4]: JWKSURL: userinfo", "RefreshEvery is under 1 s",
		"Opaque[0]: Verifier is nil", "Opaque[0]: Owns is nil", `"a b" is not a scope`, `"\"" is not a scope`, "cannot be an acr value", "MaxAge is negative",
		"Leeway is over 5 minutes", "Realm has", "Resource: not an https URL", "Extract replaces", "Renew: no positive Window", "Renew: no Token", "Renew: no Deliver",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "pw@")
	_, err = middleware.New(middleware.Config{})
	require.ErrorContains(t, err, "neither Issuers nor Opaque nor Resolve")
	auth := authFor(t, trusting(newIssuer(t)))
	_, err = auth.Require(middleware.Rule{AllScopes: []string{""}}, middleware.Rule{MaxAge: -1})
	require.ErrorContains(t, err, `"" is not a scope`)
	require.ErrorContains(t, err, "MaxAge is negative")
}

func TestStaticKeys(t *testing.T) {
	i := newIssuer(t, "RS256", "ES256", "EdDSA")
	algs := []string{"RS256", "ES256", "EdDSA"}
	byKid := middleware.Issuer{Issuer: i.URL, Audiences: []string{i.Audience}, Algorithms: algs, Keys: i.PublicKeys()}
	byType := byKid
	for _, key := range i.PublicKeys() {
		if _, isEC := key.(*ecdsa.PublicKey); isEC {
			byType.Keys = map[string]crypto.PublicKey{"": key}
			byType.Algorithms = []string{"ES256"}
		}
	}
	for _, alg := range algs {
		token, err := i.Sign(map[string]any{"alg": alg}, claimsOf(t, mint(t, i, nil)))
		require.NoError(t, err)
		require.Empty(t, reasonOf(t, authFor(t, byKid), token), alg)
		want := "algorithm"
		if alg == "ES256" {
			want = ""
		}
		require.Equal(t, want, reasonOf(t, authFor(t, byType), token), alg)
	}
	require.Equal(t, "signature", reasonOf(t, authFor(t, byKid), mustSign(t, i, map[string]any{"kid": "unknown"})), "no key is tried for an unknown kid")
	require.Empty(t, reasonOf(t, authFor(t, byType), mustSign(t, i, map[string]any{"alg": "ES256", "kid": "unknown"})), "kid \"\" serves any")
	require.Empty(t, reasonOf(t, authFor(t, byKid), mustSign(t, i, map[string]any{"kid": nil})))
}

func claimsOf(t *testing.T, token string) []byte {
	b, err := segmentOf(token, 1)
	require.NoError(t, err)
	return b
}

func TestEd25519IsEdDSA(t *testing.T) { // RFC 9864
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	auth := authFor(t, middleware.Issuer{Issuer: "a", AnyAudience: true, Algorithms: []string{"Ed25519"}, Keys: map[string]crypto.PublicKey{"": pub}})
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"Ed25519"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"a","exp":9999999999}`))
	require.Empty(t, reasonOf(t, auth, input+"."+base64.RawURLEncoding.EncodeToString(ed25519.Sign(priv, []byte(input)))))
}

func TestSecretsAndTheirRotation(t *testing.T) {
	next, unknown := []byte(strings.Repeat("n", 32)), []byte(strings.Repeat("u", 32))
	auth := authFor(t, middleware.Issuer{Issuer: "org", AnyAudience: true, Algorithms: []string{"HS256"}, Secrets: [][]byte{next, secret}, SubjectClaim: "user_id"})
	sign := func(secret []byte) string {
		s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "org", "user_id": "u1", "exp": time.Now().Unix() + 60}).SignedString(secret)
		require.NoError(t, err)
		return s
	}
	require.Empty(t, reasonOf(t, auth, sign(next)))
	require.Empty(t, reasonOf(t, auth, sign(secret)))
	require.Equal(t, "signature", reasonOf(t, auth, sign(unknown)))
	v, err := auth.Verify(t.Context(), sign(next))
	require.NoError(t, err)
	require.Equal(t, "u1", v.Subject)
	short := authFor(t, middleware.Issuer{Issuer: "org", AnyAudience: true, Algorithms: []string{"HS256"}, Secrets: [][]byte{[]byte("vendor's")}, DangerouslyShortSecrets: true})
	require.Empty(t, reasonOf(t, short, sign([]byte("vendor's"))))
}

// ContactsManager's Node SDK leaves iss out.
func TestTokensWithoutIssuer(t *testing.T) {
	cfg := middleware.Issuer{
		Issuer: "org-1", WithoutIssuer: true, AnyAudience: true, Algorithms: []string{"HS256"}, Secrets: [][]byte{secret}, SubjectClaim: "user_id",
		Require: middleware.Rule{Claims: map[string][]string{"/org_id": {"org-1"}}},
	}
	auth := authFor(t, cfg)
	exp := time.Now().Unix() + 60
	good := hs256(t, jwt.MapClaims{"org_id": "org-1", "user_id": "u", "exp": exp})
	v, err := auth.Verify(t.Context(), good)
	require.NoError(t, err)
	require.Equal(t, "org-1", v.Issuer)
	require.Empty(t, reasonOf(t, auth, hs256(t, jwt.MapClaims{"iss": "org-1", "org_id": "org-1", "exp": exp})))
	for reason, claims := range map[string][]jwt.MapClaims{
		"claims": {{"org_id": "org-2", "exp": exp}, {"iss": "org-1", "exp": exp}},
		"issuer": {{"iss": "", "org_id": "org-1", "exp": exp}, {"iss": nil, "org_id": "org-1", "exp": exp}, {"iss": 1, "org_id": "org-1", "exp": exp}, {"iss": "org-2", "org_id": "org-1", "exp": exp}, {"iss": []string{"org-1"}, "org_id": "org-1", "exp": exp}},
	} {
		for _, c := range claims {
			require.Equal(t, reason, reasonOf(t, auth, hs256(t, c)), c)
		}
	}
	cfg.WithoutIssuer = false
	require.Equal(t, "issuer", reasonOf(t, authFor(t, cfg), good))
}

func TestAccessTokenProfile(t *testing.T) {
	i := newIssuer(t)
	cfg := trusting(i)
	cfg.AccessTokenProfile = true
	auth := authFor(t, cfg)
	sign := func(typ any, over map[string]any) string {
		claims := map[string]any{"client_id": "app"}
		for k, v := range over {
			claims[k] = v
		}
		token, err := i.Sign(map[string]any{"typ": typ}, claimsOf(t, mint(t, i, claims)))
		require.NoError(t, err)
		return token
	}
	require.Empty(t, reasonOf(t, auth, sign("at+jwt", nil)))
	require.Empty(t, reasonOf(t, auth, sign("application/at+jwt", nil)))
	require.Equal(t, "type", reasonOf(t, auth, sign("JWT", nil)))
	require.Equal(t, "type", reasonOf(t, auth, sign(nil, nil)))
	for _, name := range []string{"sub", "jti", "iat", "client_id"} {
		require.Equal(t, "claims", reasonOf(t, auth, sign("at+jwt", map[string]any{name: nil})), name)
	}
}

func TestLeeway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		late := mint(t, i, map[string]any{"exp": time.Now().Unix() - 30})
		early := mint(t, i, map[string]any{"nbf": time.Now().Unix() + 30})
		for leeway, want := range map[time.Duration][2]string{0: {"", ""}, -1: {"expired", "not_yet"}, 29 * time.Second: {"expired", "not_yet"}, 31 * time.Second: {"", ""}} {
			auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Leeway: leeway})
			require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
			require.Equal(t, want, [2]string{reasonOf(t, auth, late), reasonOf(t, auth, early)}, leeway)
		}
	})
}
