package jws

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
)

// maxKeys bounds a set. Usual sets have only a few keys.
const maxKeys = 256

// ParseSet reads a JWK Set (RFC 7517). Keys that are no public signing keys, or
// that this package cannot verify with, are skipped one by one and named in
// skipped. A set without a usable key is an error.
//
// uses are the accepted values of use; without any, sig and no use are
// accepted. Member names are compared exactly. Unknown members are ignored, and
// so are certificates, whatever their type (RFC 7517 section 4).
func ParseSet(body []byte, uses ...string) (keys []Key, skipped []error, err error) {
	var members map[string]json.RawMessage // a map's names match exactly
	var set []json.RawMessage
	if json.Unmarshal(body, &members) != nil || json.Unmarshal(members["keys"], &set) != nil {
		return nil, nil, errors.New("not a JWK Set")
	}
	if len(set) > maxKeys {
		return nil, nil, errors.New("JWK Set with too many keys")
	}
	for i, raw := range set {
		k, err := parseKey(string(raw), uses)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		keys = append(keys, k)
	}
	all := keys
	keys = distinct(all)
	for _, kid := range ambiguous(all, keys) {
		skipped = append(skipped, fmt.Errorf("kid %+.64q is that of two different keys", kid))
	}
	if len(keys) == 0 {
		return nil, skipped, errors.New("JWK Set without a usable key")
	}
	return keys, skipped, nil
}

// ambiguous returns the kids of the keys of all that are not among kept.
func ambiguous(all, kept []Key) (kids []string) {
	for i := range all {
		k := &all[i]
		same := func(o Key) bool { return o.ID == k.ID && o.samePublic(k) }
		if !slices.ContainsFunc(kept, same) && !slices.Contains(kids, k.ID) {
			kids = append(kids, k.ID)
		}
	}
	return kids
}

// privateMembers are members that a public key does not have. A key that is
// published with one is no secret any more (RFC 7518 section 6).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

func parseKey(raw string, uses []string) (Key, error) {
	members, err := ParseObject(raw, nil)
	if err != nil {
		return Key{}, errors.New("not a JWK")
	}
	for _, name := range privateMembers {
		if v := Get(members, name); v != "" && v != "null" && v != `""` {
			return Key{}, errors.New("private or symmetric")
		}
	}
	k := Key{}
	var m jwkset.JWKMarshal
	var kty, crv, use string
	for _, field := range []struct {
		name string
		to   *string
	}{{"kty", &kty}, {"crv", &crv}, {"x", &m.X}, {"y", &m.Y}, {"n", &m.N}, {"e", &m.E}, {"kid", &k.ID}, {"alg", &k.Algorithm}, {"use", &use}, {"issuer", &k.Issuer}} {
		value := Get(members, field.name)
		if value == "" || value == "null" && field.name != "issuer" {
			continue
		}
		text, ok := Text(value)
		if !ok || text == "" && field.name == "issuer" {
			return Key{}, fmt.Errorf("%s is not a string", field.name)
		}
		*field.to = text
	}
	if err := forSignatures(use, Get(members, "key_ops"), uses); err != nil {
		return Key{}, err
	}
	m.KTY, m.CRV = jwkset.KTY(kty), jwkset.CRV(crv)
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return Key{}, errors.New("malformed") // jwkset's text may repeat the key
	}
	k.Public = jwk.Key()
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

// forSignatures checks use and key_ops (RFC 7517 sections 4.2 and 4.3).
func forSignatures(use, operations string, uses []string) error {
	if len(uses) == 0 {
		uses = []string{"sig", ""}
	}
	if !slices.Contains(uses, use) {
		return fmt.Errorf("use is %.32q", use)
	}
	if operations == "" || operations == "null" {
		return nil
	}
	list, ok := Texts(operations)
	if !ok || operations[0] != '[' {
		return errors.New("key_ops is not an array of strings")
	}
	if len(list) > 0 && !slices.Contains(list, "verify") {
		return errors.New("key_ops lacks verify")
	}
	return nil
}

// sound checks what Fits does not.
func sound(public any) error {
	if k, ok := public.(*rsa.PublicKey); ok && (k.E < 3 || k.E&1 == 0) {
		return errors.New("RSA exponent is even or under 3")
	}
	return nil
}
