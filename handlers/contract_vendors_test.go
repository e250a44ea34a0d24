package handlers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/kudo"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/providers/redox"
)

// column is one vendor in the table of the contract: what a caller and an
// upstream have to do to get each answer. A field that is empty says that the
// vendor cannot have that row.
type column struct {
	vendor
	badField         string // a call with a field of the wrong type
	nobody           string // a call that names no user
	bob              string // a call that names bob
	refused          string // the upstream's refusal of a refresh token
	rejected         string // its refusal of a caller's input, with status 400
	unknown          string // its refusal of our key, with status 401
	broken           providers.Provider
	verify           handlers.Config
	unverified       http.HandlerFunc
	tenants, proxied bool
	keyless          func() error
	notBrowsers      bool // without Wire
}

const tenantIDs = "?organisation_uuid=" + org + "&workspace_uuid=" + workspace

var errNoKey = errors.New("planted: the key could not be had")

// columns are all vendors, each with an upstream at base.
func columns(t testing.TB, base string) map[string]column {
	t.Helper()
	v := vendors(t, base)
	users, err := oauth.New(oauth.Config{TokenURL: base + "/oauth", ClientID: "client", Secret: oauthPass, Grant: "refresh_token", IntrospectionURL: base + "/introspect", Now: now})
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	red, err := redox.New(redox.Config{BaseURL: base, ClientID: "client", Key: oauth.Key{ID: "k", Signer: key}, Now: now})
	require.NoError(t, err)

	noKey := func(context.Context) (string, error) { return "", errNoKey }
	noKeys := func(context.Context) (string, string, error) { return "", "", errNoKey }
	brokenRedacto, err1 := redacto.New(redacto.Config{BaseURL: base, Tenants: []string{org + ":" + workspace}, APIKeyFunc: func(ctx context.Context, _ string) (string, error) { return noKey(ctx) }})
	brokenCM, err2 := contactsmanager.New(contactsmanager.Config{OrgID: "org", Credentials: noKeys})
	brokenKudo, err3 := kudo.New(kudo.Config{BaseURL: base, Credentials: noKeys})
	brokenOAuth, err4 := oauth.New(oauth.Config{TokenURL: base + "/oauth", ClientID: "client", SecretFunc: noKey, Now: now})
	require.NoError(t, errors.Join(err1, err2, err3, err4))

	introspect := handlers.Config{Provider: users, Authorize: handlers.DangerouslyAllowAnyCaller, Now: now}
	return map[string]column{
		"redacto": {
			vendor: v["redacto"], badField: `{"email":7}`, nobody: `{"email":null,"org_user_id":"","mobile":null}`, bob: `{"org_user_id":"bob"}`,
			refused: `{"detail":{"detail":"planted"}}`, rejected: `{"message":"planted"}`, unknown: `planted`, broken: brokenRedacto,
			tenants: true, proxied: true,
			keyless: func() error { _, err := redacto.New(redacto.Config{}); return err },
		},
		"contactsmanager": {
			vendor: v["contactsmanager"], badField: `{"userId":7}`, nobody: `{"userId":null}`, bob: `{"userId":"bob"}`, broken: brokenCM,
			keyless: func() error { _, err := contactsmanager.New(contactsmanager.Config{}); return err },
		},
		"kudo": {
			vendor: v["kudo"], badField: `{"file":7}`, bob: `{"file":"f","userId":"bob"}`, rejected: `{"message":"planted"}`, unknown: `{ Wrong token }`, broken: brokenKudo,
			verify:     handlers.Config{Provider: v["kudo"].provider, Authorize: handlers.DangerouslyAllowAnyCaller, Now: now},
			unverified: reply(403, "{ Wrong token }"),
			keyless:    func() error { _, err := kudo.New(kudo.Config{}); return err },
		},
		"redox": {
			vendor: vendor{provider: red, remote: true, now: now}, unknown: `{"error":"invalid_request","error_description":"Public key not found, check client_id"}`,
			proxied: true, notBrowsers: true,
			keyless: func() error { _, err := redox.New(redox.Config{}); return err },
		},
		"oauth, client": {
			vendor: v["oauth"], rejected: `{"error":"invalid_scope"}`, unknown: `{"error":"invalid_client"}`, broken: brokenOAuth,
			proxied: true,
			keyless: func() error { _, err := oauth.New(oauth.Config{}); return err },
		},
		"oauth, users": {
			vendor:   vendor{users, users, `{"refresh_token":"r"}`, "", true, now},
			badField: `{"refresh_token":7}`, nobody: `{}`, refused: `{"error":"invalid_grant"}`, rejected: `{"error":"invalid_scope"}`, unknown: `{"error":"invalid_client"}`,
			verify: introspect, unverified: reply(200, `{"active":false}`),
			keyless: func() error { _, err := oauth.New(oauth.Config{Grant: "refresh_token"}); return err },
		},
	}
}

// trip takes a token from the vendor and attaches it: what a Transport does.
type trip struct{ providers.Provider }

func (p trip) RoundTrip(r *http.Request) (*http.Response, error) {
	tok, err := p.Generate(r.Context(), providers.Request{})
	if err != nil {
		return nil, err
	}
	return respond(r, 401, "planted "+tok.AccessToken), nil
}

// token is the vendor's endpoint that hands out tokens: for users of a plain
// authorization server that is Refresh, for Redox it is a proxy.
func (c column) token(t *testing.T, change func(*handlers.Config)) http.Handler {
	t.Helper()
	conf := c.config()
	if change != nil {
		change(&conf)
	}
	if c.notBrowsers {
		pc := proxyConfig("https://api.example.com")
		pc.Transport, pc.Authorize = trip{conf.Provider}, conf.Authorize
		h, err := handlers.Proxy(pc)
		return must(t, h, err)
	}
	build := handlers.Generate
	if c.isUsers() {
		build = handlers.Refresh
	}
	h, err := build(conf)
	return must(t, h, err)
}

func (c column) isUsers() bool {
	m, ok := c.provider.(providers.Moder)
	return ok && m.Mode() == providers.Rotating
}

func (c column) call(body string) *http.Request {
	if c.notBrowsers {
		return httptest.NewRequest(http.MethodGet, "/fhir/R4/Patient", nil)
	}
	return c.post(body)
}

// refresh is the vendor's handler of refresh tokens, nil if it has none.
func (c column) refresh(t *testing.T) http.Handler {
	t.Helper()
	h, err := handlers.Refresh(c.config())
	if err != nil {
		require.ErrorContains(t, err, "refresh")
		return nil
	}
	return h
}

func large() string { return `{"x":"` + strings.Repeat("x", 16<<10) + `"}` }
