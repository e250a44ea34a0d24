package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// RSA moduli have bounds in bits: the lower one is that of RFC 7518 section
// 3.3. The upper one is what crypto/tls accepts, because the time of a check
// grows with the cube of the length.
const (
	minRSA = 2048
	maxRSA = 8192
)

var (
	// ErrSignature: the signature does not verify.
	ErrSignature = errors.New("signature does not verify")
	errKey       = errors.New("key does not fit the algorithm")
)

// algorithm binds a name to a method and to the keys it may be used with.
type algorithm struct {
	name   string
	method jwt.SigningMethod
	kind   string // RSA, EC, OKP or oct
	bits   int    // of the curve, or of the hash for oct
}

var algorithms = [...]algorithm{
	{"RS256", jwt.SigningMethodRS256, "RSA", 0},
	{"ES256", jwt.SigningMethodES256, "EC", 256},
	{"EdDSA", jwt.SigningMethodEdDSA, "OKP", 0},
	{"HS256", jwt.SigningMethodHS256, "oct", 256},
	{"PS256", pss(jwt.SigningMethodPS256), "RSA", 0},
	{"RS384", jwt.SigningMethodRS384, "RSA", 0},
	{"RS512", jwt.SigningMethodRS512, "RSA", 0},
	{"PS384", pss(jwt.SigningMethodPS384), "RSA", 0},
	{"PS512", pss(jwt.SigningMethodPS512), "RSA", 0},
	{"ES384", jwt.SigningMethodES384, "EC", 384},
	{"ES512", jwt.SigningMethodES512, "EC", 521},
	{"Ed25519", jwt.SigningMethodEdDSA, "OKP", 0}, // RFC 9864
	{"HS384", jwt.SigningMethodHS384, "oct", 384},
	{"HS512", jwt.SigningMethodHS512, "oct", 512},
}

// pss returns m with the one salt length that RFC 7518 section 3.5 allows;
// golang-jwt verifies any.
func pss(m *jwt.SigningMethodRSAPSS) *jwt.SigningMethodRSAPSS {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: m.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	}
}

func find(alg string) *algorithm {
	for i := range algorithms {
		if algorithms[i].name == alg {
			return &algorithms[i]
		}
	}
	return nil
}

// Known reports whether this package can verify alg, and whether alg needs a
// shared secret.
func Known(alg string) (known, symmetric bool) {
	a := find(alg)
	return a != nil, a != nil && a.kind == "oct"
}

// Fit returns an error unless key may be used with alg: an *rsa.PublicKey of
// 2048 to 8192 bits, an *ecdsa.PublicKey on the algorithm's own curve, an
// ed25519.PublicKey, or a []byte of at least the hash's size.
func Fit(alg string, key any) error {
	a := find(alg)
	if a == nil {
		return fmt.Errorf("algorithm %q is not known", alg)
	}
	if !a.fits(key) {
		return fmt.Errorf("%s: %w", alg, errKey)
	}
	return nil
}

func (a *algorithm) fits(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return a.kind == "RSA" && k != nil && k.N != nil && k.N.BitLen() >= minRSA && k.N.BitLen() <= maxRSA
	case *ecdsa.PublicKey:
		return a.kind == "EC" && k != nil && k.Curve != nil && k.Curve.Params().BitSize == a.bits
	case ed25519.PublicKey:
		return a.kind == "OKP" && len(k) == ed25519.PublicKeySize
	case []byte:
		return a.kind == "oct" && len(k)*8 >= a.bits
	}
	return false
}

// Verify checks t's signature with key. The caller must have checked with [Fit]
// that key fits the algorithm. Only the length of a secret may be an exception.
func (t *Token) Verify(key any) error {
	a := find(t.Algorithm)
	if a == nil || a.method.Verify(t.Input, t.Signature, key) != nil {
		return ErrSignature
	}
	return nil
}
