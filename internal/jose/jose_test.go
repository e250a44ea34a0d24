package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jose"
)

// kms hides the private key, as a KMS does.
type kms struct{ crypto.Signer }

var (
	rsaKey    = must(rsa.GenerateKey(rand.Reader, 2048))
	p256      = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p384      = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p521      = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	_, ed, _  = ed25519.GenerateKey(rand.Reader)
	goodPairs = map[string]crypto.Signer{
		"RS256": rsaKey, "RS384": rsaKey, "RS512": rsaKey, "PS256": rsaKey, "PS384": rsaKey, "PS512": rsaKey,
		"ES256": p256, "ES384": p384, "ES512": p521, "EdDSA": ed,
	}
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestSignVerifiesElsewhere(t *testing.T) {
	for alg, signer := range goodPairs {
		for name, s := range map[string]crypto.Signer{"key": signer, "kms": kms{signer}} {
			t.Run(alg+"/"+name, func(t *testing.T) {
				k, err := jose.NewKey(s, alg, "kid-1")
				require.NoError(t, err)
				for range 20 { // r and s are short now and then
					token, err := k.Sign(struct {
						Sub string `json:"sub"`
					}{"x"})
					require.NoError(t, err)
					parsed, err := jwt.NewParser(jwt.WithValidMethods([]string{alg}), jwt.WithStrictDecoding()).
						Parse(token, func(*jwt.Token) (any, error) { return keyFromJWK(t, k.PublicJWK()), nil })
					require.NoError(t, err)
					require.Equal(t, map[string]any{"alg": alg, "typ": "JWT", "kid": "kid-1"}, parsed.Header)
					require.Equal(t, jwt.MapClaims{"sub": "x"}, parsed.Claims)
				}
			})
		}
	}
}

// TestSaltLength pins RFC 7518 section 3.5: the salt is as long as the hash.
func TestSaltLength(t *testing.T) {
	k := must(jose.NewKey(kms{rsaKey}, "PS384", ""))
	token := must(k.Sign(map[string]any{}))
	i := strings.LastIndexByte(token, '.')
	h := crypto.SHA384.New()
	h.Write([]byte(token[:i]))
	sig := must(base64.RawURLEncoding.DecodeString(token[i+1:]))
	require.NoError(t, rsa.VerifyPSS(&rsaKey.PublicKey, crypto.SHA384, h.Sum(nil), sig, &rsa.PSSOptions{SaltLength: 48}))
}

// keyFromJWK reads the JWK back the long way round, through its JSON.
func keyFromJWK(t *testing.T, jwk jose.JWK) crypto.PublicKey {
	t.Helper()
	var m map[string]string
	require.NoError(t, json.Unmarshal(must(json.Marshal(jwk)), &m))
	require.Equal(t, "sig", m["use"])
	require.NotContains(t, m, "d")
	b := func(name string) []byte { return must(base64.RawURLEncoding.DecodeString(m[name])) }
	switch m["kty"] {
	case "RSA":
		return &rsa.PublicKey{N: new(big.Int).SetBytes(b("n")), E: int(new(big.Int).SetBytes(b("e")).Int64())}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[m["crv"]]
		return must(ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, b("x"), b("y"))))
	}
	require.Equal(t, "Ed25519", m["crv"])
	return ed25519.PublicKey(b("x"))
}

func TestDefaultAlgorithm(t *testing.T) {
	for alg, signer := range map[string]crypto.Signer{"RS256": rsaKey, "ES256": p256, "ES384": p384, "ES512": p521, "EdDSA": ed} {
		require.Equal(t, alg, must(jose.NewKey(signer, "", "")).PublicJWK().Algorithm)
	}
}

func TestNewKeyRefuses(t *testing.T) {
	small := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Rsh(rsaKey.N, 1), E: 65537}}
	var typedNil *rsa.PrivateKey
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	for name, tc := range map[string]struct {
		signer crypto.Signer
		alg    string
		want   string
	}{
		"nil":            {nil, "RS256", "no private key"},
		"typed nil":      {typedNil, "RS256", "no private key"},
		"zero rsa":       {&rsa.PrivateKey{}, "RS256", "not a valid RSA key"},
		"zero ecdsa":     {&ecdsa.PrivateKey{}, "ES256", "not a valid ECDSA key"},
		"no alg, P-224":  {p224, "", "curve P-224"},
		"no alg, odd":    {odd{}, "", "does not fit"},
		"alg none":       {rsaKey, "none", `algorithm "none"`},
		"alg HS256":      {rsaKey, "HS256", `algorithm "HS256"`},
		"alg in lower":   {rsaKey, "rs256", `algorithm "rs256"`},
		"RSA, ES alg":    {rsaKey, "ES256", "does not fit"},
		"RSA, EdDSA":     {rsaKey, "EdDSA", "does not fit"},
		"EC, RS alg":     {p256, "RS256", "does not fit"},
		"EC, PS alg":     {p256, "PS256", "does not fit"},
		"wrong curve":    {p256, "ES384", "curve P-256"},
		"wrong curve 2":  {p384, "ES256", "curve P-384"},
		"P-224":          {p224, "ES256", "curve P-224"},
		"Ed25519, ES":    {ed, "ES256", "does not fit"},
		"RSA-2047":       {small, "RS256", "2047 bits"},
		"unknown public": {odd{}, "RS256", "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jose.NewKey(tc.signer, tc.alg, "k")
			require.ErrorContains(t, err, tc.want)
		})
	}
}

type odd struct{}

func (odd) Public() crypto.PublicKey                                  { return "odd" }
func (odd) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, nil }

// broken is a signer whose signatures are not what crypto.Signer promises.
type broken struct {
	crypto.Signer
	sig []byte
	err error
}

func (b broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return b.sig, b.err }

func TestSignFailures(t *testing.T) {
	down := errors.New("kms down")
	_, err := must(jose.NewKey(broken{Signer: rsaKey, err: down}, "RS256", "")).Sign(map[string]any{})
	require.ErrorIs(t, err, down)

	h := sha256.Sum256(nil)
	for name, sig := range map[string][]byte{
		"empty":       nil,
		"raw r and s": make([]byte, 64),
		"other curve": must(p521.Sign(rand.Reader, h[:], crypto.SHA256)),
		"zero":        {0x30, 6, 2, 1, 0, 2, 1, 0},
		"negative":    {0x30, 6, 2, 1, 0xff, 2, 1, 1},
		"trailing":    append(must(p256.Sign(rand.Reader, h[:], crypto.SHA256)), 0),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := must(jose.NewKey(broken{Signer: p256, sig: sig}, "ES256", "")).Sign(map[string]any{})
			require.ErrorContains(t, err, "the signer")
		})
	}

	k := must(jose.NewKey(ed, "EdDSA", ""))
	for _, claims := range []any{nil, 1, "x", []string{"x"}, make(chan int), map[string]string(nil)} {
		_, err := k.Sign(claims)
		require.ErrorContains(t, err, "claims")
	}
}

func TestHS256(t *testing.T) {
	type claims struct {
		Z string `json:"z"`
		A int    `json:"a"`
	}
	token, err := jose.HS256([]byte("short"), claims{"1", 2})
	require.NoError(t, err)
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	require.Equal(t, `{"alg":"HS256","typ":"JWT"}`, string(must(base64.RawURLEncoding.DecodeString(parts[0]))))
	require.Equal(t, `{"z":"1","a":2}`, string(must(base64.RawURLEncoding.DecodeString(parts[1]))))
	mac := hmac.New(sha256.New, []byte("short"))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	require.Equal(t, base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), parts[2])

	_, err = jose.HS256(nil, claims{})
	require.ErrorContains(t, err, "empty secret")
	_, err = jose.HS256([]byte("x"), 3)
	require.ErrorContains(t, err, "claims")
}

func TestNoKidNoMember(t *testing.T) {
	k := must(jose.NewKey(ed, "EdDSA", ""))
	head, _, _ := strings.Cut(must(k.Sign(map[string]any{})), ".")
	require.Equal(t, `{"alg":"EdDSA","typ":"JWT"}`, string(must(base64.RawURLEncoding.DecodeString(head))))
	require.NotContains(t, string(must(json.Marshal(k.PublicJWK()))), "kid")
}
