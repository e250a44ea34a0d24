package redox_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redox"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	rsaKey = must(rsa.GenerateKey(rand.Reader, 2048))
	ecKey  = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	start  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

	currentKey = oauth.Key{ID: "rsa-1", PEM: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})}
	nextKey    = oauth.Key{ID: "ec-2", Signer: ecKey}
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering is a client whose every request is answered so; seen, if not nil,
// gets the request's form.
func answering(status int, body string, header http.Header, seen func(*http.Request, url.Values)) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		form, err := url.ParseQuery(string(must(io.ReadAll(r.Body))))
		if err != nil {
			return nil, err
		}
		if seen != nil {
			seen(r, form)
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	})}
}

func provider(t testing.TB, cfg redox.Config) *redox.Provider {
	t.Helper()
	p, err := redox.New(cfg)
	require.NoError(t, err)
	return p
}

func failure(t testing.TB, err error) *providers.Error {
	t.Helper()
	e, ok := err.(*providers.Error)
	require.True(t, ok, "%T: %v", err, err)
	require.NotContains(t, e.Error()+e.LogValue().String(), "canary")
	return e
}

// TestTheDocumentedRequest is vendors.md 2.1 and 2.2, line by line.
func TestTheDocumentedRequest(t *testing.T) {
	for name, tc := range map[string]struct {
		base, want, alg string
		key             oauth.Key
		public          crypto.PublicKey
	}{
		"default": {"", "https://api.redoxengine.com/v2/auth/token", "RS384", currentKey, &rsaKey.PublicKey},
		"Canada":  {"https://api.ca.redoxengine.com/", "https://api.ca.redoxengine.com/v2/auth/token", "ES384", nextKey, &ecKey.PublicKey},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			p := provider(t, redox.Config{ClientID: "client-1", Key: tc.key, BaseURL: tc.base, Now: func() time.Time { return start },
				HTTPClient: answering(200, string(must(os.ReadFile("testdata/token.json"))), nil, func(r *http.Request, form url.Values) {
					calls++
					require.Equal(t, tc.want, r.URL.String())
					require.Equal(t, "application/x-www-form-urlencoded", r.Header.Get("Content-Type"))
					require.Empty(t, r.Header.Get("Authorization"))
					token, err := jwt.NewParser(jwt.WithValidMethods([]string{tc.alg}), jwt.WithTimeFunc(func() time.Time { return start })).
						Parse(form.Get("client_assertion"), func(*jwt.Token) (any, error) { return tc.public, nil })
					require.NoError(t, err)
					require.Equal(t, map[string]any{"alg": tc.alg, "typ": "JWT", "kid": tc.key.ID}, token.Header)
					claims := token.Claims.(jwt.MapClaims)
					require.NotEmpty(t, claims["jti"])
					delete(claims, "jti")
					require.Equal(t, jwt.MapClaims{"iss": "client-1", "sub": "client-1", "aud": tc.want,
						"iat": float64(start.Unix()), "exp": float64(start.Unix() + 120)}, claims)
					form.Del("client_assertion")
					require.Equal(t, url.Values{"grant_type": {"client_credentials"},
						"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}, form, "no scope, no client_id")
				})})
			got, err := p.Generate(t.Context(), providers.Request{})
			require.NoError(t, err)
			require.Equal(t, providers.Token{AccessToken: "rx-access", TokenType: "Bearer", IssuedAt: start, Expiry: start.Add(5 * time.Minute)}, got)
			require.Equal(t, 1, calls)
		})
	}
}

// The vendor allows up to five minutes, which its Python sample takes.
func TestAssertionLifetime(t *testing.T) {
	for _, life := range []time.Duration{time.Second, 5 * time.Minute} {
		var exp float64
		p := provider(t, redox.Config{ClientID: "c", Key: currentKey, AssertionLifetime: life, Now: func() time.Time { return start },
			HTTPClient: answering(200, string(must(os.ReadFile("testdata/token.json"))), nil, func(_ *http.Request, form url.Values) {
				token, _, err := jwt.NewParser().ParseUnverified(form.Get("client_assertion"), jwt.MapClaims{})
				require.NoError(t, err)
				exp = token.Claims.(jwt.MapClaims)["exp"].(float64)
			})})
		_, err := p.Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
		require.Equal(t, float64(start.Add(life).Unix()), exp)
	}
	for _, life := range []time.Duration{-time.Second, 5*time.Minute + time.Second, 1500 * time.Millisecond} {
		_, err := redox.New(redox.Config{ClientID: "c", Key: currentKey, AssertionLifetime: life})
		require.ErrorContains(t, err, "redox: AssertionLifetime: must be whole seconds, up to 5m0s")
	}
}

func TestScopes(t *testing.T) {
	var sent string
	p := provider(t, redox.Config{ClientID: "c", Key: currentKey, Scopes: []string{"fhir:development"},
		HTTPClient: answering(200, string(must(os.ReadFile("testdata/token-scope.json"))), nil, func(_ *http.Request, form url.Values) { sent = form.Get("scope") })})
	got, err := p.Generate(t.Context(), providers.Request{})
	require.NoError(t, err)
	require.Equal(t, "fhir:development", sent)
	require.Equal(t, []string{"fhir:development"}, got.Scopes)
	_, err = p.Generate(t.Context(), providers.Request{Scopes: []string{"other"}})
	require.NoError(t, err)
	require.Equal(t, "other", sent)

	one, two := must(p.Key(providers.Request{})), must(p.Key(providers.Request{Scopes: []string{"other"}}))
	require.NotEqual(t, one, two)
	for _, req := range []providers.Request{{Subject: "alice"}, {Tenant: "t"}} {
		_, err = p.Key(req)
		require.Equal(t, "redox: key", failure(t, err).Op)
	}
}

func TestErrorsOfRedox(t *testing.T) {
	var cases []struct {
		Status                   int
		Body                     json.RawMessage
		Code, Class, Description string
	}
	require.NoError(t, json.Unmarshal(must(os.ReadFile("testdata/errors.json")), &cases))
	for _, tc := range cases {
		body := string(tc.Body)
		if tc.Body[0] == '"' {
			require.NoError(t, json.Unmarshal(tc.Body, &body))
		}
		p := provider(t, redox.Config{ClientID: "c", Key: currentKey, HTTPClient: answering(tc.Status, body, nil, nil)})
		_, err := p.Generate(t.Context(), providers.Request{})
		e := failure(t, err)
		require.Equal(t, "redox: generate", e.Op)
		require.Equal(t, []string{tc.Code, tc.Class, tc.Description}, []string{string(e.Code), e.Class.String(), e.Description}, "%d %s", tc.Status, body)
	}
}

// TestFake runs against a Redox that keeps its rules.
func TestFake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		published := provider(t, redox.Config{ClientID: "c", Key: currentKey, Next: nextKey})
		vendor, err := providertest.NewRedox(providertest.RedoxConfig{ClientID: "c", JWKS: published.JWKS()})
		require.NoError(t, err)
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			vendor.ServeHTTP(w, r)
			return w.Result(), nil
		})}
		cfg := redox.Config{ClientID: "c", Key: currentKey, BaseURL: "http://127.0.0.1:1", HTTPClient: client}

		for range 3 { // a jti is never taken twice
			got, err := provider(t, cfg).Generate(t.Context(), providers.Request{})
			require.NoError(t, err)
			require.Equal(t, 5*time.Minute, got.Expiry.Sub(got.IssuedAt))
		}
		cfg.Key = nextKey
		_, err = provider(t, cfg).Generate(t.Context(), providers.Request{})
		require.NoError(t, err)

		cfg.Key.ID = "unpublished"
		_, err = provider(t, cfg).Generate(t.Context(), providers.Request{})
		e := failure(t, err)
		require.Equal(t, providers.CodeCredentialsRejected, e.Code)
		require.Equal(t, providers.Permanent, e.Class)
		require.Contains(t, e.Description, "not known to Redox")

		cfg.Key = currentKey
		vendor.SetSkew(time.Hour)
		_, err = provider(t, cfg).Generate(t.Context(), providers.Request{})
		require.Contains(t, failure(t, err).Description, "our clock is 1h0m0s behind the server's")
		vendor.SetSkew(0)

		vendor.SetFault(providertest.Fault{Status: 429, RetryAfter: "9", Times: 1})
		p := provider(t, cfg)
		_, err = p.Generate(t.Context(), providers.Request{})
		require.Equal(t, 9*time.Second, failure(t, err).RetryAfter)
		_, err = p.Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
	})
}

func TestRotation(t *testing.T) {
	now := start
	var kid any
	p := provider(t, redox.Config{ClientID: "c", Key: currentKey, Next: nextKey, NextFrom: start.Add(48 * time.Hour), Now: func() time.Time { return now },
		HTTPClient: answering(200, `{"access_token":"x"}`, nil, func(_ *http.Request, form url.Values) {
			token, _, err := jwt.NewParser().ParseUnverified(form.Get("client_assertion"), jwt.MapClaims{})
			require.NoError(t, err)
			kid = token.Header["kid"]
		})})
	for _, step := range []struct {
		at        time.Duration
		signs     string
		published []string
	}{
		{0, "rsa-1", []string{"rsa-1", "ec-2"}},
		{48*time.Hour - time.Second, "rsa-1", []string{"rsa-1", "ec-2"}},
		{48 * time.Hour, "ec-2", []string{"rsa-1", "ec-2"}},
		{72*time.Hour - time.Second, "ec-2", []string{"rsa-1", "ec-2"}},
		{72 * time.Hour, "ec-2", []string{"ec-2"}},
	} {
		now = start.Add(step.at)
		_, err := p.Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
		require.Equal(t, step.signs, kid, step.at)
		var set struct {
			Keys []map[string]string `json:"keys"`
		}
		require.NoError(t, json.Unmarshal(p.JWKS(), &set))
		var ids []string
		for _, k := range set.Keys {
			ids = append(ids, k["kid"])
			require.Equal(t, "sig", k["use"])
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
				require.NotContains(t, k, private)
			}
		}
		require.Equal(t, step.published, ids, step.at)
	}

	// Without NextFrom the next key waits for ever.
	now = start.Add(1000 * time.Hour)
	waiting := provider(t, redox.Config{ClientID: "c", Key: currentKey, Next: nextKey, Now: func() time.Time { return now },
		HTTPClient: answering(200, `{"access_token":"x"}`, nil, func(_ *http.Request, form url.Values) {
			token, _, _ := jwt.NewParser().ParseUnverified(form.Get("client_assertion"), jwt.MapClaims{})
			kid = token.Header["kid"]
		})})
	_, err := waiting.Generate(t.Context(), providers.Request{})
	require.NoError(t, err)
	require.Equal(t, "rsa-1", kid)
}

func TestConfigFaults(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for want, change := range map[string]func(*redox.Config){
		"ClientID: missing":         func(c *redox.Config) { c.ClientID = "" },
		"BaseURL: must be https":    func(c *redox.Config) { c.BaseURL = "http://api.example" },
		`Scopes: "" is not a scope`: func(c *redox.Config) { c.Scopes = []string{""} },
		"Key: jose: no private key": func(c *redox.Config) { c.Key.PEM = nil },
		"Key: jose: no PEM block":   func(c *redox.Config) { c.Key.PEM = []byte("canary") },
		"Key: no ID":                func(c *redox.Config) { c.Key.ID = "" },
		"Key: Certificate":          func(c *redox.Config) { c.Key.Certificate = []byte("x") },
		"Next: Certificate":         func(c *redox.Config) { c.Next = nextKey; c.Next.Certificate = []byte("x") },
		`Key: a key of this kind signs with RS384, not "RS256"`:         func(c *redox.Config) { c.Key.Algorithm = "RS256" },
		"Key: jose: algorithm ES384 does not fit a key on curve P-256":  func(c *redox.Config) { c.Key = oauth.Key{ID: "k", Signer: p256} },
		"Key: jose: algorithm ES384 does not fit a key of type ed25519": func(c *redox.Config) { c.Key = oauth.Key{ID: "k", Signer: edKey} },
		"Next: has the ID of Key":                                       func(c *redox.Config) { c.Next = nextKey; c.Next.ID = c.Key.ID },
		"Next: no private key":                                          func(c *redox.Config) { c.Next.ID = "next" },
		"Next: no ID":                                                   func(c *redox.Config) { c.Next.Signer = ecKey },
	} {
		t.Run(want, func(t *testing.T) {
			cfg := redox.Config{ClientID: "c", Key: currentKey}
			change(&cfg)
			p, err := redox.New(cfg)
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "canary")
			require.Nil(t, p)
		})
	}
	_, err = redox.New(redox.Config{BaseURL: "x", NextFrom: start})
	for _, want := range []string{"ClientID", "BaseURL", "Key: ", "Next: "} {
		require.ErrorContains(t, err, want, "every fault at once")
	}
}

func TestConformance(t *testing.T) {
	private := string(currentKey.PEM)
	providertest.Run(t, providertest.Suite{
		New: func(t testing.TB, baseURL string) providers.Provider {
			return provider(t, redox.Config{ClientID: "c", Key: currentKey, Next: nextKey, BaseURL: baseURL})
		},
		Answer:  `{"access_token":"canary-access","token_type":"Bearer","expires_in":300}`,
		Refusal: `{"error":"invalid_request","error_description":"canary-text"}`,
		Secrets: []string{private, "canary-access", "canary-text"},
	})
}
