package providertest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jose"
	"github.com/bearerkit/bearerkit/providers/providertest"
)

const redoxTokenURL = "http://example.com/v2/auth/token" // httptest.NewRequest's host

var rsaKey = sync.OnceValue(func() crypto.Signer {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil
	}
	return k
})

func joseKey(t *testing.T, signer crypto.Signer, alg, kid string) *jose.Key {
	t.Helper()
	k, err := jose.NewKey(signer, alg, kid)
	require.NoError(t, err)
	return k
}

func keySet(t *testing.T, keys ...*jose.Key) json.RawMessage {
	t.Helper()
	var set struct {
		Keys []jose.JWK `json:"keys"`
	}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.PublicJWK())
	}
	b, err := json.Marshal(set)
	require.NoError(t, err)
	return b
}

// assertionClaims are in order; change edits them.
func assertionClaims(change func(map[string]any)) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": "client", "sub": "client", "aud": redoxTokenURL, "jti": rand.Text(), "iat": now, "exp": now + 60,
	}
	if change != nil {
		change(c)
	}
	return c
}

func assertion(t *testing.T, k *jose.Key, change func(map[string]any)) string {
	t.Helper()
	s, err := k.Sign(assertionClaims(change))
	require.NoError(t, err)
	return s
}

func tokenForm(assertion string) url.Values {
	return url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion},
	}
}

func postForm(f *providertest.Fake, form url.Values) reply {
	return ask(f, "POST", "/v2/auth/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

func newRedox(t *testing.T) (*providertest.Fake, *jose.Key) {
	t.Helper()
	k := joseKey(t, rsaKey(), "RS384", "k1")
	f, err := providertest.NewRedox(providertest.RedoxConfig{ClientID: "client", JWKS: keySet(t, k)})
	require.NoError(t, err)
	return f, k
}

func TestRedoxIssues(t *testing.T) {
	f, k := newRedox(t)
	form := tokenForm(assertion(t, k, nil))
	form.Set("scope", "a b")
	got := postForm(f, form)
	require.Equal(t, 200, got.status, got.body)
	answer := got.json(t)
	assert.Equal(t, "Bearer", answer["token_type"])
	assert.InEpsilon(t, 300, answer["expires_in"], 0)
	assert.Equal(t, "a b", answer["scope"])
	assert.NotContains(t, answer, "refresh_token")

	api := ask(f, "POST", "/fhir/R4/x/Development/Patient/_search", "body",
		"Authorization", "Bearer "+answer["access_token"].(string), "Redox-Source-Id", "src")
	require.Equal(t, 200, api.status)
	assert.Equal(t, []any{"src"}, api.json(t)["headers"].(map[string]any)["Redox-Source-Id"])

	f.RevokeAll()
	api = ask(f, "POST", "/endpoint", "body", "Authorization", "Bearer "+answer["access_token"].(string))
	assert.Equal(t, 401, api.status)
	assert.Equal(t, "This source is not authorized.", api.body)
	assert.Empty(t, api.header.Get("WWW-Authenticate"))
}

func TestRedoxTokensEnd(t *testing.T) {
	f, k := newRedox(t)
	synctest.Test(t, func(t *testing.T) {
		token := postForm(f, tokenForm(assertion(t, k, nil))).json(t)["access_token"].(string)
		time.Sleep(299 * time.Second)
		assert.Equal(t, 200, ask(f, "GET", "/endpoint", "", "Authorization", "Bearer "+token).status)
		time.Sleep(time.Second)
		assert.Equal(t, 401, ask(f, "GET", "/endpoint", "", "Authorization", "Bearer "+token).status)
	})
}

func TestRedoxAssertionRules(t *testing.T) {
	f, k := newRedox(t)
	type seconds int64 // from the time of the request on
	set := func(name string, v any) func(map[string]any) {
		return func(c map[string]any) {
			switch v := v.(type) {
			case nil:
				delete(c, name)
			case seconds:
				c[name] = time.Now().Unix() + int64(v)
			default:
				c[name] = v
			}
		}
	}
	for name, c := range map[string]struct {
		change func(map[string]any)
		ok     bool
		reason string
	}{
		"as documented":       {nil, true, ""},
		"no exp, JS sample":   {set("exp", nil), true, ""},
		"aud in an array":     {set("aud", []string{redoxTokenURL}), true, ""},
		"iat 4:50 old":        {set("iat", seconds(-290)), true, ""},
		"iat 5 s ahead":       {set("iat", seconds(5)), true, ""},
		"exp 5 min ahead":     {set("exp", seconds(300)), true, ""},
		"another iss":         {set("iss", "other"), false, "Unexpected iss claim value"},
		"another sub":         {set("sub", "other"), false, "Unexpected sub claim value"},
		"another aud":         {set("aud", "https://other/v2/auth/token"), false, ""},
		"two auds":            {set("aud", []string{redoxTokenURL, "x"}), false, ""},
		"no aud":              {set("aud", nil), false, ""},
		"iat 6 min old":       {set("iat", seconds(-360)), false, ""},
		"iat 30 s ahead":      {set("iat", seconds(30)), false, ""},
		"no iat":              {set("iat", nil), false, ""},
		"exp 6 min ahead":     {set("exp", seconds(360)), false, ""},
		"exp passed":          {set("exp", seconds(-30)), false, ""},
		"exp not a number":    {set("exp", "soon"), false, ""},
		"no jti":              {set("jti", nil), false, ""},
		"jti of another type": {set("jti", 7), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := postForm(f, tokenForm(assertion(t, k, c.change)))
				if c.ok {
					assert.Equal(t, 200, got.status, got.body)
					return
				}
				assert.Equal(t, 401, got.status)
				assert.Equal(t, "invalid_client", got.json(t)["error"])
				assert.Equal(t, c.reason, got.json(t)["error_description"])
			})
		})
	}
}

func TestRedoxRefusesKeysAndReplays(t *testing.T) {
	f, k := newRedox(t)
	once := assertion(t, k, nil)
	assert.Equal(t, 200, postForm(f, tokenForm(once)).status)
	assert.Equal(t, 401, postForm(f, tokenForm(once)).status, "a jti works once")

	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		key    *jose.Key
		reason string
	}{
		"forged":    {joseKey(t, other, "RS384", "k1"), ""},
		"no kid":    {joseKey(t, rsaKey(), "RS384", ""), "JWT header kid property is required"},
		"other kid": {joseKey(t, rsaKey(), "RS384", "k2"), "Public key not found, check client_id, kid and Redox dashboard settings"},
		"RS256":     {joseKey(t, rsaKey(), "RS256", "k1"), ""},
		"PS384":     {joseKey(t, rsaKey(), "PS384", "k1"), ""},
		"ES256":     {joseKey(t, p256, "ES256", "k1"), ""},
	} {
		got := postForm(f, tokenForm(assertion(t, c.key, nil)))
		assert.Equal(t, 401, got.status, name)
		assert.Equal(t, c.reason, got.json(t)["error_description"], name)
	}
	hs, err := jose.HS256([]byte("secret"), assertionClaims(nil))
	require.NoError(t, err)
	assert.Equal(t, 401, postForm(f, tokenForm(hs)).status)
	assert.Equal(t, 401, postForm(f, tokenForm("not.a.jwt")).status)
}

func TestRedoxFormRules(t *testing.T) {
	f, k := newRedox(t)
	for name, c := range map[string]struct {
		change func(url.Values)
		reason string
	}{
		"grant missing":     {func(v url.Values) { v.Del("grant_type") }, "Missing grant_type parameter"},
		"grant other":       {func(v url.Values) { v.Set("grant_type", "password") }, "The grant_type parameter should equal 'client_credentials'"},
		"type missing":      {func(v url.Values) { v.Del("client_assertion_type") }, "Missing client assertion type"},
		"type other":        {func(v url.Values) { v.Set("client_assertion_type", "x") }, "Invalid client assertion type"},
		"assertion missing": {func(v url.Values) { v.Del("client_assertion") }, "Missing client assertion"},
		"repeated":          {func(v url.Values) { v.Add("scope", "a"); v.Add("scope", "b") }, "Repeated parameter"},
	} {
		form := tokenForm(assertion(t, k, nil))
		c.change(form)
		got := postForm(f, form)
		assert.Equal(t, 400, got.status, name)
		assert.Equal(t, "invalid_request", got.json(t)["error"], name)
		assert.Equal(t, c.reason, got.json(t)["error_description"], name)
	}
	got := ask(f, "POST", "/v2/auth/token", tokenForm(assertion(t, k, nil)).Encode())
	assert.Equal(t, "The content-type must be x-www-form-urlencoded", got.json(t)["error_description"])
}

func TestRedoxByJWKSURL(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	k1, k2 := joseKey(t, rsaKey(), "RS384", "k1"), joseKey(t, p384, "ES384", "k2")
	var fetches atomic.Int32
	var set atomic.Value
	set.Store(string(keySet(t, k1)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		_, _ = w.Write([]byte(set.Load().(string)))
	}))
	defer srv.Close()
	f, err := providertest.NewRedox(providertest.RedoxConfig{ClientID: "client", JWKSURL: srv.URL, Audience: "urn:redox", Scopes: []string{"a"}})
	require.NoError(t, err)
	audience := func(c map[string]any) { c["aud"] = "urn:redox" }

	for range 3 {
		assert.Equal(t, 200, postForm(f, tokenForm(assertion(t, k1, audience))).status)
	}
	assert.EqualValues(t, 1, fetches.Load(), "a known kid fetches nothing")
	assert.Equal(t, 401, postForm(f, tokenForm(assertion(t, k2, audience))).status)
	set.Store(strings.Replace(string(keySet(t, k1, k2)), `"keys":[`, `"keys":[{"kty":"broken"},`, 1))
	assert.Equal(t, 200, postForm(f, tokenForm(assertion(t, k2, audience))).status, "published meanwhile")

	form := tokenForm(assertion(t, k1, audience))
	form.Set("scope", "z")
	assert.Equal(t, "invalid_scope", postForm(f, form).json(t)["error"])
}

func TestRedoxCachesTheKeySet(t *testing.T) {
	k1, k2 := joseKey(t, rsaKey(), "RS384", "k1"), joseKey(t, rsaKey(), "RS384", "k2")
	both := keySet(t, k1, k2)
	one := keySet(t, k1)
	synctest.Test(t, func(t *testing.T) {
		document := one
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			_, _ = w.Write(document)
			return w.Result(), nil
		})}
		f, err := providertest.NewRedox(providertest.RedoxConfig{
			ClientID: "client", JWKSURL: "https://client.test/jwks", JWKSMaxAge: time.Hour, HTTPClient: client,
		})
		require.NoError(t, err)
		assert.Equal(t, 200, postForm(f, tokenForm(assertion(t, k1, nil))).status)
		document = both
		assert.Equal(t, 401, postForm(f, tokenForm(assertion(t, k2, nil))).status, "the copy has not aged")
		time.Sleep(time.Hour)
		assert.Equal(t, 200, postForm(f, tokenForm(assertion(t, k2, nil))).status)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
