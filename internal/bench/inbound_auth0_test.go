package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v2"
	"github.com/auth0/go-jwt-middleware/v2/jwks"
	"github.com/auth0/go-jwt-middleware/v2/validator"
	jwtmiddlewarev3 "github.com/auth0/go-jwt-middleware/v3"
	jwksv3 "github.com/auth0/go-jwt-middleware/v3/jwks"
	validatorv3 "github.com/auth0/go-jwt-middleware/v3/validator"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// idp is an identity provider with discovery that may go down.
type idp struct {
	*httptest.Server
	keys    *authtest.Issuer
	down    atomic.Bool
	fetches atomic.Int32 // of the key set
}

func newIDP(t *testing.T) *idp {
	keys, err := authtest.New("RS256")
	check(t, err)
	p := &idp{keys: keys}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case p.down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/jwks"})
		default:
			p.fetches.Add(1)
			w.Header().Set("Content-Type", "application/jwk-set+json")
			_, _ = w.Write(keys.JWKS())
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// token is one of p's, with the claims over; nil leaves a claim out.
func (p *idp) token(t *testing.T, header, over map[string]any) string {
	claims := map[string]any{"iss": p.URL, "aud": benchAudience, "sub": "ada", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range over {
		claims[name] = v
		if v == nil {
			delete(claims, name)
		}
	}
	token, err := p.keys.Sign(header, claims)
	check(t, err)
	return token
}

type auth0Options struct {
	ttl    time.Duration // of the keys
	skew   time.Duration
	custom func() error // Validate of the custom claims
}

type customClaims struct{ validate func() error }

func (c *customClaims) Validate(context.Context) error { return c.validate() }

func auth0v2(t *testing.T, p *idp, o auth0Options) http.Handler {
	issuer, err := url.Parse(p.URL)
	check(t, err)
	var options []validator.Option
	if o.custom != nil {
		options = append(options, validator.WithCustomClaims(func() validator.CustomClaims { return &customClaims{o.custom} }))
	}
	v, err := validator.New(jwks.NewCachingProvider(issuer, o.ttl).KeyFunc, validator.RS256, p.URL, []string{benchAudience}, append(options, validator.WithAllowedClockSkew(o.skew))...)
	check(t, err)
	return jwtmiddleware.New(v.ValidateToken).CheckJWT(nothing)
}

func auth0v3(t *testing.T, p *idp, o auth0Options) http.Handler {
	issuer, err := url.Parse(p.URL)
	check(t, err)
	keys, err := jwksv3.NewCachingProvider(jwksv3.WithIssuerURL(issuer), jwksv3.WithCacheTTL(o.ttl))
	check(t, err)
	options := []validatorv3.Option{
		validatorv3.WithKeyFunc(keys.KeyFunc), validatorv3.WithAlgorithm(validatorv3.RS256), validatorv3.WithIssuer(p.URL),
		validatorv3.WithAudience(benchAudience), validatorv3.WithAllowedClockSkew(o.skew),
	}
	if o.custom != nil {
		options = append(options, validatorv3.WithCustomClaims(func() *customClaims { return &customClaims{o.custom} }))
	}
	v, err := validatorv3.New(options...)
	check(t, err)
	m, err := jwtmiddlewarev3.New(jwtmiddlewarev3.WithValidator(v))
	check(t, err)
	return m.CheckJWT(nothing)
}

// discovering is bearerkit with the same issuer.
func discovering(t *testing.T, p *idp) http.Handler {
	a, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{Issuer: p.URL, Audiences: []string{benchAudience}, Algorithms: []string{"RS256"}, Discover: true}}})
	check(t, err)
	return a.Handler(nothing)
}

// answer is status and challenges of a request with those Authorization lines.
func answer(h http.Handler, lines ...string) string {
	r := httptest.NewRequest(http.MethodGet, "https://api.example.com/orders", nil)
	r.Header["Authorization"] = lines
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var schemes []string
	for _, c := range w.Header()["Www-Authenticate"] {
		scheme, rest, _ := strings.Cut(c, " ")
		if _, code, found := strings.Cut(rest, `error="`); found {
			code, _, _ = strings.Cut(code, `"`)
			scheme += ":" + code
		}
		schemes = append(schemes, scheme)
	}
	return strings.TrimSpace(fmt.Sprint(w.Code, " ", strings.Join(schemes, " ")))
}

// TestAuth0 holds what docs/from-auth0.md says of go-jwt-middleware v2.3.1 and
// v3.2.0 against the libraries.
func TestAuth0(t *testing.T) {
	p := newIDP(t)
	o := auth0Options{ttl: time.Hour}
	good := p.token(t, nil, nil)
	justNow := map[string]any{"exp": time.Now().Add(-5 * time.Second).Unix()} // within the minute that the kit allows, also on a slow machine
	for _, c := range []struct {
		name        string
		lines       []string
		v2, v3, kit string
	}{
		{name: "good", lines: []string{"Bearer " + good}, v2: "200", v3: "200", kit: "200"},
		{name: "no token", v2: "400", v3: "401 Bearer DPoP", kit: "401 Bearer"},
		{name: "scheme without token", lines: []string{"Bearer"}, v2: "500", v3: "400 Bearer DPoP", kit: "400 Bearer:invalid_request"},
		{name: "another scheme", lines: []string{"Basic YTpi"}, v2: "500", v3: "400 Bearer DPoP", kit: "401 Bearer"},
		{name: "two headers", lines: []string{"Bearer " + good, "Bearer " + good}, v2: "200", v3: "400 Bearer:invalid_request DPoP:invalid_request", kit: "400 Bearer:invalid_request"},
		{name: "wrong token", lines: []string{"Bearer " + good[:len(good)-8] + "AAAAAAAA"}, v2: "401", v3: "401 Bearer:invalid_token DPoP:invalid_token", kit: "401 Bearer:invalid_token"},
		{name: "expired 5 s ago", lines: []string{"Bearer " + p.token(t, nil, justNow)}, v2: "401", v3: "401 Bearer:invalid_token DPoP", kit: "200"},
		{name: "without exp", lines: []string{"Bearer " + p.token(t, nil, map[string]any{"exp": nil})}, v2: "200", v3: "200", kit: "401 Bearer:invalid_token"},
		{name: "logout token", lines: []string{"Bearer " + p.token(t, map[string]any{"typ": "logout+jwt"}, nil)}, v2: "200", v3: "200", kit: "401 Bearer:invalid_token"},
		{name: "bound to a key", lines: []string{"Bearer " + p.token(t, nil, map[string]any{"cnf": map[string]string{"jkt": "x"}})}, v2: "200", v3: "401 Bearer:invalid_token DPoP", kit: "401 Bearer:invalid_token"},
	} {
		for who, got := range map[string][2]string{
			"v2": {c.v2, answer(auth0v2(t, p, o), c.lines...)}, "v3": {c.v3, answer(auth0v3(t, p, o), c.lines...)}, "kit": {c.kit, answer(discovering(t, p), c.lines...)},
		} {
			if got[0] != got[1] {
				t.Errorf("%s, %s: want %s, got %s", c.name, who, got[0], got[1])
			}
		}
	}
	skewed := auth0Options{ttl: time.Hour, skew: time.Minute}
	for who, h := range map[string]http.Handler{"v2": auth0v2(t, p, skewed), "v3": auth0v3(t, p, skewed)} {
		if got := answer(h, "Bearer "+p.token(t, nil, justNow)); got != "200" {
			t.Errorf("%s with a skew of a minute: %s", who, got)
		}
	}
}

// A rotation: v2 and v3 do not fetch for a kid that they do not know.
func TestAuth0Rotation(t *testing.T) {
	p := newIDP(t)
	o := auth0Options{ttl: time.Hour}
	handlers := []http.Handler{auth0v2(t, p, o), auth0v3(t, p, o), discovering(t, p)}
	for i, h := range handlers {
		if got := answer(h, "Bearer "+p.token(t, nil, nil)); got != "200" {
			t.Fatal(i, got)
		}
	}
	check(t, p.keys.Rotate(true))
	before := p.fetches.Load()
	var got []string
	for _, h := range handlers {
		got = append(got, answer(h, "Bearer "+p.token(t, nil, nil)))
	}
	want := []string{"401", "401 Bearer:invalid_token DPoP", "200"}
	if !slices.Equal(want, got) || p.fetches.Load() != before+1 {
		t.Errorf("want %s, got %s, %d fetches", want, got, p.fetches.Load()-before)
	}
}

// An issuer that is down when the keys have been held for their time.
func TestAuth0Outage(t *testing.T) {
	p := newIDP(t)
	o := auth0Options{ttl: time.Nanosecond}
	v2, v3, kit := auth0v2(t, p, o), auth0v3(t, p, o), discovering(t, p)
	token := "Bearer " + p.token(t, nil, nil)
	for _, h := range []http.Handler{v2, v3, kit} {
		if got := answer(h, token); got != "200" {
			t.Fatal(got)
		}
	}
	p.down.Store(true)
	eventually(t, "401", func() string { return answer(v2, token) }) // its refresh is in the background
	if got := answer(v3, token); got != "401 Bearer:invalid_token DPoP" {
		t.Error("v3:", got)
	}
	if got := answer(kit, token); got != "200" {
		t.Error("kit:", got)
	}
	if got := answer(discovering(t, p), token); got != "503" {
		t.Error("kit without keys:", got)
	}
	for who, h := range map[string]http.Handler{"v2": auth0v2(t, p, o), "v3": auth0v3(t, p, o)} {
		if got := answer(h, token); !strings.HasPrefix(got, "401") {
			t.Errorf("%s without keys: %s", who, got)
		}
	}
}

func eventually(t *testing.T, want string, got func() string) {
	t.Helper()
	last := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if last = got(); last == want {
			return
		}
	}
	t.Errorf("want %s, got %s", want, last)
}

// Custom claims' Validate is called, and every token is verified again.
func TestAuth0VerifiesAgain(t *testing.T) {
	p := newIDP(t)
	token := "Bearer " + p.token(t, nil, nil)
	for who, with := range map[string]func(*testing.T, *idp, auth0Options) http.Handler{"v2": auth0v2, "v3": auth0v3} {
		calls := 0
		h := with(t, p, auth0Options{ttl: time.Hour, custom: func() error { calls++; return nil }})
		answer(h, token)
		answer(h, token)
		if calls != 2 {
			t.Errorf("%s called Validate %d times", who, calls)
		}
		if got := answer(with(t, p, auth0Options{ttl: time.Hour, custom: func() error { return errors.New("no") }}), token); !strings.HasPrefix(got, "401") {
			t.Errorf("%s, a Validate that fails: %s", who, got)
		}
	}
}

// What the page says to write in place of v3's names.
func TestAuth0Names(t *testing.T) {
	p := newIDP(t)
	issuer, err := url.Parse(p.URL)
	check(t, err)
	keys, err := jwksv3.NewCachingProvider(jwksv3.WithIssuerURL(issuer))
	check(t, err)
	v, err := validatorv3.New(validatorv3.WithKeyFunc(keys.KeyFunc), validatorv3.WithAlgorithm(validatorv3.RS256), validatorv3.WithIssuersResolver(func(context.Context) ([]string, error) {
		return []string{p.URL}, nil
	}), validatorv3.WithAudience(benchAudience))
	check(t, err)
	m, err := jwtmiddlewarev3.New(jwtmiddlewarev3.WithValidator(v), jwtmiddlewarev3.WithCredentialsOptional(true), jwtmiddlewarev3.WithValidateOnOptions(false), jwtmiddlewarev3.WithExclusionUrls([]string{"/health"}))
	check(t, err)
	var seen []string
	h := m.CheckJWT(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		claims, err := jwtmiddlewarev3.GetClaims[*validatorv3.ValidatedClaims](r.Context())
		if err != nil {
			seen = append(seen, "nobody")
			return
		}
		seen = append(seen, claims.RegisteredClaims.Subject)
	}))
	if got := answer(h, "Bearer "+p.token(t, nil, nil)); got != "200" {
		t.Error(got)
	}
	if got := answer(h); got != "200" {
		t.Error(got)
	}
	if !slices.Equal([]string{"ada", "nobody"}, seen) {
		t.Error(seen)
	}
	// These only have to exist.
	for _, name := range []any{
		validatorv3.WithRegisteredClaimsValidator, validatorv3.WithIssuers, jwksv3.NewMultiIssuerProvider, jwksv3.WithCustomJWKSURI, jwksv3.WithCustomClient,
		jwtmiddlewarev3.WithTokenExtractor, jwtmiddlewarev3.WithErrorHandler, jwtmiddlewarev3.WithLogger, jwtmiddlewarev3.WithDPoPMode, jwtmiddleware.ContextKey{},
	} {
		if name == nil {
			t.Error("not there")
		}
	}
}
