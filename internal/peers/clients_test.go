package peers_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jose"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/redox"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	rsaKey   = must(rsa.GenerateKey(rand.Reader, 2048))
	p256     = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p384     = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p521     = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	_, ed, _ = ed25519.GenerateKey(rand.Reader)
)

// signed is a client that authenticates with alg, its public key inline.
func signed(alg string, key crypto.Signer) metadata {
	public := must(jose.NewKey(key, alg, "kid-"+alg)).PublicJWK()
	return metadata{
		"client_id": alg, "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": alg,
		"jwks": map[string]any{"keys": []jose.JWK{public}},
	}
}

func (p *peer) signedConfig(alg string, key crypto.Signer) oauth.Config {
	c := p.config(alg)
	c.Key = oauth.Key{ID: "kid-" + alg, Algorithm: alg, Signer: key}
	return c
}

func generate(t *testing.T, c oauth.Config) (providers.Token, error) {
	t.Helper()
	provider, err := oauth.New(c)
	require.NoError(t, err)
	return provider.Generate(t.Context(), providers.Request{})
}

func TestPrivateKeyJWT(t *testing.T) {
	keys := map[string]crypto.Signer{
		"RS256": rsaKey, "RS384": rsaKey, "RS512": rsaKey, "PS256": rsaKey, "PS384": rsaKey, "PS512": rsaKey,
		"ES256": p256, "ES384": p384, "ES512": p521, "EdDSA": ed,
	}
	var clients []metadata
	for alg, key := range keys {
		clients = append(clients, signed(alg, key))
	}
	p := start(t, time.Minute, clients...)
	for alg, key := range keys {
		t.Run(alg, func(t *testing.T) {
			c := p.signedConfig(alg, key)
			for _, audience := range []string{"", p.issuer} {
				c.AssertionAudience = audience
				got, err := generate(t, c)
				require.NoError(t, err)
				require.Equal(t, time.Minute, got.Expiry.Sub(got.IssuedAt))
			}
		})
	}
}

// TestRedoxPreset has the server fetch the preset's key set from a URL, as
// Redox does.
func TestRedoxPreset(t *testing.T) {
	var published atomic.Value
	jwks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(published.Load().([]byte))
	}))
	defer jwks.Close()
	for alg, key := range map[string]crypto.Signer{"RS384": rsaKey, "ES384": p384} {
		t.Run(alg, func(t *testing.T) {
			p := start(t, time.Minute, metadata{"client_id": "redox", "token_endpoint_auth_method": "private_key_jwt",
				"token_endpoint_auth_signing_alg": alg, "jwks_uri": jwks.URL})
			cfg := redox.Config{ClientID: "redox", Key: oauth.Key{ID: "current", Signer: key}, BaseURL: p.issuer, TokenPath: "/token"}
			current := must(redox.New(cfg))
			published.Store(current.JWKS())
			_, err := current.Generate(t.Context(), providers.Request{})
			require.NoError(t, err)

			// The server has its copy of the set; a key it does not know yet is
			// refused, and says so.
			cfg.Key.ID = "next"
			early := must(redox.New(cfg))
			_, err = early.Generate(t.Context(), providers.Request{})
			require.Equal(t, providers.CodeCredentialsRejected, rejected(t, err).Code)
		})
	}
}

func TestClientSecrets(t *testing.T) {
	basic := metadata{"client_id": "a client:with/blanks", "client_secret": specialSecret, "token_endpoint_auth_method": "client_secret_basic"}
	post := metadata{"client_id": "post", "client_secret": specialSecret, "token_endpoint_auth_method": "client_secret_post"}
	p := start(t, time.Minute, basic, post)
	for _, client := range []metadata{basic, post} {
		c := p.config(client["client_id"].(string))
		c.AuthMethod = client["token_endpoint_auth_method"].(string)
		t.Run(c.AuthMethod, func(t *testing.T) {
			c.Secret = specialSecret
			_, err := generate(t, c)
			require.NoError(t, err)
			c.Secret = "canary-wrong"
			_, err = generate(t, c)
			rejected(t, err)
		})
	}
}

// rejected is a refusal of the client's credentials, clear and without secrets.
func rejected(t *testing.T, err error) *providers.Error {
	t.Helper()
	var e *providers.Error
	require.True(t, errors.As(err, &e), "%T: %v", err, err)
	require.Equal(t, providers.CodeCredentialsRejected, e.Code)
	require.Equal(t, providers.Permanent, e.Class)
	require.Equal(t, http.StatusUnauthorized, e.Status)
	require.Contains(t, e.Description, "the server answered invalid_client")
	for _, secret := range []string{"canary", "eyJ", specialSecret, "client authentication failed"} {
		require.NotContains(t, e.Error()+e.LogValue().String(), secret)
	}
	return e
}

// replaying sends every request twice and returns the second answer.
type replaying struct{}

func (replaying) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var res *http.Response
	for i := range 2 {
		if i > 0 && res.StatusCode != http.StatusOK {
			return nil, errors.New("the first send was refused too")
		}
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		if res, err = http.DefaultTransport.RoundTrip(again); err != nil {
			return nil, err
		}
		if i == 0 {
			_ = res.Body.Close()
		}
	}
	return res, nil
}

func TestRefusedAssertions(t *testing.T) {
	p := start(t, time.Minute, signed("RS384", rsaKey), signed("ES384", p384))
	other := must(rsa.GenerateKey(rand.Reader, 2048))
	for name, change := range map[string]func(*oauth.Config){
		"wrong aud":      func(c *oauth.Config) { c.AssertionAudience = "https://another.example/token" },
		"replayed jti":   func(c *oauth.Config) { c.HTTPClient = &http.Client{Transport: replaying{}} },
		"unknown kid":    func(c *oauth.Config) { c.Key.ID = "unknown" },
		"another key":    func(c *oauth.Config) { c.Key.Signer = other },
		"another alg":    func(c *oauth.Config) { c.Key.Algorithm = "PS384" },
		"another client": func(c *oauth.Config) { c.ClientID = "ES384" },
		"no such client": func(c *oauth.Config) { c.ClientID = "canary" },
		"expired":        func(c *oauth.Config) { c.Now = func() time.Time { return time.Now().Add(-time.Hour) } },
	} {
		t.Run(name, func(t *testing.T) {
			c := p.signedConfig("RS384", rsaKey)
			_, err := generate(t, c)
			require.NoError(t, err, "what is right is accepted")
			change(&c)
			_, err = generate(t, c)
			e := rejected(t, err)
			if name == "expired" {
				require.Regexp(t, "our clock is (1h0m|59m)[0-9]+s behind the server.s", e.Description)
			}
		})
	}
}

func TestRefusedRequests(t *testing.T) {
	p := start(t, time.Minute, signed("RS384", rsaKey))
	provider := must(oauth.New(p.signedConfig("RS384", rsaKey)))
	_, err := provider.Generate(t.Context(), providers.Request{Audience: "urn:api:unknown"})
	var e *providers.Error
	require.True(t, errors.As(err, &e))
	require.Equal(t, "oauth: generate: upstream_rejected_input (upstream status 400): the server answered invalid_target", e.Error())
}

func TestIntrospectAndRevoke(t *testing.T) {
	p := start(t, time.Minute, signed("ES256", p256), web())
	c := p.signedConfig("ES256", p256)
	c.Scopes = []string{"read"}
	own := must(oauth.New(c))
	began := time.Now()
	opaque, err := own.Generate(t.Context(), providers.Request{Audience: "urn:api:opaque"})
	require.NoError(t, err)
	require.Equal(t, []string{"read"}, opaque.Scopes)
	got, err := own.Verify(t.Context(), opaque.AccessToken)
	require.NoError(t, err)
	require.Equal(t, []string{"read"}, got.Scopes)
	require.WithinDuration(t, opaque.Expiry, got.Expiry, 2*time.Second+time.Since(began)) // the server counts in whole seconds, and from when it has the request
	var claims struct {
		ClientID string `json:"client_id"`
	}
	require.NoError(t, json.Unmarshal(got.Claims, &claims))
	require.Equal(t, "ES256", claims.ClientID)

	invalid := func(token string) {
		t.Helper()
		var e *providers.Error
		_, err := own.Verify(t.Context(), token)
		require.True(t, errors.As(err, &e), "%v", err)
		require.Equal(t, providers.CodeInvalidToken, e.Code)
	}
	invalid("not-a-token")
	invalid(opaque.AccessToken[:len(opaque.AccessToken)-1])
	require.NoError(t, own.Revoke(t.Context(), opaque))
	invalid(opaque.AccessToken)

	users := p.config("web")
	users.Secret, users.Grant = specialSecret, "refresh_token"
	web := must(oauth.New(users))
	pair := p.signIn("alice", "urn:api:opaque")
	got, err = own.Verify(t.Context(), pair.AccessToken)
	require.NoError(t, err)
	require.Equal(t, "alice", got.Subject)
	invalid(pair.RefreshToken)
	require.NoError(t, web.Revoke(t.Context(), pair))
	invalid(pair.AccessToken)
	_, err = web.Refresh(t.Context(), providers.Request{Subject: "alice"}, pair.RefreshToken)
	var e *providers.Error
	require.True(t, errors.As(err, &e))
	require.Equal(t, providers.GrantDead, e.Class)
	require.Equal(t, providers.CodeRefreshRejected, e.Code)
}
