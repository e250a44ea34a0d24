package contactsmanager_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/providertest"
)

const secret = "secret-canary-of-thirty-two-bytes"

func config() contactsmanager.Config {
	return contactsmanager.Config{
		OrgID: "org-1", APIKey: "key-1", APISecret: secret,
		Now: func() time.Time { return time.Unix(1700000000, 999).UTC() },
	}
}

func build(t testing.TB, cfg contactsmanager.Config) *contactsmanager.Provider {
	t.Helper()
	p, err := contactsmanager.New(cfg)
	require.NoError(t, err)
	return p
}

// segments are the decoded header and claims of a token.
func segments(t *testing.T, token string) (header, claims string) {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	h, err := base64.RawURLEncoding.DecodeString(parts[0])
	require.NoError(t, err)
	c, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	return string(h), string(c)
}

var uuid4 = regexp.MustCompile(`"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`)

func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Suite{
		New: func(t testing.TB, _ string) providers.Provider {
			cfg := config()
			cfg.Now = nil
			return build(t, cfg)
		},
		Request: providers.Request{Subject: "u"},
		Secrets: []string{secret},
	})
}

// Each SDK's claims, one by one and in its order.
func TestClaims(t *testing.T) {
	var cases []struct {
		Name, Profile, Device, Claims string
		DeviceInfo                    map[string]json.RawMessage
		Extra                         map[string]any
	}
	recorder.ReadJSON(t, "testdata/claims.json", &cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			cfg := config()
			cfg.Profile, cfg.DeviceClaim, cfg.ExtraClaims = c.Profile, c.Device, c.Extra
			p := build(t, cfg)
			body, err := json.Marshal(map[string]any{"userId": "user-123", "deviceInfo": c.DeviceInfo})
			require.NoError(t, err)
			req, err := p.Decode(nil, members(t, body))
			require.NoError(t, err)
			token, err := p.Generate(t.Context(), req)
			require.NoError(t, err)

			header, claims := segments(t, token.AccessToken)
			assert.Equal(t, `{"alg":"HS256","typ":"JWT"}`, header)
			require.Regexp(t, uuid4, claims)
			assert.Equal(t, c.Claims, uuid4.ReplaceAllString(claims, `"$$jti"`))
			assert.Equal(t, time.Unix(1700086400, 0).UTC(), token.Expiry)
			assert.Equal(t, cfg.Now(), token.IssuedAt)
			_, err = jwt.Parse(token.AccessToken, func(*jwt.Token) (any, error) { return []byte(secret), nil },
				jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(cfg.Now))
			require.NoError(t, err)
		})
	}
}

func TestEveryTokenHasItsOwnJTI(t *testing.T) {
	p := build(t, config())
	seen := map[string]bool{}
	for range 1000 {
		token, err := p.Generate(t.Context(), providers.Request{Subject: "u"})
		require.NoError(t, err)
		_, claims := segments(t, token.AccessToken)
		seen[uuid4.FindString(claims)] = true
	}
	assert.Len(t, seen, 1000)
}

func TestConfigReportsEveryFault(t *testing.T) {
	_, err := contactsmanager.New(contactsmanager.Config{
		Profile: "ruby", TTL: -1, ExtraClaims: map[string]any{"exp": 1, "f": func() {}},
	})
	for _, want := range []string{"Profile", "OrgID is required", "APIKey or", "APISecret or", "TTL: must be positive", "exp is the vendor's", "JSON values only"} {
		require.ErrorContains(t, err, want)
	}
	for want, change := range map[string]func(*contactsmanager.Config){
		"whole seconds":       func(c *contactsmanager.Config) { c.TTL = 1500 * time.Millisecond },
		"over MaxTTL, 168h":   func(c *contactsmanager.Config) { c.TTL = 8 * 24 * time.Hour },
		"over MaxTTL, 1h":     func(c *contactsmanager.Config) { c.MaxTTL = time.Hour },
		"DeviceClaim":         func(c *contactsmanager.Config) { c.DeviceClaim = "phone" },
		"Credentials exclude": func(c *contactsmanager.Config) { c.Credentials = credentials("a", "b", nil) },
	} {
		cfg := config()
		change(&cfg)
		_, err := contactsmanager.New(cfg)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "canary")
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		assert.NotContains(t, fmt.Sprintf(verb, config()), "canary")
	}
}

func credentials(key, secret string, err error) func(context.Context) (string, string, error) {
	return func(context.Context) (string, string, error) { return key, secret, err }
}

func TestTTLBounds(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 7 * 24 * time.Hour} {
		cfg := config()
		cfg.TTL = ttl
		token, err := build(t, cfg).Generate(t.Context(), providers.Request{Subject: "u"})
		require.NoError(t, err)
		assert.Equal(t, time.Unix(1700000000, 0).Add(ttl).UTC(), token.Expiry)
	}
}

// The vendor chooses the secret: a short one works, with one warning.
func TestShortSecretWarnsOnce(t *testing.T) {
	for name, change := range map[string]func(*contactsmanager.Config){
		"fixed": func(c *contactsmanager.Config) { c.APISecret = "short-canary" },
		"rotating": func(c *contactsmanager.Config) {
			c.APIKey, c.APISecret, c.Credentials = "", "", credentials("k", "short-canary", nil)
		},
		"long": func(c *contactsmanager.Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			cfg := config()
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			change(&cfg)
			p := build(t, cfg)
			for range 3 {
				_, err := p.Generate(t.Context(), providers.Request{Subject: "u"})
				require.NoError(t, err)
			}
			want := 1
			if name == "long" {
				want = 0
			}
			assert.Equal(t, want, strings.Count(log.String(), "level=WARN"))
			assert.NotContains(t, log.String(), "canary")
		})
	}
}

func TestCredentials(t *testing.T) {
	cfg := config()
	cfg.APIKey, cfg.APISecret = "", ""
	key, fail := "one", error(nil)
	cfg.Credentials = func(context.Context) (string, string, error) { return key, secret, fail }
	p := build(t, cfg)
	for range 2 {
		token, err := p.Generate(t.Context(), providers.Request{Subject: "u"})
		require.NoError(t, err)
		_, claims := segments(t, token.AccessToken)
		assert.Contains(t, claims, `"api_key":"`+key+`"`)
		key = "two"
	}
	key = ""
	_, err := p.Generate(t.Context(), providers.Request{Subject: "u"})
	assert.Equal(t, providers.CodeInternal, providers.AsError(err).Code)
	fail = errors.New("vault is down")
	_, err = p.Generate(t.Context(), providers.Request{Subject: "u"})
	require.ErrorIs(t, err, fail)
	assert.Equal(t, "contactsmanager: generate: internal", err.Error())
}

func TestBadRequests(t *testing.T) {
	p := build(t, config())
	for name, c := range map[string]struct {
		req  providers.Request
		code providers.Code
	}{
		"nobody":               {providers.Request{}, providers.CodeIdentityRequired},
		"unknown param":        {providers.Request{Subject: "u", Params: map[string]any{"role": map[string]any{}}}, providers.CodeInvalidField},
		"deviceInfo no object": {providers.Request{Subject: "u", Params: map[string]any{"deviceInfo": "x"}}, providers.CodeInvalidField},
		"deviceInfo no JSON":   {providers.Request{Subject: "u", Params: map[string]any{"deviceInfo": map[string]any{"f": func() {}}}}, providers.CodeInvalidField},
		"deviceInfo too large": {providers.Request{Subject: "u", Params: map[string]any{"deviceInfo": map[string]any{"x": strings.Repeat("a", 4096)}}}, providers.CodeInvalidField},
	} {
		_, err := p.Generate(t.Context(), c.req)
		var e *providers.Error
		require.ErrorAs(t, err, &e, name)
		assert.Equal(t, c.code, e.Code, name)
		_, err = p.Key(c.req)
		assert.Equal(t, c.code, providers.AsError(err).Code, name)
	}
	a, err := p.Key(providers.Request{Subject: "u"})
	require.NoError(t, err)
	b, err := p.Key(providers.Request{Subject: "u", Params: map[string]any{"deviceInfo": map[string]any{"os": "iOS"}}})
	require.NoError(t, err)
	assert.NotEqual(t, a, b)
}

// The vendor takes what either profile signs.
func TestWithTheFake(t *testing.T) {
	f, err := providertest.NewContactsManager(providertest.ContactsManagerConfig{OrgID: "org-1", APIKey: "key-1", APISecret: secret})
	require.NoError(t, err)
	for _, profile := range []string{"python", "node", "docs"} {
		cfg := config()
		cfg.Profile, cfg.Now = profile, nil
		token, err := build(t, cfg).Generate(t.Context(), providers.Request{Subject: "u"})
		require.NoError(t, err)
		r := httptest.NewRequest("POST", "/api/v1/client/validate-key", strings.NewReader(`{"api_key":"key-1"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token.AccessToken)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		assert.Equal(t, 200, w.Code, profile)
	}
}

// The warning is the only sign of a secret that can be guessed.
func TestWithoutALoggerTheWarningReachesTheDefault(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	_, err := contactsmanager.New(contactsmanager.Config{OrgID: "o", APIKey: "k", APISecret: "short"})
	require.NoError(t, err)
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "shorter than HS256 requires")
}
