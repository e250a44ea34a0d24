package jws

import (
	"context"
	"crypto/sha256"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// Ring knows which keys may verify a token. keyfunc decides it: for each
// algorithm, and each issuer that keys are bound to, there is a JWK storage
// with only the keys that fit, and a keyfunc over it. They are asked once, when
// the Ring is made, so that a token costs one look-up. A Ring is immutable.
type Ring struct {
	keys    []Key
	kids    map[string]bool
	named   map[ringKey][]Candidate
	unnamed map[string][]Candidate // by algorithm, the keys without kid
	all     map[string][]Candidate // by algorithm
	thumbs  map[[sha256.Size]byte]bool
}

type ringKey struct{ alg, kid string }

// Candidate is a key that may verify a token.
type Candidate struct {
	Public any
	key    *Key
}

// Match says how [Ring.Candidates] chose.
type Match int

const (
	// Named: the set has the token's kid, and a bad signature is final.
	Named Match = iota
	// Hinted: the set does not have the token's kid; the candidates are its
	// keys without kid. A kid is only a hint (RFC 7515 section 4.1.4).
	Hinted
	// Unnamed: the token has no kid.
	Unnamed
)

// NewRing returns the Ring of those keys that fit one of algs.
func NewRing(keys []Key, algs []string) *Ring {
	r := &Ring{
		keys: keys, kids: map[string]bool{}, named: map[ringKey][]Candidate{},
		unnamed: map[string][]Candidate{}, all: map[string][]Candidate{}, thumbs: map[[sha256.Size]byte]bool{},
	}
	for i := range keys {
		if keys[i].ID != "" {
			r.kids[keys[i].ID] = true
		}
		r.thumbs[keys[i].Thumbprint()] = true
	}
	for _, alg := range algs {
		for _, issuer := range r.issuers() {
			r.fill(alg, issuer)
		}
	}
	return r
}

// issuers returns the issuers that keys are bound to; "" stands for keys that
// are not bound.
func (r *Ring) issuers() (list []string) {
	seen := map[string]bool{}
	for i := range r.keys {
		if iss := r.keys[i].Issuer; !seen[iss] {
			seen[iss] = true
			list = append(list, iss)
		}
	}
	return list
}

// fill asks keyfunc for everything about alg and the keys bound to issuer.
func (r *Ring) fill(alg, issuer string) {
	ctx := context.Background()
	all, unnamed := jwkset.NewMemoryStorage(), jwkset.NewMemoryStorage()
	kids := map[string]bool{}
	for i := range r.keys {
		k := &r.keys[i]
		if k.Issuer != issuer || !k.Fits(alg) {
			continue
		}
		// No alg: the storage has but one, and EdDSA and Ed25519 are one.
		jwk, err := jwkset.NewJWKFromKey(k.Public, jwkset.JWKOptions{
			Marshal:  jwkset.JWKMarshalOptions{Private: true}, // secrets have no other form
			Metadata: jwkset.JWKMetadataOptions{KID: k.ID},
			Validate: jwkset.JWKValidateOptions{SkipAll: true}, // ParseSet and New have looked
		})
		if err != nil {
			continue
		}
		_ = all.KeyWrite(ctx, jwk)
		if k.ID == "" {
			_ = unnamed.KeyWrite(ctx, jwk)
		} else {
			kids[k.ID] = true
		}
	}
	r.all[alg] = append(r.all[alg], r.everyKey(ctx, all, issuer)...)
	r.unnamed[alg] = append(r.unnamed[alg], r.everyKey(ctx, unnamed, issuer)...)
	keys, err := keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: all})
	if err != nil {
		return
	}
	for kid := range kids {
		public, err := keys.Keyfunc(&jwt.Token{Header: map[string]any{"alg": methodName(alg), "kid": kid}})
		if err == nil {
			at := ringKey{alg, kid}
			r.named[at] = append(r.named[at], r.candidate(public, issuer))
		}
	}
}

// methodName is the name of alg's method, which keyfunc compares with that of
// Ed25519 keys.
func methodName(alg string) string { return find(alg).method.Alg() }

func (r *Ring) everyKey(ctx context.Context, storage jwkset.Storage, issuer string) (list []Candidate) {
	keys, err := keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: storage})
	if err != nil {
		return nil
	}
	set, err := keys.VerificationKeySet(ctx)
	if err != nil {
		return nil
	}
	for _, public := range set.Keys {
		list = append(list, r.candidate(public, issuer))
	}
	return list
}

// candidate finds the Key with this public key.
func (r *Ring) candidate(public any, issuer string) Candidate {
	for i := range r.keys {
		if k := &r.keys[i]; k.Issuer == issuer && k.samePublic(&Key{Public: public}) {
			return Candidate{k.Public, k}
		}
	}
	return Candidate{}
}

// Candidates returns the keys that may verify t, and how they were chosen.
// [Candidate.For] says whether a candidate is bound to t's issuer.
func (r *Ring) Candidates(t *Token) ([]Candidate, Match) {
	if t.KeyID == "" {
		return r.all[t.Algorithm], Unnamed
	}
	if c := r.named[ringKey{t.Algorithm, t.KeyID}]; c != nil {
		return c, Named
	}
	if r.kids[t.KeyID] {
		return nil, Named
	}
	return r.unnamed[t.Algorithm], Hinted
}

// For reports whether c may verify tokens of issuer iss and tenant tid.
func (c Candidate) For(iss, tid string) bool { return c.key != nil && c.key.bound(iss, tid) }

// Thumbprint returns that of the key, see [Key.Thumbprint].
func (c Candidate) Thumbprint() [sha256.Size]byte { return c.key.Thumbprint() }

// Has reports whether a key with that thumbprint is in the Ring's set.
func (r *Ring) Has(thumbprint [sha256.Size]byte) bool { return r.thumbs[thumbprint] }

// Keeps reports whether every key of before is in r too.
func (r *Ring) Keeps(before *Ring) bool {
next:
	for i := range before.keys {
		for j := range r.keys {
			if before.keys[i].Equal(&r.keys[j]) {
				continue next
			}
		}
		return false
	}
	return true
}

// Shares reports whether a key of o is in r too, by its thumbprint.
func (r *Ring) Shares(o *Ring) bool {
	for thumbprint := range o.thumbs {
		if r.thumbs[thumbprint] {
			return true
		}
	}
	return false
}
