package providertest

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	assertionAge  = 5 * time.Minute
	assertionSkew = 10 * time.Second
)

// check verifies a client assertion (RFC 7523 section 3) by Redox's rules.
// reason is the vendor's documented text. It is empty for several rules.
func (v *redox) check(ctx context.Context, assertion string, audiences []string) (reason string, ok bool) {
	const noKey = "Public key not found, check client_id, kid and Redox dashboard settings"
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation(), jwt.WithValidMethods([]string{"RS384", "ES384"}))
	_, err := parser.ParseWithClaims(assertion, claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if kid == "" {
			reason = "JWT header kid property is required"
			return nil, errors.New(reason)
		}
		key := v.keys.find(ctx, kid)
		if key == nil {
			reason = noKey
			return nil, errors.New(reason)
		}
		if ec, isEC := key.(*ecdsa.PublicKey); isEC && ec.Params().BitSize != 384 {
			return nil, errors.New("wrong curve")
		}
		return key, nil
	})
	if err != nil {
		return reason, false
	}
	for _, name := range []string{"iss", "sub"} {
		if claims[name] != v.cfg.ClientID {
			return "Unexpected " + name + " claim value", false
		}
	}
	aud, err := claims.GetAudience()
	if err != nil || len(aud) != 1 || !slices.Contains(audiences, aud[0]) {
		return "", false
	}
	jti, _ := claims["jti"].(string)
	v.set(func() {
		now := v.now()
		if _, twice := v.seen[jti]; jti == "" || twice || !timely(claims, now) {
			return
		}
		v.seen[jti], ok = struct{}{}, true
	})
	return "", ok
}

// timely checks iat, and exp if there is one: the vendor's own sample has no
// exp.
func timely(claims jwt.MapClaims, now time.Time) bool {
	iat, err := claims.GetIssuedAt()
	if err != nil || iat == nil || now.Sub(iat.Time) > assertionAge || iat.After(now.Add(assertionSkew)) {
		return false
	}
	if _, has := claims["exp"]; !has {
		return true
	}
	exp, err := claims.GetExpirationTime()
	return err == nil && exp != nil &&
		!exp.After(now.Add(assertionAge+assertionSkew)) && exp.After(now.Add(-assertionSkew))
}

// keySet is a client's public keys by kid.
type keySet struct {
	url    string
	maxAge time.Duration
	client *http.Client

	mu      sync.Mutex
	keys    map[string]any
	fetched time.Time
}

// find returns the public key of kid, or nil if there is none.
func (s *keySet) find(ctx context.Context, kid string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := s.keys[kid]; key != nil || s.url == "" {
		return key
	}
	if !s.fetched.IsZero() && time.Since(s.fetched) < s.maxAge {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || res.StatusCode != http.StatusOK || s.parse(body) != nil {
		return nil
	}
	s.fetched = time.Now()
	return s.keys[kid]
}

// parse replaces the keys by those of an RFC 7517 document.
func (s *keySet) parse(document []byte) error {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return err
	}
	keys := map[string]any{}
	for _, raw := range set.Keys {
		jwk, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			continue
		}
		keys[jwk.Marshal().KID] = jwk.Key()
	}
	if len(keys) == 0 {
		return errors.New("no public key in the set")
	}
	s.keys = keys
	return nil
}
