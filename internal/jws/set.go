package jws

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
)

// maxKeys bounds a set; honest ones have a handful.
const maxKeys = 256

// Key is one verification key. Algorithm "" leaves the choice to the kind of
// key.
type Key struct {
	ID        string
	Algorithm string
	Public    any  // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or []byte for a secret
	Short     bool // a secret shorter than the hash will do
}

// Fits reports whether k may verify alg.
func (k *Key) Fits(alg string) bool {
	a := find(alg)
	if a == nil || !a.fits(k.Public) && !(k.Short && a.kind == "oct") {
		return false
	}
	if k.Algorithm == "" || k.Algorithm == alg {
		return true
	}
	own := find(k.Algorithm) // EdDSA and Ed25519 are two names of one method
	return own != nil && own.method == a.method
}

// Equal reports whether k and o are the same key in every respect.
func (k *Key) Equal(o *Key) bool {
	if k.ID != o.ID || k.Algorithm != o.Algorithm {
		return false
	}
	if secret, ok := k.Public.([]byte); ok {
		other, ok := o.Public.([]byte)
		return ok && bytes.Equal(secret, other)
	}
	pub, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(o.Public)
}

// ParseSet reads a JWK Set (RFC 7517). Keys that are no public signing keys,
// or that nothing here can verify with, are skipped one by one and named in
// skipped; a set without a single usable key is an error.
func ParseSet(body []byte) (keys []Key, skipped []error, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil {
		return nil, nil, errors.New("not a JWK Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, errors.New("JWK Set with too many keys")
	}
	for i, raw := range set.Keys {
		k, err := parseKey(raw)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		keys = append(keys, k)
	}
	if keys = distinct(keys); len(keys) == 0 {
		return nil, skipped, errors.New("JWK Set without a usable key")
	}
	return keys, skipped, nil
}

func parseKey(raw json.RawMessage) (Key, error) {
	var m jwkset.JWKMarshal
	if json.Unmarshal(raw, &m) != nil {
		return Key{}, errors.New("not a JWK")
	}
	// A private part in a published set is a key that everybody has.
	if m.D != "" || m.P != "" || m.Q != "" || m.DP != "" || m.DQ != "" || m.QI != "" || m.K != "" || len(m.OTH) > 0 {
		return Key{}, errors.New("private or symmetric")
	}
	if m.USE != "" && m.USE != jwkset.UseSig || len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return Key{}, errors.New("not for signatures")
	}
	m.X5C, m.X5U, m.X5T, m.X5TS256 = nil, "", "", "" // certificates are not looked at
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return Key{}, errors.New("malformed") // jwkset's text may repeat the key
	}
	k := Key{ID: m.KID, Algorithm: string(m.ALG), Public: jwk.Key()}
	if err := sound(k.Public); err != nil {
		return Key{}, err
	}
	for i := range algorithms {
		if k.Fits(algorithms[i].name) {
			return k, nil
		}
	}
	return Key{}, errors.New("alg or size not usable")
}

// sound checks what Fits does not.
func sound(public any) error {
	if k, ok := public.(*rsa.PublicKey); ok && (k.E < 3 || k.E&1 == 0) {
		return errors.New("RSA exponent is even or under 3")
	}
	return nil
}

// distinct drops a key listed twice, and both of two different keys that have
// one kid and could verify the same algorithm: RFC 7517 section 4.5 leaves it
// open which of them is meant.
func distinct(keys []Key) []Key {
	kept := make([]Key, 0, len(keys))
next:
	for i := range keys {
		for j := range keys {
			if i == j || keys[i].ID == "" || keys[i].ID != keys[j].ID {
				continue
			}
			same := keys[i].Equal(&keys[j])
			if same && j < i || !same && overlap(&keys[i], &keys[j]) {
				continue next
			}
		}
		kept = append(kept, keys[i])
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
