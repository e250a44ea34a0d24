package oauth_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers/oauth"
)

func TestConfigFaults(t *testing.T) {
	var typedNil *rsa.PrivateKey
	for want, change := range map[string]func(*oauth.Config){
		"TokenURL: missing":                                                 func(c *oauth.Config) { c.TokenURL, c.IntrospectionURL, c.RevocationURL = "", "", "" },
		"TokenURL: not an absolute URL":                                     func(c *oauth.Config) { c.TokenURL = "/token" },
		"ClientID: has characters":                                          func(c *oauth.Config) { c.ClientID = "canary\n" },
		"Secret: has characters":                                            func(c *oauth.Config) { c.Secret = "canary\n" },
		"Grant: \"x y\" is no grant type":                                   func(c *oauth.Config) { c.Grant = "x y" },
		"use refresh_token, and Exchange":                                   func(c *oauth.Config) { c.Grant = "authorization_code" },
		"client_secret_basic_unencoded cannot send a ClientID with a colon": func(c *oauth.Config) { c.AuthMethod, c.ClientID = "client_secret_basic_unencoded", "a:b" },
		"TokenTypes: dpop is never":                                         func(c *oauth.Config) { c.TokenTypes = []string{"bot", "dpop"} },
		"TokenTypes: MAC is never":                                          func(c *oauth.Config) { c.TokenTypes = []string{"MAC"} },
		"TokenTypes: N_A is never":                                          func(c *oauth.Config) { c.TokenTypes = []string{"N_A"} },
		"TokenTypes: one is empty":                                          func(c *oauth.Config) { c.TokenTypes = []string{""} },
		"Issuers: required for token_exchange":                              func(c *oauth.Config) { c.Grant = "token_exchange" },
		"Issuers: required for jwt_bearer":                                  func(c *oauth.Config) { c.Grant = "urn:ietf:params:oauth:grant-type:jwt-bearer" },
		"Issuers: only token_exchange and":                                  func(c *oauth.Config) { c.Issuers = []string{"https://a.example"} },
		"Issuers: one is empty":                                             func(c *oauth.Config) { c.Grant, c.Issuers = "token_exchange", []string{""} },
		"Claims: only jwt_bearer":                                           func(c *oauth.Config) { c.Claims = map[string]any{} },
		"Claims: a Key is needed":                                           func(c *oauth.Config) { c.Grant, c.Claims = "jwt_bearer", map[string]any{} },
		"Claims: iss is set by the kit":                                     func(c *oauth.Config) { c.Grant, c.Claims, c.Key.Signer = "jwt_bearer", map[string]any{"iss": "x"}, ed },
		"Claims: JSON values only": func(c *oauth.Config) {
			c.Grant, c.Claims, c.Key.Signer = "jwt_bearer", map[string]any{"x": struct{}{}}, ed
		},
		"only one of AssertionFunc and AssertionFile": func(c *oauth.Config) {
			c.AssertionFile, c.AssertionFunc = "f", func(context.Context) (string, error) { return "", nil }
		},
		"AssertionFile stands in place of Secret":            func(c *oauth.Config) { c.AssertionFile, c.AssertionAudience = "f", "a" },
		"AssertionAudience: required with AssertionFile":     func(c *oauth.Config) { c.Secret, c.AssertionFile = "", "f" },
		"AssertionAudience: required without a TokenURL":     func(c *oauth.Config) { c.Secret, c.TokenURL, c.Key.Signer = "", "", ed },
		"Certificate: jose: no PEM block with a certificate": func(c *oauth.Config) { c.Secret, c.Key = "", oauth.Key{Signer: ed, Certificate: []byte("canary")} },
		"TokenURL: must be https":                            func(c *oauth.Config) { c.TokenURL = "http://as.example/token" },
		"TokenURL: userinfo, query and fragment":             func(c *oauth.Config) { c.TokenURL = "https://canary@as.example/token" },
		"TokenURL: a fragment is not allowed":                func(c *oauth.Config) { c.TokenURL = "https://as.example/token?p=1#f" },
		"IntrospectionURL: must be https":                    func(c *oauth.Config) { c.IntrospectionURL = "ftp://as.example" },
		"RevocationURL: must be https":                       func(c *oauth.Config) { c.RevocationURL = "http://as.example" },
		"ClientID: missing":                                  func(c *oauth.Config) { c.ClientID = "" },
		"Grant: password is not to be used":                  func(c *oauth.Config) { c.Grant = "password" },
		`AuthMethod: "client_secret_jwt" is none of`:         func(c *oauth.Config) { c.AuthMethod = "client_secret_jwt" },
		"one of Secret, Key and AssertionFile is needed":     func(c *oauth.Config) { c.Secret = "" },
		"only one of Secret and SecretFunc":                  func(c *oauth.Config) { c.SecretFunc = func(context.Context) (string, error) { return "", nil } },
		"only one of Secret and Key":                         func(c *oauth.Config) { c.Key.Signer = ed },
		"client_secret_post needs a Secret":                  func(c *oauth.Config) { c.AuthMethod, c.Secret, c.Key.Signer = "client_secret_post", "", ed },
		"private_key_jwt needs a Key or":                     func(c *oauth.Config) { c.AuthMethod = "private_key_jwt" },
		`"none" has no use for a Secret, Key or`:             func(c *oauth.Config) { c.AuthMethod = "none" },
		"Key: jose: no private key":                          func(c *oauth.Config) { c.Secret, c.Key.Signer = "", typedNil },
		"Key: jose: no PEM block":                            func(c *oauth.Config) { c.Secret, c.Key.PEM = "", []byte("canary") },
		"Key: jose: the private key is given both":           func(c *oauth.Config) { c.Secret, c.Key = "", oauth.Key{PEM: []byte("canary"), Signer: ed} },
		"Key: jose: algorithm RS256 does not fit":            func(c *oauth.Config) { c.Secret, c.Key = "", oauth.Key{Algorithm: "RS256", Signer: ed} },
		`Scopes: "a b" is not a scope`:                       func(c *oauth.Config) { c.Scopes = []string{"ok", "a b"} },
		`Params: "refresh_token" is set by the kit`:          func(c *oauth.Config) { c.Params = url.Values{"refresh_token": {"x"}} },
		`AudienceParam: "scope" is set by the kit`:           func(c *oauth.Config) { c.AudienceParam = "scope" },
	} {
		t.Run(want, func(t *testing.T) {
			c, _ := client(t)
			change(&c)
			p, err := oauth.New(c)
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "canary")
			require.Nil(t, p)
		})
	}

	_, err := oauth.New(oauth.Config{Grant: "password", Scopes: []string{""}})
	for _, want := range []string{"TokenURL", "ClientID", "Grant", "Scopes", "Secret"} {
		require.ErrorContains(t, err, want, "every fault at once")
	}
}

func TestAssertionsLiveWholeSeconds(t *testing.T) {
	for life, good := range map[time.Duration]bool{
		0: true, time.Second: true, time.Minute: true, 5 * time.Minute: true,
		-time.Second: false, time.Millisecond: false, 1500 * time.Millisecond: false, 24 * time.Hour: false,
	} {
		c, _ := client(t)
		c.Secret, c.Key.Signer, c.AssertionLifetime = "", ed, life
		_, err := oauth.New(c)
		if good {
			require.NoError(t, err, life)
		} else {
			require.ErrorContains(t, err, "AssertionLifetime: must be whole seconds", life)
		}
	}
}

func TestAuthMethodsThatNeedASecret(t *testing.T) {
	for _, method := range []string{"client_secret_basic", "client_secret_basic_unencoded", "client_secret_post"} {
		c, _ := client(t)
		c.AuthMethod, c.Secret, c.Key.Signer = method, "", ed
		_, err := oauth.New(c)
		require.ErrorContains(t, err, method+" needs a Secret")
	}
}

func TestConfigAccepts(t *testing.T) {
	for name, change := range map[string]func(*oauth.Config){
		"query":              func(c *oauth.Config) { c.TokenURL = "https://as.example/token?p=b2c_1" },
		"loopback":           func(c *oauth.Config) { c.TokenURL = "http://127.0.0.1:9/token" },
		"introspection only": func(c *oauth.Config) { c.TokenURL, c.RevocationURL = "", "" },
		"a grant of its own": func(c *oauth.Config) { c.Grant = "account_credentials" },
		"a grant by URI":     func(c *oauth.Config) { c.Grant = "urn:example:grant" },
		"nil":                func(c *oauth.Config) { c.HTTPClient, c.Now = nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := client(t)
			change(&c)
			provider(t, c)
		})
	}
}

// TestConfigIsCopied: what the caller does to its Config afterwards changes
// nothing.
func TestConfigIsCopied(t *testing.T) {
	c, s := client(t, ok)
	c.Scopes, c.Params, c.Audience = []string{"read"}, url.Values{"x": {"1"}}, []string{"urn:a"}
	p := provider(t, c)
	c.Scopes[0], c.Audience[0], c.Params["x"][0] = "admin", "urn:b", "2"
	c.Params.Set("y", "3")
	_, err := p.Generate(t.Context(), reqZero)
	require.NoError(t, err)
	require.Equal(t, url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}, "audience": {"urn:a"}, "x": {"1"}}, s.last().form)
}

func TestNothingPrintsSecrets(t *testing.T) {
	c, _ := client(t, ok)
	p := provider(t, c)
	c.Key = oauth.Key{ID: "kid-1", PEM: []byte("canary-key")}
	outer := struct {
		Config oauth.Config
		P      *oauth.Provider
	}{c, p}
	var out bytes.Buffer
	for _, v := range []any{c, &c, p, *p, c.Key, &c.Key, outer, []any{c, p}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		j, _ := json.Marshal(v)
		out.Write(j)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
	}
	require.Contains(t, out.String(), "kid-1")
	for _, secret := range []string{"canary", fmt.Sprintf("%x", "canary"), fmt.Sprint([]byte("canary"))[1:10]} {
		require.NotContains(t, out.String(), secret)
	}
}

func TestPlainHTTPByNameOnly(t *testing.T) {
	c := oauth.Config{TokenURL: "http://keycloak:8080/token?x=1", IntrospectionURL: "http://keycloak:8080/introspect", ClientID: "c", Secret: "s"}
	_, err := oauth.New(c)
	require.ErrorContains(t, err, "TokenURL: must be https")
	require.ErrorContains(t, err, "IntrospectionURL: must be https")
	c.DangerouslyPlainHTTP = []string{"keycloak:8080"}
	_, err = oauth.New(c)
	require.NoError(t, err)
	for _, bad := range []string{"http://keycloak:8081/token", "http://keycloak/token", "http://evil:8080/token", "ftp://keycloak:8080/token", "http://user:pw@keycloak:8080/token", "http://keycloak:8080/token#x"} {
		other := c
		other.TokenURL = bad
		_, err = oauth.New(other)
		require.ErrorContains(t, err, "TokenURL: ", bad)
		require.NotContains(t, err.Error(), "pw@")
	}
	c.DangerouslyPlainHTTP = []string{"*:8080"}
	_, err = oauth.New(c)
	require.ErrorContains(t, err, "is not an exact host:port")
}
