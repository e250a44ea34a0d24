package jws_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jws"
)

type jwk = map[string]any

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func rsaJWK(t *testing.T, bits, e int) jwk {
	k, err := rsa.GenerateKey(rand.Reader, max(bits, 1024))
	require.NoError(t, err)
	n := k.N
	if bits < 1024 {
		n = big.NewInt(1<<40 + 1)
	}
	return jwk{"kty": "RSA", "n": b64(n.Bytes()), "e": b64(big.NewInt(int64(e)).Bytes())}
}

func with(k jwk, members ...any) jwk {
	out := jwk{}
	for name, v := range k {
		out[name] = v
	}
	for i := 0; i < len(members); i += 2 {
		out[members[i].(string)] = members[i+1]
	}
	return out
}

func parse(t *testing.T, keys ...any) ([]jws.Key, []error, error) {
	body, err := json.Marshal(jwk{"keys": keys})
	require.NoError(t, err)
	return jws.ParseSet(body)
}

func TestKeysThatAreSkipped(t *testing.T) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	good := jwk{"kty": "OKP", "crv": "Ed25519", "kid": "good", "x": b64(pub)}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	point, err := ec.PublicKey.Bytes()
	require.NoError(t, err)
	p256 := jwk{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
	strong := rsaJWK(t, 2048, 65537)
	for name, bad := range map[string]any{
		"oct": jwk{"kty": "oct", "k": b64(make([]byte, 64)), "alg": "HS256"}, "private": with(good, "kid", "p", "d", b64(priv.Seed())), "k beside": with(good, "k", "AA"),
		"encryption": with(good, "use", "enc"), "another use": with(good, "use", "x"), "encrypt": with(strong, "key_ops", []string{"encrypt"}), "RSA 1024": rsaJWK(t, 1024, 65537),
		"RSA tiny": rsaJWK(t, 40, 65537), "exponent 1": with(strong, "e", "AQ"), "exponent even": with(strong, "e", "AAAQ"), "exponent huge": with(strong, "e", b64(append([]byte{1}, make([]byte, 8)...))),
		"RSA 16384": with(strong, "n", b64(append([]byte{0xff}, make([]byte, 2047)...))), "wrong alg": with(p256, "alg", "ES384"), "unknown alg": with(p256, "alg", "ES521"), "RSA-OAEP": with(strong, "alg", "RSA-OAEP"),
		"off the curve": with(p256, "y", p256["x"]), "wrong curve": with(p256, "crv", "P-384"), "secp256k1": with(p256, "crv", "secp256k1"), "X25519": with(good, "crv", "X25519"),
		"Ed25519 short": with(good, "x", "AAAA"), "no kty": jwk{"x": "AA"}, "unknown kty": with(good, "kty", "AKP"), "null": nil, "number": 1, "text": "x", "array": []any{}, "empty": jwk{}, "kid a number": with(p256, "kid", 1),
		"not base64":   with(good, "x", "!"),
		"use mistyped": with(good, "use", []string{"sig"}), "alg mistyped": with(good, "alg", 1), "key_ops mistyped": with(good, "key_ops", "verify"), "key_ops with a number": with(good, "key_ops", []any{"verify", 1}),
		"issuer mistyped": with(good, "issuer", []string{"a"}), "issuer null": with(good, "issuer", nil), "issuer empty": with(good, "issuer", ""), "private of another type": with(good, "d", 1), "oth": with(strong, "oth", []any{}),
		"use of SPIFFE": with(good, "use", "jwt-svid"), "only in another case": jwk{"KTY": "OKP", "Crv": "Ed25519", "X": good["x"]},
	} {
		keys, skipped, err := parse(t, bad, good)
		require.NoError(t, err, name)
		require.Len(t, keys, 1, name)
		require.Equal(t, "good", keys[0].ID, name)
		require.Len(t, skipped, 1, name)
		require.NotContains(t, fmt.Sprint(skipped), b64(priv.Seed()), name)
		_, _, err = parse(t, bad)
		require.Error(t, err, name)
	}
	for name, fine := range map[string]jwk{
		"use": with(p256, "use", "sig"), "verify": with(p256, "key_ops", []string{"verify"}), "alg": with(p256, "alg", "ES256"), "padded": with(strong, "n", strong["n"].(string)+"="),
		"certificate that is none": with(p256, "x5c", []string{"AAAA"}, "x5u", "http://x"), "unknown member": with(p256, "x-own", 1), "D is a note": with(p256, "D", "a note"), "K too": with(p256, "K", 1), "USE is not use": with(p256, "USE", "enc", "Alg", "ES384", "Key_Ops", 1),
		"x5c as text": with(p256, "x5c", "AAAA", "x5t", 7, "x5t#S256", []any{}), "nulls": with(p256, "use", nil, "alg", nil, "key_ops", nil, "kid", nil, "d", nil), "half surrogate in a note": with(p256, "note", json.RawMessage(`"\ud800"`)),
		"issuer": with(good, "issuer", "https://login.microsoftonline.com/{tenantid}/v2.0"), "EdDSA": with(good, "alg", "EdDSA"), "Ed25519": with(good, "alg", "Ed25519"),
	} {
		keys, _, err := parse(t, fine)
		require.NoError(t, err, name)
		require.Len(t, keys, 1, name)
	}
}

func TestKidsThatAreNotUnique(t *testing.T) {
	key := func(kid string) jwk {
		pub, _, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		return jwk{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pub)}
	}
	a, b := key("a"), key("b")
	keys, _, err := parse(t, a, b, a)
	require.NoError(t, err)
	require.Len(t, keys, 2, "a key listed twice")
	keys, skipped, err := parse(t, a, key("a"), b)
	require.NoError(t, err)
	require.Len(t, keys, 1, "two keys of one kid: neither")
	require.Equal(t, `kid "a" is that of two different keys`, errors.Join(skipped...).Error())
	require.Equal(t, "b", keys[0].ID)
	keys, _, err = parse(t, key(""), key(""))
	require.NoError(t, err)
	require.Len(t, keys, 2, "keys without kid")
	keys, _, err = parse(t, with(rsaJWK(t, 2048, 65537), "kid", "x"), key("x"))
	require.NoError(t, err)
	require.Len(t, keys, 2, "one kid, two kinds")
	keys, _, err = parse(t, with(a, "alg", "EdDSA"), with(key("a"), "alg", "Ed25519"), b)
	require.NoError(t, err)
	require.Len(t, keys, 1, "two names of one algorithm")
	for _, twice := range [][]any{{with(a, "alg", "EdDSA"), a, b}, {a, with(a, "alg", "EdDSA"), b}, {with(a, "alg", "Ed25519"), with(a, "alg", "EdDSA"), b}} {
		keys, _, err = parse(t, twice...)
		require.NoError(t, err)
		require.Len(t, keys, 2, "one public key listed twice, with alg and without, is one key")
		require.True(t, keys[0].Fits("EdDSA") && keys[0].Fits("Ed25519"))
	}
	strong := with(rsaJWK(t, 2048, 65537), "kid", "r")
	keys, _, err = parse(t, with(strong, "alg", "RS256"), with(strong, "alg", "PS256"))
	require.NoError(t, err)
	require.Len(t, keys, 2, "one public key for two algorithms")
	keys, _, err = parse(t, with(strong, "alg", "RS256"), strong)
	require.NoError(t, err)
	require.True(t, len(keys) == 1 && keys[0].Fits("PS256"))
	keys, _, err = parse(t, with(a, "issuer", "x"), with(key("a"), "issuer", "y"))
	require.NoError(t, err)
	require.Len(t, keys, 2, "one kid at two issuers")
	keys, _, err = parse(t, with(a, "issuer", "x"), key("a"), b)
	require.NoError(t, err)
	require.Len(t, keys, 1, "one of the two serves every issuer")
}

// RFC 7517 section 4.2 leaves other values of use to those who agree on them.
func TestUsesThatAreConfigured(t *testing.T) {
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	svid := jwk{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": b64(pub), "use": "jwt-svid"}
	body, err := json.Marshal(jwk{"keys": []any{svid, with(svid, "kid", "b", "use", "x509-svid"), with(svid, "kid", "c", "use", "enc"), with(svid, "kid", "d", "use", "sig"), jwk{"kty": "OKP", "crv": "Ed25519", "x": b64(pub)}}})
	require.NoError(t, err)
	keys, skipped, err := jws.ParseSet(body, "jwt-svid")
	require.NoError(t, err)
	require.Len(t, keys, 1)
	require.Equal(t, "a", keys[0].ID)
	require.Len(t, skipped, 4)
}

func TestRingFindsByAlgorithmKidAndIssuer(t *testing.T) {
	key := func(kid string, members ...any) jwk {
		pub, _, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		return with(jwk{"kty": "OKP", "crv": "Ed25519", "x": b64(pub)}, append(members, "kid", kid)...)
	}
	named, bound, free := key("named", "alg", "EdDSA"), key("bound", "issuer", "https://id/{tenantid}/v2"), key("")
	keys, _, err := parse(t, named, bound, free, with(rsaJWK(t, 2048, 65537), "kid", "r"))
	require.NoError(t, err)
	ring := jws.NewRing(keys, []string{"EdDSA", "Ed25519", "RS256", "PS256", "ES256"})
	for _, c := range []struct {
		alg, kid string
		n        int
		match    jws.Match
	}{
		{"EdDSA", "named", 1, jws.Named}, {"Ed25519", "named", 1, jws.Named}, {"RS256", "named", 0, jws.Named}, {"RS256", "r", 1, jws.Named}, {"PS256", "r", 1, jws.Named},
		{"EdDSA", "unknown", 1, jws.Hinted}, {"RS256", "unknown", 0, jws.Hinted}, {"EdDSA", "", 3, jws.Unnamed}, {"ES256", "", 0, jws.Unnamed}, {"RS512", "r", 0, jws.Named}, {"HS256", "", 0, jws.Unnamed},
	} {
		got, match := ring.Candidates(&jws.Token{Algorithm: c.alg, KeyID: c.kid})
		require.Equal(t, c.match, match, c)
		require.Len(t, got, c.n, c)
		for _, k := range got {
			require.NoError(t, jws.Fit(c.alg, k.Public), c)
			require.True(t, ring.Has(k.Thumbprint()))
		}
	}
	got, _ := ring.Candidates(&jws.Token{Algorithm: "EdDSA", KeyID: "bound"})
	require.Len(t, got, 1)
	for iss, want := range map[[2]string]bool{
		{"https://id/t1/v2", "t1"}: true, {"https://id/t1/v2", "t2"}: false, {"https://id/t1/v2", ""}: false, {"https://id//v2", ""}: false, {"https://id/t1/v2/", "t1"}: false,
		{"https://id/{tenantid}/v2", "{tenantid}"}: true, {"https://evil/t1/v2", "t1"}: false,
	} {
		require.Equal(t, want, got[0].For(iss[0], iss[1]), iss)
	}
	fewer := jws.NewRing(keys[:3], []string{"EdDSA"})
	require.True(t, ring.Keeps(fewer))
	require.False(t, fewer.Keeps(ring))
	moved := slices.Clone(keys)
	moved[1].Issuer = "https://other"
	require.False(t, jws.NewRing(moved, nil).Keeps(ring), "the issuer is part of a key's identity")
}

// RFC 7638 section 3.1, and RFC 8037 appendix A.3.
func TestThumbprints(t *testing.T) {
	for want, key := range map[string]string{
		"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
		"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
	} {
		keys, _, err := jws.ParseSet([]byte(`{"keys":[` + key + `]}`))
		require.NoError(t, err)
		sum := keys[0].Thumbprint()
		require.Equal(t, want, b64(sum[:]))
	}
}

func TestSetsThatAreNone(t *testing.T) {
	for _, body := range []string{``, `null`, `[]`, `{}`, `{"keys":null}`, `{"keys":{}}`, `{"keys":[]}`, `{"keys":"x"}`, `{"keys":[{}` + strings.Repeat(`,{}`, 256) + `]}`, `{"keys":[`, `{"Keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`} {
		keys, _, err := jws.ParseSet([]byte(body))
		require.Error(t, err, body)
		require.Empty(t, keys, body)
	}
}

func TestFit(t *testing.T) {
	curves := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}
	for alg, own := range curves {
		for other, curve := range curves {
			k, err := ecdsa.GenerateKey(curve, rand.Reader)
			require.NoError(t, err)
			require.Equal(t, curve == own, jws.Fit(alg, &k.PublicKey) == nil, "%s with the curve of %s", alg, other)
			require.Error(t, jws.Fit(alg, k), "a private key")
		}
	}
	for alg, size := range map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} {
		require.NoError(t, jws.Fit(alg, make([]byte, size)))
		require.Error(t, jws.Fit(alg, make([]byte, size-1)))
		require.Error(t, jws.Fit(alg, []byte(nil)))
	}
	for _, nothing := range []any{(*rsa.PublicKey)(nil), &rsa.PublicKey{}, (*ecdsa.PublicKey)(nil), &ecdsa.PublicKey{}, ed25519.PublicKey(nil)} {
		for _, alg := range []string{"RS256", "ES256", "EdDSA", "HS256"} {
			require.Error(t, jws.Fit(alg, nothing), "%T", nothing)
		}
	}
	require.Error(t, jws.Fit("none", nil))
	require.Error(t, jws.Fit("RS256", make([]byte, 64)))
	known, symmetric := jws.Known("HS512")
	require.True(t, known && symmetric)
	known, symmetric = jws.Known("RS256")
	require.True(t, known && !symmetric)
	known, _ = jws.Known("none")
	require.False(t, known)
}

func TestRSAKeysFitByTheirLength(t *testing.T) {
	for bits, fits := range map[int]bool{2047: false, 2048: true, 8192: true, 8193: false} {
		k := jws.Key{Public: &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int), bits-1, 1), E: 65537}}
		require.Equal(t, fits, k.Fits("RS256"), bits)
	}
}
