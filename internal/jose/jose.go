// Package jose is the only place of the kit that signs: client assertions with
// a private key, and HS256 tokens with a shared secret. It verifies nothing.
//
// # Concurrency
//
// A [Key] is immutable and as safe for concurrent use as its crypto.Signer.
//
// # Security
//
// No error holds a byte of a key. An algorithm is bound to one kind of key,
// and for ECDSA to one curve (RFC 7518 section 3.4); RSA keys have at least
// 2048 bits (section 3.3).
package jose

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"

	"github.com/golang-jwt/jwt/v5"

	"github.com/bearerkit/bearerkit/internal/flight"
)

const minRSABits = 2048

// Key signs JWTs (RFC 7515 compact form) with one algorithm. [NewKey] makes it.
type Key struct {
	signer crypto.Signer
	method jwt.SigningMethod
	header string // base64url
	jwk    JWK
	remote chan struct{} // a slot for each signature that a Signer elsewhere may be working on
}

// maxRemote is how many signatures of one key may be under way in a Signer that
// is not a private key of the standard library.
const maxRemote = 16

// joseHeader is a JWS header in the order in which it is written.
type joseHeader struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid,omitempty"`
	X5t string `json:"x5t#S256,omitempty"`
}

// JWK is a public key in the form of RFC 7517.
type JWK struct {
	KeyType   string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid,omitempty"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
}

// NewKey binds signer to alg: RS256, RS384, RS512, PS256, PS384, PS512, ES256,
// ES384, ES512 or EdDSA. "" means RS256, the algorithm of the curve, or EdDSA.
// signer may be any crypto.Signer, so that the private key can stay in a KMS or
// an HSM. If kid is empty, no header has one.
func NewKey(signer crypto.Signer, alg, kid string) (*Key, error) {
	signer, err := OneOf(nil, signer)
	if err != nil {
		return nil, err
	}
	pub := signer.Public()
	if alg == "" {
		alg = defaultAlg(pub)
	}
	method := methodOf(alg)
	if method == nil {
		return nil, fmt.Errorf("jose: algorithm %q is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA", alg)
	}
	jwk, err := publicJWK(pub, method)
	if err != nil {
		return nil, err
	}
	jwk.KeyID = kid
	header, err := segment(joseHeader{Alg: alg, Typ: "JWT", Kid: kid})
	if err != nil {
		return nil, err
	}
	k := &Key{signer: signer, method: method, header: header, jwk: jwk}
	switch signer.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
	default:
		k.remote = make(chan struct{}, maxRemote)
	}
	return k, nil
}

// WithCertificate returns k with the SHA-256 thumbprint of its X.509
// certificate, in PEM, in the header: x5t#S256 of RFC 7515 section 4.1.8.
func (k *Key) WithCertificate(text []byte) (*Key, error) {
	block, rest := pem.Decode(text)
	for block != nil && block.Type != "CERTIFICATE" {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("jose: no PEM block with a certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("jose: not a valid certificate")
	}
	if public, ok := k.signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("jose: the certificate is of another key")
	}
	sum := sha256.Sum256(cert.Raw)
	other := *k
	other.header, err = segment(joseHeader{Alg: k.method.Alg(), Typ: "JWT", Kid: k.jwk.KeyID, X5t: base64.RawURLEncoding.EncodeToString(sum[:])})
	return &other, err
}

// PublicJWK returns the public half, for a JWK set.
func (k *Key) PublicJWK() JWK { return k.jwk }

// Sign returns a JWT of claims, anything that marshals to a JSON object.
func (k *Key) Sign(claims any) (string, error) {
	payload, err := segment(claims)
	if err != nil {
		return "", err
	}
	input := k.header + "." + payload
	sig, err := k.sign(input)
	if err != nil {
		return "", fmt.Errorf("jose: sign with %s: %w", k.method.Alg(), err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// SignContext is [Key.Sign] that waits no longer than ctx. A crypto.Signer
// takes no context: one that hangs keeps its goroutine and its slot until it
// returns. If all slots are taken, the next signature waits until ctx ends.
func (k *Key) SignContext(ctx context.Context, claims any) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if k.remote == nil {
		return k.Sign(claims)
	}
	select {
	case k.remote <- struct{}{}:
	case <-ctx.Done():
		return "", fmt.Errorf("jose: %d signatures are under way: %w", maxRemote, ctx.Err())
	}
	type result struct {
		token string
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-k.remote }()
		var r result
		if err := flight.Guard(func() { r.token, r.err = k.Sign(claims) }); err != nil {
			r.err = err
		}
		done <- r
	}()
	select {
	case r := <-done:
		return r.token, r.err
	case <-ctx.Done():
		return "", fmt.Errorf("jose: sign with %s: %w", k.method.Alg(), ctx.Err())
	}
}

// sign uses crypto.Signer, because golang-jwt's RSA and ECDSA methods need the
// private key itself.
func (k *Key) sign(input string) ([]byte, error) {
	var hash crypto.Hash
	var opts crypto.SignerOpts
	switch m := k.method.(type) {
	case *jwt.SigningMethodRSAPSS:
		hash, opts = m.Hash, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: m.Hash}
	case *jwt.SigningMethodRSA:
		hash, opts = m.Hash, m.Hash
	case *jwt.SigningMethodECDSA:
		hash, opts = m.Hash, m.Hash
	default:
		return k.method.Sign(input, k.signer)
	}
	h := hash.New()
	h.Write([]byte(input))
	sig, err := k.signer.Sign(rand.Reader, h.Sum(nil), opts)
	if m, ok := k.method.(*jwt.SigningMethodECDSA); ok && err == nil {
		return joinRS(sig, m)
	}
	return sig, err
}

// joinRS turns the ASN.1 signature of crypto.Signer into the r‖s of RFC 7518
// section 3.4.
func joinRS(der []byte, m *jwt.SigningMethodECDSA) ([]byte, error) {
	var rs struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &rs)
	if err != nil || len(rest) > 0 {
		return nil, errors.New("the signer did not return an ASN.1 ECDSA signature")
	}
	for _, v := range []*big.Int{rs.R, rs.S} {
		if v.Sign() <= 0 || v.BitLen() > m.CurveBits {
			return nil, errors.New("the signer returned an ECDSA signature of another curve")
		}
	}
	sig := make([]byte, 2*m.KeySize)
	rs.R.FillBytes(sig[:m.KeySize])
	rs.S.FillBytes(sig[m.KeySize:])
	return sig, nil
}

// HS256 returns a JWT of claims signed with secret. Its header is exactly
// {"alg":"HS256","typ":"JWT"}, and its claims are in the order in which they
// marshal. The secret may be shorter than RFC 7518 section 3.2 requires,
// because vendors choose it, but not empty.
func HS256(secret []byte, claims any) (string, error) {
	if len(secret) == 0 {
		return "", errors.New("jose: empty secret")
	}
	payload, err := segment(claims)
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + payload
	sig, err := jwt.SigningMethodHS256.Sign(input, secret)
	if err != nil {
		return "", fmt.Errorf("jose: sign with HS256: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

func segment(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("jose: claims: %w", err)
	}
	if !bytes.HasPrefix(b, []byte("{")) {
		return "", errors.New("jose: claims are not a JSON object")
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

func methodOf(alg string) jwt.SigningMethod {
	for _, m := range []jwt.SigningMethod{
		jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512,
		jwt.SigningMethodPS256, jwt.SigningMethodPS384, jwt.SigningMethodPS512,
		jwt.SigningMethodES256, jwt.SigningMethodES384, jwt.SigningMethodES512,
		jwt.SigningMethodEdDSA,
	} {
		if m.Alg() == alg {
			return m
		}
	}
	return nil
}

func defaultAlg(pub crypto.PublicKey) string {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		for _, m := range []*jwt.SigningMethodECDSA{jwt.SigningMethodES384, jwt.SigningMethodES512} {
			if pub.Curve != nil && pub.Curve.Params().BitSize == m.CurveBits {
				return m.Alg()
			}
		}
		return jwt.SigningMethodES256.Alg()
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA.Alg()
	}
	return jwt.SigningMethodRS256.Alg()
}

func publicJWK(pub crypto.PublicKey, method jwt.SigningMethod) (JWK, error) {
	encode := base64.RawURLEncoding.EncodeToString
	jwk := JWK{Use: "sig", Algorithm: method.Alg()}
	wrong := fmt.Errorf("jose: algorithm %s does not fit a key of type %T", method.Alg(), pub)
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		switch method.(type) {
		case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		default:
			return JWK{}, wrong
		}
		if pub.N == nil {
			return JWK{}, errors.New("jose: not a valid RSA key")
		}
		if bits := pub.N.BitLen(); bits < minRSABits {
			return JWK{}, fmt.Errorf("jose: RSA key has %d bits, at least %d are needed", bits, minRSABits)
		}
		jwk.KeyType = "RSA"
		jwk.N, jwk.E = encode(pub.N.Bytes()), encode(big.NewInt(int64(pub.E)).Bytes())
	case *ecdsa.PublicKey:
		m, ok := method.(*jwt.SigningMethodECDSA)
		if !ok {
			return JWK{}, wrong
		}
		if pub.Curve == nil {
			return JWK{}, errors.New("jose: not a valid ECDSA key")
		}
		params := pub.Curve.Params()
		if params.BitSize != m.CurveBits {
			return JWK{}, fmt.Errorf("jose: algorithm %s does not fit a key on curve %s", m.Alg(), params.Name)
		}
		point, err := pub.Bytes() // 4‖x‖y
		if err != nil {
			return JWK{}, errors.New("jose: not a valid ECDSA key")
		}
		jwk.KeyType, jwk.Curve = "EC", params.Name
		jwk.X, jwk.Y = encode(point[1:1+m.KeySize]), encode(point[1+m.KeySize:])
	case ed25519.PublicKey:
		if _, ok := method.(*jwt.SigningMethodEd25519); !ok {
			return JWK{}, wrong
		}
		jwk.KeyType, jwk.Curve, jwk.X = "OKP", "Ed25519", encode(pub)
	default:
		return JWK{}, wrong
	}
	return jwk, nil
}
