package bench

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	jwtmiddleware "github.com/auth0/go-jwt-middleware/v2"
	"github.com/auth0/go-jwt-middleware/v2/validator"
	jwtmiddlewarev3 "github.com/auth0/go-jwt-middleware/v3"
	validatorv3 "github.com/auth0/go-jwt-middleware/v3/validator"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-chi/jwtauth/v5"
	"github.com/golang-jwt/jwt/v5"
	jwxt "github.com/lestrrat-go/jwx/v2/jwt"
	"github.com/lestrrat-go/jwx/v3/jwa"
	jwxv3 "github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/bearerkit/bearerkit/middleware"
)

const (
	benchIssuer   = "https://id.example.com/"
	benchAudience = "https://api.example.com"
)

// signer is one key and what is signed with it.
type signer struct {
	alg     string
	private any
	public  any // what verifies: the secret for HS256
}

func newSigner(tb testing.TB, alg string) *signer {
	tb.Helper()
	switch alg {
	case "RS256":
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		check(tb, err)
		return &signer{alg, k, &k.PublicKey}
	case "ES256":
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(tb, err)
		return &signer{alg, k, &k.PublicKey}
	case "EdDSA":
		pub, k, err := ed25519.GenerateKey(rand.Reader)
		check(tb, err)
		return &signer{alg, k, pub}
	}
	secret := []byte(strings.Repeat("0123456789abcdef", 4))
	return &signer{alg, secret, secret}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// token has the claims of an access token as identity providers issue them.
func (s *signer) token(tb testing.TB, over map[string]any) string {
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": benchIssuer, "sub": "auth0|5f7c8ec7c33c6c004bbafe82", "aud": []string{benchAudience, benchIssuer + "userinfo"},
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "b2d7b0c8f0a24a0a8a1f", "azp": "my_client_id", "scope": "openid profile read:orders write:orders",
		"permissions": []string{"read:orders", "write:orders"}, "https://example.com/roles": []string{"customer"},
	}
	for k, v := range over {
		claims[k] = v
	}
	t := jwt.NewWithClaims(jwt.GetSigningMethod(s.alg), claims)
	t.Header["kid"] = "key-1"
	signed, err := t.SignedString(s.private)
	check(tb, err)
	return signed
}

// candidate wraps a handler with one way to verify tokens.
type candidate struct {
	name string
	wrap func(tb testing.TB, s *signer, next http.Handler) http.Handler // nil: does not do this algorithm
}

var candidates = []candidate{
	{"bearerkit", func(tb testing.TB, s *signer, next http.Handler) http.Handler { return kit(tb, s, -1, next) }},
	{"auth0/go-jwt-middleware v2", wrapAuth0},
	{"auth0/go-jwt-middleware v3", wrapAuth0v3},
	{"lestrrat-go/jwx v3", wrapJWX},
	{"go-chi/jwtauth", wrapJWTAuth},
	{"coreos/go-oidc", wrapOIDC},
	{"golang-jwt + keyfunc", wrapByHand},
}

// kit is bearerkit with keys configured; cache as Config.CacheSize.
func kit(tb testing.TB, s *signer, cache int, next http.Handler) http.Handler {
	iss := middleware.Issuer{Issuer: benchIssuer, Audiences: []string{benchAudience}, Algorithms: []string{s.alg}}
	if secret, ok := s.public.([]byte); ok {
		iss.Secrets = [][]byte{secret}
	} else {
		iss.Keys = map[string]crypto.PublicKey{"key-1": s.public}
	}
	a, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{iss}, CacheSize: cache})
	check(tb, err)
	return a.Handler(next)
}

func wrapAuth0(tb testing.TB, s *signer, next http.Handler) http.Handler {
	v, err := validator.New(func(context.Context) (any, error) { return s.public, nil }, validator.SignatureAlgorithm(s.alg), benchIssuer, []string{benchAudience})
	check(tb, err)
	return jwtmiddleware.New(v.ValidateToken).CheckJWT(next)
}

func wrapAuth0v3(tb testing.TB, s *signer, next http.Handler) http.Handler {
	v, err := validatorv3.New(
		validatorv3.WithKeyFunc(func(context.Context) (any, error) { return s.public, nil }), validatorv3.WithAlgorithm(validatorv3.SignatureAlgorithm(s.alg)),
		validatorv3.WithIssuer(benchIssuer), validatorv3.WithAudience(benchAudience),
	)
	check(tb, err)
	m, err := jwtmiddlewarev3.New(jwtmiddlewarev3.WithValidator(v))
	check(tb, err)
	return m.CheckJWT(next)
}

// wrapJWX is jwx used by hand, with the key chosen and everything validated
// that its options can.
func wrapJWX(tb testing.TB, s *signer, next http.Handler) http.Handler {
	alg, ok := jwa.LookupSignatureAlgorithm(s.alg)
	if !ok {
		tb.Fatal(s.alg)
	}
	return verifying(next, func(_ context.Context, token string) error {
		_, err := jwxv3.ParseString(token, jwxv3.WithKey(alg, s.public), jwxv3.WithIssuer(benchIssuer), jwxv3.WithAudience(benchAudience), jwxv3.WithRequiredClaim("exp"))
		return err
	})
}

func wrapJWTAuth(_ testing.TB, s *signer, next http.Handler) http.Handler {
	ja := jwtauth.New(s.alg, s.private, s.public, jwxt.WithIssuer(benchIssuer), jwxt.WithAudience(benchAudience))
	return jwtauth.Verifier(ja)(jwtauth.Authenticator(ja)(next))
}

func wrapOIDC(_ testing.TB, s *signer, next http.Handler) http.Handler {
	if s.alg == "HS256" {
		return nil
	}
	v := oidc.NewVerifier(benchIssuer, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{s.public}}, &oidc.Config{ClientID: benchAudience, SupportedSigningAlgs: []string{s.alg}})
	return verifying(next, func(ctx context.Context, token string) error {
		_, err := v.Verify(ctx, token)
		return err
	})
}

func wrapByHand(tb testing.TB, s *signer, next http.Handler) http.Handler {
	var find jwt.Keyfunc = func(*jwt.Token) (any, error) { return s.public, nil }
	if s.alg != "HS256" {
		k, err := jwkset.NewJWKFromKey(s.public, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "key-1", ALG: jwkset.ALG(s.alg), USE: jwkset.UseSig}})
		check(tb, err)
		set, err := json.Marshal(jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{k.Marshal()}})
		check(tb, err)
		kf, err := keyfunc.NewJWKSetJSON(set)
		check(tb, err)
		find = kf.Keyfunc
	}
	p := jwt.NewParser(jwt.WithIssuer(benchIssuer), jwt.WithAudience(benchAudience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithValidMethods([]string{s.alg}), jwt.WithStrictDecoding())
	return verifying(next, func(_ context.Context, token string) error {
		_, err := p.ParseWithClaims(token, &jwt.RegisteredClaims{}, find)
		return err
	})
}

type bareKey struct{}

// verifying is the least a middleware does around a verifier.
func verifying(next http.Handler, verify func(context.Context, string) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !found || verify(r.Context(), token) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), bareKey{}, token)))
	})
}

// signatureAlone is the floor: the check of a decoded signature and no more.
func signatureAlone(tb testing.TB, s *signer, token string) func() {
	at := strings.LastIndexByte(token, '.')
	input, method := token[:at], jwt.GetSigningMethod(s.alg)
	sig, err := jwt.NewParser().DecodeSegment(token[at+1:])
	check(tb, err)
	return func() { check(tb, method.Verify(input, sig, s.public)) }
}

// lookupAlone is the floor of a cache: hash the token, look it up.
func lookupAlone(token string) func() {
	seen := map[[32]byte]bool{sha256.Sum256([]byte(token)): true}
	return func() {
		if !seen[sha256.Sum256([]byte(token))] {
			panic("not found")
		}
	}
}

// unchecked is the floor of a middleware with a cache: it finds the token, looks
// it up and passes it on, and checks nothing, not even the time.
func unchecked(token string, next http.Handler) http.Handler {
	seen := map[string]*string{token: &token}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines := r.Header["Authorization"]
		if len(lines) != 1 || len(lines[0]) < len("Bearer ") || seen[lines[0][len("Bearer "):]] == nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), bareKey{}, &token)))
	})
}

// discard is a ResponseWriter that costs nothing.
type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(s int)           { d.status = s }

// asking presents one token to h again and again.
func asking(tb testing.TB, h http.Handler, token string, want int) func() {
	r, err := http.NewRequest(http.MethodGet, "https://api.example.com/orders", nil)
	check(tb, err)
	r.Header.Set("Authorization", "Bearer "+token)
	w := &discard{h: http.Header{}}
	run := func() {
		w.status = http.StatusOK
		clear(w.h)
		h.ServeHTTP(w, r)
	}
	run()
	if w.status != want {
		tb.Fatalf("status %d, want %d", w.status, want)
	}
	return run
}
