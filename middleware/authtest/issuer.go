package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/bearerkit/bearerkit/internal/jose"
)

// Lifetime is the lifetime of the tokens of [Issuer.Token] without exp.
const Lifetime = time.Hour

// Issuer is an authorization server. It signs tokens and publishes its keys at
// URL/jwks, with a discovery document in both well-known places. [New] makes
// it.
type Issuer struct {
	// URL is the issuer's identifier and address. If a server serves the
	// Issuer, set it to the server's URL before the first use.
	URL string
	// Audience is the aud of its tokens.
	Audience string

	mu      sync.Mutex
	keys    []*signingKey // published
	current []*signingKey // by algorithm; the first is the default
	made    int
	fetches int
	fault   fault
}

type signingKey struct {
	alg, kid string
	private  crypto.Signer
	public   jose.JWK
}

// New returns an Issuer with one key for each of algs: RS256, RS384, RS512,
// PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA. Without algs it has a key
// for ES256. The first key signs the tokens unless a header names another
// algorithm.
func New(algs ...string) (*Issuer, error) {
	if len(algs) == 0 {
		algs = []string{"ES256"}
	}
	i := &Issuer{URL: "https://issuer.example", Audience: "https://api.example"}
	for _, alg := range algs {
		k, err := i.newKey(alg)
		if err != nil {
			return nil, err
		}
		i.keys, i.current = append(i.keys, k), append(i.current, k)
	}
	return i, nil
}

func (i *Issuer) newKey(alg string) (*signingKey, error) {
	private, err := generate(alg)
	if err != nil {
		return nil, err
	}
	i.made++
	kid := strings.ToLower(alg) + "-" + strconv.Itoa(i.made)
	k, err := jose.NewKey(private, alg, kid)
	if err != nil {
		return nil, err
	}
	return &signingKey{alg, kid, private, k.PublicJWK()}, nil
}

func generate(alg string) (crypto.Signer, error) {
	switch alg {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	}
	return nil, fmt.Errorf("authtest: algorithm %q is not known", alg)
}

// Rotate makes a new key for every algorithm, which signs from now on. If
// overlap is true, the old keys stay published.
func (i *Issuer) Rotate(overlap bool) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	next := make([]*signingKey, 0, len(i.current))
	for _, k := range i.current {
		fresh, err := i.newKey(k.alg)
		if err != nil {
			return err
		}
		next = append(next, fresh)
	}
	if !overlap {
		i.keys = nil
	}
	i.keys, i.current = append(i.keys, next...), next
	return nil
}

// Token signs a token that is valid for an hour. It has iss, sub ("ada"), aud,
// iat, exp and jti. Members of claims replace them; a nil claim is left out.
func (i *Issuer) Token(claims map[string]any) (string, error) { return i.Sign(nil, i.claims(claims)) }

func (i *Issuer) claims(over map[string]any) map[string]any {
	now := time.Now()
	return overlay(map[string]any{
		"iss": i.URL, "sub": "ada", "aud": i.Audience, "iat": now.Unix(), "exp": now.Add(Lifetime).Unix(), "jti": rand.Text(),
	}, over)
}

// overlay returns base with the members of over, without those that are nil.
func overlay(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	maps.Copy(out, over)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// Sign signs claims: a JSON text as string or []byte, or any value that JSON
// can express. The header has alg, kid and typ "JWT". Members of header replace
// them; a nil member is left out. An alg in header selects the key, if the
// Issuer has one for it.
func (i *Issuer) Sign(header map[string]any, claims any) (string, error) {
	i.mu.Lock()
	k := i.current[0]
	if alg, ok := header["alg"].(string); ok {
		for _, other := range i.current {
			if other.alg == alg {
				k = other
			}
		}
	}
	i.mu.Unlock()
	return k.sign(header, claims)
}

func (k *signingKey) sign(header map[string]any, claims any) (string, error) {
	head, err := segment(overlay(map[string]any{"alg": k.alg, "kid": k.kid, "typ": "JWT"}, header))
	if err != nil {
		return "", err
	}
	body, err := segment(claims)
	if err != nil {
		return "", err
	}
	return k.seal(head + "." + body)
}

// seal signs input with the algorithm of the key, whatever input says.
func (k *signingKey) seal(input string) (string, error) {
	sig, err := jwt.GetSigningMethod(k.alg).Sign(input, k.private)
	return input + "." + encode(sig), err
}

func segment(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return encode([]byte(v)), nil
	case []byte:
		return encode(v), nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("authtest: %w", err)
	}
	return encode(b), nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// JWKS returns the published key set.
func (i *Issuer) JWKS() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	set := struct {
		Keys []jose.JWK `json:"keys"`
	}{}
	for _, k := range i.keys {
		set.Keys = append(set.Keys, k.public)
	}
	b, _ := json.Marshal(set) // strings always have a JSON form
	return b
}

// PublicKeys returns the published keys by kid, for a verifier that is
// configured with keys.
func (i *Issuer) PublicKeys() map[string]crypto.PublicKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	keys := map[string]crypto.PublicKey{}
	for _, k := range i.keys {
		keys[k.kid] = k.private.Public()
	}
	return keys
}

// Fetches returns how many requests for the key set arrived.
func (i *Issuer) Fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

var _ http.Handler = (*Issuer)(nil)
