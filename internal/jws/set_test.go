package jws_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
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
		"not base64": with(good, "x", "!"),
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
		"certificate that is none": with(p256, "x5c", []string{"AAAA"}, "x5u", "http://x"), "unknown member": with(p256, "x-own", 1), "EdDSA": with(good, "alg", "EdDSA"), "Ed25519": with(good, "alg", "Ed25519"),
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
	keys, _, err = parse(t, a, key("a"), b)
	require.NoError(t, err)
	require.Len(t, keys, 1, "two keys of one kid: neither")
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
}

func TestSetsThatAreNone(t *testing.T) {
	for _, body := range []string{``, `null`, `[]`, `{}`, `{"keys":null}`, `{"keys":{}}`, `{"keys":[]}`, `{"keys":"x"}`, `{"keys":[{}` + strings.Repeat(`,{}`, 256) + `]}`, `{"keys":[`} {
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
	require.Error(t, jws.Fit("none", nil))
	require.Error(t, jws.Fit("RS256", make([]byte, 64)))
	known, symmetric := jws.Known("HS512")
	require.True(t, known && symmetric)
	known, symmetric = jws.Known("RS256")
	require.True(t, known && !symmetric)
	known, _ = jws.Known("none")
	require.False(t, known)
}
