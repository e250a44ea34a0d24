package oauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

var ok = answer{body: `{"access_token":"a","token_type":"Bearer","expires_in":60}`}

func TestSecretAuthentication(t *testing.T) {
	const secret = "s3cr:t/+ %~\"\\"
	ask := func(c oauth.Config, s *server) received {
		_, err := provider(t, c).Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
		return s.last()
	}
	c, s := client(t, ok)
	c.ClientID, c.Secret = "a:b c", secret
	got := ask(c, s)
	// RFC 6749 section 2.3.1, taken apart as a server does.
	user, pass, found := (&basic{got.header.Get("Authorization")}).parse(t)
	require.True(t, found)
	require.Equal(t, "a:b c", user)
	require.Equal(t, secret, pass)
	require.Equal(t, url.Values{"grant_type": {"client_credentials"}}, got.form)

	c.AuthMethod = "client_secret_post"
	got = ask(c, s)
	require.Empty(t, got.header.Get("Authorization"))
	require.Equal(t, url.Values{"grant_type": {"client_credentials"}, "client_id": {"a:b c"}, "client_secret": {secret}}, got.form)

	c.AuthMethod, c.Secret = "none", ""
	got = ask(c, s)
	require.Equal(t, url.Values{"grant_type": {"client_credentials"}, "client_id": {"a:b c"}}, got.form)
}

type basic struct{ header string }

func (b *basic) parse(t *testing.T) (user, pass string, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(b.header[len("Basic "):])
	require.NoError(t, err)
	for i, c := range raw {
		if c == ':' {
			user, err = url.QueryUnescape(string(raw[:i]))
			require.NoError(t, err)
			pass, err = url.QueryUnescape(string(raw[i+1:]))
			require.NoError(t, err)
			return user, pass, true
		}
	}
	return "", "", false
}

func TestSecretFuncIsAskedEveryTime(t *testing.T) {
	c, s := client(t, ok)
	var next string
	var fail error
	c.Secret, c.AuthMethod = "", "client_secret_post"
	c.SecretFunc = func(context.Context) (string, error) { return next, fail }
	p := provider(t, c)
	for _, next = range []string{"one", "two"} {
		_, err := p.Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
		require.Equal(t, next, s.last().form.Get("client_secret"))
	}
	fail = errors.New("vault sealed")
	_, err := p.Generate(t.Context(), providers.Request{})
	require.ErrorIs(t, err, fail)
	require.Equal(t, providers.Transient, failure(t, err).Class)
	next, fail = "", nil
	_, err = p.Generate(t.Context(), providers.Request{})
	require.Equal(t, providers.CodeInternal, failure(t, err).Code)
	require.Len(t, s.got, 2, "nothing is sent without a secret")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	rsaKey   = must(rsa.GenerateKey(rand.Reader, 2048))
	ecKey    = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	_, ed, _ = ed25519.GenerateKey(rand.Reader)
)

func TestAssertions(t *testing.T) {
	for name, tc := range map[string]struct {
		key  oauth.Key
		alg  string
		want crypto.PublicKey
	}{
		"PEM":     {oauth.Key{PEM: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}), ID: "k1", Algorithm: "RS384"}, "RS384", &rsaKey.PublicKey},
		"PSS":     {oauth.Key{Signer: rsaKey, Algorithm: "PS256"}, "PS256", &rsaKey.PublicKey},
		"default": {oauth.Key{Signer: rsaKey}, "RS256", &rsaKey.PublicKey},
		"curve":   {oauth.Key{Signer: ecKey, ID: "k2"}, "ES384", &ecKey.PublicKey},
		"EdDSA":   {oauth.Key{Signer: ed, ID: "k3"}, "EdDSA", ed.Public()},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := client(t, answer{status: 503}, ok)
			c.Secret, c.Key = "", tc.key
			now := start
			c.Now = func() time.Time { return now }
			p := provider(t, c)
			seen := map[any]bool{}
			for i := range 3 { // the first attempt fails; the next has an assertion of its own
				now = start.Add(time.Duration(i) * time.Minute)
				_, _ = p.Generate(t.Context(), providers.Request{})
				form := s.last().form
				require.Equal(t, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", form.Get("client_assertion_type"))
				require.False(t, form.Has("client_id"))
				token, err := jwt.NewParser(jwt.WithValidMethods([]string{tc.alg}), jwt.WithTimeFunc(func() time.Time { return now })).
					Parse(form.Get("client_assertion"), func(*jwt.Token) (any, error) { return tc.want, nil })
				require.NoError(t, err)
				require.Equal(t, tc.key.ID != "", token.Header["kid"] != nil)
				claims := token.Claims.(jwt.MapClaims)
				jti := claims["jti"].(string)
				require.GreaterOrEqual(t, len(jti)*5, 128, "bits in base32")
				require.False(t, seen[jti])
				seen[jti] = true
				delete(claims, "jti")
				require.Equal(t, jwt.MapClaims{"iss": "client", "sub": "client", "aud": "https://as.example/token",
					"iat": float64(now.Unix()), "exp": float64(now.Unix() + 120)}, claims)
			}
		})
	}
}

func TestAssertionAudience(t *testing.T) {
	c, s := client(t, ok)
	c.Secret, c.Key, c.AssertionAudience = "", oauth.Key{Signer: ed}, "https://as.example"
	c.Params = url.Values{"client_id": {"client"}}
	_, err := provider(t, c).Generate(t.Context(), providers.Request{})
	require.NoError(t, err)
	claims := jwt.MapClaims{}
	_, _, err = jwt.NewParser().ParseUnverified(s.last().form.Get("client_assertion"), claims)
	require.NoError(t, err)
	require.Equal(t, "https://as.example", claims["aud"])
	require.Equal(t, "client", s.last().form.Get("client_id"))
}

func TestWhatARequestReplaces(t *testing.T) {
	c, s := client(t, ok)
	c.Scopes, c.Audience = []string{"read", "write"}, []string{"urn:one", "urn:two"}
	c.Params = url.Values{"tenant": {"t1"}, "mode": {"x"}}
	base := url.Values{"grant_type": {"client_credentials"}, "scope": {"read write"}, "audience": {"urn:one", "urn:two"}, "tenant": {"t1"}, "mode": {"x"}}
	with := func(changes url.Values) url.Values {
		all := url.Values{}
		for k, v := range base {
			all[k] = v
		}
		for k, v := range changes {
			all[k] = v
		}
		return all
	}
	p := provider(t, c)
	for name, tc := range map[string]struct {
		req  providers.Request
		want url.Values
	}{
		"nothing":  {providers.Request{}, base},
		"scopes":   {providers.Request{Scopes: []string{"admin"}}, with(url.Values{"scope": {"admin"}})},
		"audience": {providers.Request{Audience: "urn:three"}, with(url.Values{"audience": {"urn:three"}})},
		"params": {providers.Request{Params: map[string]any{"mode": "y", "n": 1.5, "b": true, "big": json.Number("12345678901234567890"),
			"list": []any{"p", 2}, "none": nil, "blank": ""}},
			with(url.Values{"mode": {"y"}, "n": {"1.5"}, "b": {"true"}, "big": {"12345678901234567890"}, "list": {"p", "2"}})},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second request shows that the first left no trace
				_, err := p.Generate(t.Context(), tc.req)
				require.NoError(t, err)
				require.Equal(t, tc.want, s.last().form)
			}
		})
	}

	c.AudienceParam = "resource" // RFC 8707
	_, err := provider(t, c).Generate(t.Context(), providers.Request{Audience: "urn:three"})
	require.NoError(t, err)
	require.Equal(t, []string{"urn:three"}, s.last().form["resource"])
	require.False(t, s.last().form.Has("audience"))

	c.Grant = "refresh_token" // the grant keeps its scope unless told otherwise
	p = provider(t, c)
	_, err = p.Refresh(t.Context(), alice, "rt")
	require.NoError(t, err)
	require.False(t, s.last().form.Has("scope"))
	_, err = p.Refresh(t.Context(), providers.Request{Subject: "alice", Scopes: []string{"read"}}, "rt")
	require.NoError(t, err)
	require.Equal(t, "read", s.last().form.Get("scope"))
}

func TestRequestsThatCannotBeHonoured(t *testing.T) {
	for name, tc := range map[string]struct {
		grant string
		req   providers.Request
		want  providers.Code
	}{
		"tenant":                 {"client_credentials", providers.Request{Tenant: "t"}, providers.CodeTenantNotAllowed},
		"a user's own token":     {"client_credentials", alice, providers.CodeInvalidField},
		"tenant of a user":       {"refresh_token", providers.Request{Tenant: "t"}, providers.CodeTenantNotAllowed},
		"two scopes in one":      {"client_credentials", providers.Request{Scopes: []string{"read admin"}}, providers.CodeInvalidField},
		"empty scope":            {"client_credentials", providers.Request{Scopes: []string{""}}, providers.CodeInvalidField},
		"another grant type":     {"client_credentials", providers.Request{Params: map[string]any{"grant_type": "password"}}, providers.CodeInvalidField},
		"another scope":          {"client_credentials", providers.Request{Params: map[string]any{"scope": "admin"}}, providers.CodeInvalidField},
		"another assertion":      {"client_credentials", providers.Request{Params: map[string]any{"client_assertion": "x"}}, providers.CodeInvalidField},
		"an object":              {"client_credentials", providers.Request{Params: map[string]any{"x": map[string]any{}}}, providers.CodeInvalidField},
		"a list of lists":        {"client_credentials", providers.Request{Params: map[string]any{"x": []any{[]any{}}}}, providers.CodeInvalidField},
		"a param without a name": {"client_credentials", providers.Request{Params: map[string]any{"": "x"}}, providers.CodeInvalidField},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := client(t, ok)
			c.Grant = tc.grant
			p := provider(t, c)
			var err error
			if tc.grant == "refresh_token" {
				_, err = p.Refresh(t.Context(), tc.req, "rt")
			} else {
				_, err = p.Generate(t.Context(), tc.req)
			}
			e := failure(t, err)
			require.Equal(t, tc.want, e.Code)
			require.Equal(t, providers.Permanent, e.Class)
			require.Empty(t, s.got, "nothing is sent")
		})
	}
}

func TestWithoutATokenEndpointNothingIsGenerated(t *testing.T) {
	c, s := client(t, ok)
	c.TokenURL = ""
	token, err := provider(t, c).Generate(t.Context(), providers.Request{})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.Zero(t, token)
	require.Empty(t, s.got)
}

func TestOneGrantTypePerProvider(t *testing.T) {
	c, s := user(t, ok)
	p := provider(t, c)
	_, err := p.Generate(t.Context(), alice)
	require.Equal(t, providers.CodeGrantRequired, failure(t, err).Code)
	_, err = p.Refresh(t.Context(), alice, "")
	require.Equal(t, providers.GrantDead, failure(t, err).Class)
	require.Equal(t, providers.Rotating, p.Mode())
	_, err = p.Key(providers.Request{})
	require.Equal(t, providers.CodeIdentityRequired, failure(t, err).Code)
	a, err := p.Key(alice)
	require.NoError(t, err)
	b, err := p.Key(providers.Request{Subject: "bob"})
	require.NoError(t, err)
	require.NotEqual(t, a, b)

	c, s2 := client(t, ok)
	p = provider(t, c)
	_, err = p.Refresh(t.Context(), providers.Request{}, "canary")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.Equal(t, providers.Permanent, failure(t, err).Class)
	require.Equal(t, providers.Shared, p.Mode())
	_, err = p.Key(alice)
	require.Error(t, err)
	require.Empty(t, append(s.got, s2.got...), "nothing is sent")
}
