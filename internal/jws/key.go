package jws

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
)

// Key is one verification key. Algorithm "" leaves the choice to the kind of
// key.
type Key struct {
	ID        string
	Algorithm string
	// Issuer is the JWK's issuer member: the key verifies tokens of that iss
	// only. TenantParam in it stands for the token's tid. "" means any issuer.
	Issuer string
	Public any  // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or []byte for a secret
	Short  bool // a secret shorter than the hash will do
}

// TenantParam stands for the token's tid in an issuer template.
const TenantParam = "{tenantid}"

// Fits reports whether k may verify alg.
func (k *Key) Fits(alg string) bool {
	a := find(alg)
	if a == nil || !a.fits(k.Public) && !(k.Short && a.kind == "oct") {
		return false
	}
	return k.Algorithm == "" || sameMethod(k.Algorithm, alg)
}

// sameMethod reports that a and b are names of one method, as EdDSA and
// Ed25519 are.
func sameMethod(a, b string) bool {
	if a == b {
		return true
	}
	x, y := find(a), find(b)
	return x != nil && y != nil && x.method == y.method
}

// Equal reports whether k and o are the same key in every respect.
func (k *Key) Equal(o *Key) bool {
	return k.ID == o.ID && k.Algorithm == o.Algorithm && k.Issuer == o.Issuer && k.samePublic(o)
}

func (k *Key) samePublic(o *Key) bool {
	if secret, ok := k.Public.([]byte); ok {
		other, ok := o.Public.([]byte)
		return ok && bytes.Equal(secret, other)
	}
	pub, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(o.Public)
}

// bound reports whether k may verify a token of issuer iss with tenant tid.
func (k *Key) bound(iss, tid string) bool {
	if k.Issuer == "" || k.Issuer == iss {
		return true
	}
	before, after, template := strings.Cut(k.Issuer, TenantParam)
	return template && tid != "" && iss == before+tid+after
}

// Thumbprint returns the key's SHA-256 of RFC 7638. All spellings of a key have
// the same one.
func (k *Key) Thumbprint() [sha256.Size]byte {
	encode := base64.RawURLEncoding.EncodeToString
	members := map[string]string{} // json.Marshal sorts the names
	switch p := k.Public.(type) {
	case *rsa.PublicKey:
		members = map[string]string{"kty": "RSA", "n": encode(p.N.Bytes()), "e": encode(big.NewInt(int64(p.E)).Bytes())}
	case *ecdsa.PublicKey:
		if point, err := p.Bytes(); err == nil { // 4‖x‖y
			half := len(point) / 2
			members = map[string]string{"kty": "EC", "crv": p.Curve.Params().Name, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:])}
		}
	case ed25519.PublicKey:
		members = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": encode(p)}
	case []byte:
		members = map[string]string{"kty": "oct", "k": encode(p)}
	}
	text, _ := json.Marshal(members)
	return sha256.Sum256(text)
}

// distinct removes a key that is listed twice. It removes both of two different
// keys that have one kid and could verify the same token: RFC 7517 section 4.5
// does not say which one is meant. If a key is listed with and without alg, the
// one without is kept, because it stands for both.
func distinct(keys []Key) []Key {
	kept := make([]Key, 0, len(keys))
next:
	for i := range keys {
		k := &keys[i]
		for j := range keys {
			o := &keys[j]
			if i == j || k.ID != o.ID || k.Issuer != o.Issuer && k.Issuer != "" && o.Issuer != "" {
				continue
			}
			switch same := k.samePublic(o); {
			case !same && k.ID != "" && overlap(k, o):
				continue next
			case !same || k.Issuer != o.Issuer:
			case k.Algorithm == o.Algorithm && j < i, k.Algorithm != "" && o.Algorithm == "",
				k.Algorithm != o.Algorithm && sameMethod(k.Algorithm, o.Algorithm) && j < i:
				continue next
			}
		}
		kept = append(kept, *k)
	}
	return kept
}

func overlap(k, o *Key) bool {
	for i := range algorithms {
		if a := algorithms[i].name; k.Fits(a) && o.Fits(a) {
			return true
		}
	}
	return false
}
