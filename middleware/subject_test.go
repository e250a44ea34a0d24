package middleware_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/kudo"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/tokencache"
)

// subjectOf is what middleware.Subject says behind a.
func subjectOf(t testing.TB, a *middleware.Authenticator, token string) (string, bool) {
	t.Helper()
	v, err := a.Verify(t.Context(), token)
	require.NoError(t, err)
	return middleware.Subject(middleware.NewContext(t.Context(), v))
}

func TestEverySourceSaysWhoseItsSubjectsAre(t *testing.T) {
	a, b := newIssuer(t), newIssuer(t)
	b.URL = "https://partner.example"
	opaque := middleware.Opaque{Verifier: verifier(nil), Owns: func(string) bool { return false }, AnyAudience: true}
	make := func(change func(*middleware.Config)) string {
		c := middleware.Config{Issuers: own(static(a), static(b))}
		change(&c)
		if _, err := middleware.New(c); err != nil {
			return err.Error()
		}
		return ""
	}
	require.Empty(t, make(func(*middleware.Config) {}))
	require.Empty(t, make(func(c *middleware.Config) { c.Issuers = c.Issuers[:1]; c.Issuers[0].Subjects = 0 }), "the only source need not say")
	require.Contains(t, make(func(c *middleware.Config) { c.Issuers[1].Subjects = 0 }), "Issuers[1]: Subjects is not set")
	require.Contains(t, make(func(c *middleware.Config) { c.Opaque = []middleware.Opaque{opaque} }), "Opaque[0]: Subjects is not set")
	require.Contains(t, make(func(c *middleware.Config) {
		c.Issuers = c.Issuers[:1]
		c.Issuers[0].Subjects, c.Resolve = 0, newTenants(t).resolve
	}), "Issuers[0]: Subjects is not set")
	require.Contains(t, make(func(c *middleware.Config) { c.Issuers[1].Subjects = middleware.Own }), "more than one source of tokens has Own subjects")
	opaque.Subjects = middleware.Own
	require.Contains(t, make(func(c *middleware.Config) { c.Opaque = []middleware.Opaque{opaque} }), "more than one source of tokens has Own subjects")
	require.Empty(t, make(func(c *middleware.Config) { c.Issuers[1].Subjects, c.DangerouslySharedSubjects = middleware.Own, true }))
	opaque.Subjects = middleware.Qualified
	require.Contains(t, make(func(c *middleware.Config) { c.Opaque = []middleware.Opaque{opaque, opaque} }), "Opaque[1]: Issuer is empty", "iss:0::u1 would be two users")
	opaque.Issuer = "https://opaque.example"
	require.Empty(t, make(func(c *middleware.Config) { c.Opaque = []middleware.Opaque{opaque} }))
	byName := opaque
	byName.SubjectClaim = "username"
	require.Contains(t, make(func(c *middleware.Config) { c.Opaque = []middleware.Opaque{opaque, byName} }), "Opaque[0] and Opaque[1] have one Issuer and must have one SubjectClaim")
	byName.Issuer = b.URL
	require.Contains(t, make(func(c *middleware.Config) { c.Opaque = []middleware.Opaque{byName} }), "Opaque[0] and Issuers[1] have one Issuer and must have one SubjectClaim")
	require.Empty(t, make(func(c *middleware.Config) {
		c.Opaque, c.Issuers[1].SubjectClaim = []middleware.Opaque{byName}, "username"
	}))
	byName.SubjectClaim = ""
	require.Empty(t, make(func(c *middleware.Config) { c.Opaque = []middleware.Opaque{byName} }))
	require.Contains(t, make(func(c *middleware.Config) { c.Issuers[1].Subjects = 3 }), "neither Own nor Qualified")
	same := static(b)
	same.Issuer, same.Subjects = a.URL, middleware.Own
	require.Empty(t, make(func(c *middleware.Config) { c.Issuers = []middleware.Issuer{c.Issuers[0], same} }), "two entries of one issuer are one source")
}

func TestQualifiedSubjectsAreNobodyElses(t *testing.T) {
	a, b := newIssuer(t), newIssuer(t)
	b.URL = "https://partner.example"
	auth := authFor(t, own(static(a), static(b))...)
	sub, is := subjectOf(t, auth, mint(t, a, map[string]any{"sub": "u1"}))
	require.True(t, is)
	require.Equal(t, "u1", sub)
	sub, is = subjectOf(t, auth, mint(t, b, map[string]any{"sub": "u1"}))
	require.True(t, is)
	require.Equal(t, "iss:23:https://partner.example:u1", sub)
	_, is = subjectOf(t, auth, mint(t, b, map[string]any{"sub": nil}))
	require.False(t, is)
	// Our own issuer's user cannot take the name of the partner's.
	taken := mint(t, a, map[string]any{"sub": "iss:23:https://partner.example:u1"})
	require.Equal(t, "subject", reasonOf(t, auth, taken))
	// The partner's user may have any name.
	sub, _ = subjectOf(t, auth, mint(t, b, map[string]any{"sub": "iss:23:https://partner.example:u1"}))
	require.Equal(t, "iss:23:https://partner.example:iss:23:https://partner.example:u1", sub)
}

// Tokens of clients have no user (RFC 9068 section 2.2: sub is the client).
func TestTokensOfClientsAreNoUsers(t *testing.T) {
	i := newIssuer(t)
	auth := authFor(t, static(i))
	for name, c := range map[string]struct {
		claims map[string]any
		user   bool
	}{
		"RFC 9068": {map[string]any{"sub": "app", "client_id": "app"}, false}, "Okta": {map[string]any{"sub": "app", "cid": "app"}, false}, "azp": {map[string]any{"sub": "app", "azp": "app"}, false}, "Entra v1": {map[string]any{"sub": "app", "appid": "app"}, false},
		"Auth0": {map[string]any{"sub": "app@clients", "azp": "app", "gty": "client-credentials"}, false}, "Auth0 without gty": {map[string]any{"sub": "app@clients", "azp": "app"}, false}, "Entra idtyp": {map[string]any{"sub": "x", "idtyp": "app"}, false},
		"idtyp with escapes": {map[string]any{"sub": "x", "idtyp": json.RawMessage(`"\u0061pp"`)}, false}, "gty with escapes": {map[string]any{"sub": "x", "gty": json.RawMessage(`"client\u002dcredentials"`)}, false},
		"a user by a client": {map[string]any{"sub": "ada", "client_id": "app", "azp": "app"}, true}, "no client": {map[string]any{"sub": "ada"}, true},
	} {
		sub, is := subjectOf(t, auth, mint(t, i, c.claims))
		require.Equal(t, c.user, is, name)
		require.Equal(t, c.user, sub != "", name)
	}
	h := auth.Handler(must(handlers.Generate(handlers.Config{Provider: nobody{t}, Wire: echo{}, Authorize: handlers.SubjectFrom(middleware.Subject)})))
	w := post(h, mint(t, i, map[string]any{"sub": "app", "client_id": "app"}), `{}`)
	require.Equal(t, 401, w.Code)
	// As an opaque token too.
	machine := verifier(func(context.Context, string) (providers.Verified, error) {
		return providers.Verified{Subject: "app", Claims: []byte(`{"sub":"app","client_id":"app"}`)}, nil
	})
	opaque := newAuth(t, middleware.Config{Opaque: []middleware.Opaque{{Verifier: machine, Owns: func(string) bool { return true }, AnyAudience: true}}})
	_, is := subjectOf(t, opaque, "x")
	require.False(t, is)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// nobody is a Provider that must not be called.
type nobody struct{ t *testing.T }

func (n nobody) Generate(_ context.Context, req providers.Request) (providers.Token, error) {
	n.t.Errorf("called for %q", req.Subject)
	return providers.Token{}, &providers.Error{Code: providers.CodeInternal}
}

type echo struct{}

func (echo) Decode(_ url.Values, body map[string]json.RawMessage) (req providers.Request, err error) {
	if user := body["user"]; user != nil {
		err = json.Unmarshal(user, &req.Subject)
	}
	return req, err
}

func (echo) Encode(req providers.Request, token providers.Token) any {
	return map[string]string{"for": req.Subject, "token": token.AccessToken}
}

func post(h http.Handler, token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// vendorCalls calls a vendor in this process and keeps the bodies it was sent.
type vendorCalls struct {
	vendor http.Handler
	bodies []string
}

func (c *vendorCalls) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	c.bodies = append(c.bodies, string(body))
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	w := httptest.NewRecorder()
	c.vendor.ServeHTTP(w, r)
	return w.Result(), nil
}

// End to end: a partner's u1 never gets the vendor token of our own u1. What
// the vendor receives as its user id is a mapping that the application wrote.
// The answers tell in how many seconds a token ends, so the time is the
// bubble's.
func TestTwoIssuersTheCacheAndRedacto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tenant = "0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a01:7d3c1f2e-8a94-4b02-8a55-3f0f6f0a9b01"
		vendor, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{tenant: "cms-key"}})
		require.NoError(t, err)
		calls := &vendorCalls{vendor: vendor}
		p, err := redacto.New(redacto.Config{Tenants: []string{tenant}, APIKey: "cms-key", HTTPClient: &http.Client{Transport: calls}})
		require.NoError(t, err)
		cache, err := tokencache.New(p, tokencache.Options{})
		require.NoError(t, err)
		defer func() { _ = cache.Close(context.Background()) }()
		ours, partner := newIssuer(t), newIssuer(t)
		partner.URL = "https://partner.example"
		auth := authFor(t, own(static(ours), static(partner))...)
		endpoint := func(authorize handlers.Authorize) http.Handler {
			return auth.Handler(must(handlers.Generate(handlers.Config{Provider: cache, Wire: p, Authorize: authorize})))
		}
		u1 := func(i *authtest.Issuer) string { return mint(t, i, map[string]any{"sub": "u1"}) }
		plain := endpoint(handlers.SubjectFrom(middleware.Subject))
		own := post(plain, u1(ours), `{"org_user_id":"u1"}`)
		require.Equal(t, 200, own.Code, own.Body)
		require.Equal(t, own.Body.String(), post(plain, u1(ours), `{}`).Body.String(), "our own user, by name or not")
		before := len(calls.bodies)
		for _, body := range []string{`{}`, `{"org_user_id":"u1"}`} {
			w := post(plain, u1(partner), body)
			require.Equal(t, 403, w.Code, "a qualified subject is no user id by accident")
			require.NotContains(t, w.Body.String(), "token")
		}
		require.Equal(t, 403, post(plain, u1(partner), `{"org_user_id":"u2"}`).Code)
		require.Len(t, calls.bodies, before, "nothing reached the vendor")

		mapped := endpoint(handlers.SubjectFrom(func(ctx context.Context) (string, bool) {
			v, ok := middleware.VerifiedFrom(ctx)
			if ok && v.Issuer == partner.URL {
				return "partner-" + v.Subject, true
			}
			return middleware.Subject(ctx)
		}))
		w := post(mapped, u1(partner), `{}`)
		require.Equal(t, 200, w.Code, w.Body)
		require.NotEqual(t, own.Body.String(), w.Body.String())
		require.Contains(t, calls.bodies[len(calls.bodies)-1], `"partner-u1"`)
		require.Equal(t, own.Body.String(), post(mapped, u1(ours), `{}`).Body.String(), "and our own still has its token")
	})
}

func TestVendorsRefuseQualifiedSubjects(t *testing.T) {
	const qualified = "iss:23:https://partner.example:u1"
	cm := must(contactsmanager.New(contactsmanager.Config{APIKey: "key", APISecret: string(secret), OrgID: "org-1"}))
	k := must(kudo.New(kudo.Config{AccessKey: "key", BaseURL: "http://127.0.0.1:1"}))
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	own := must(oauth.New(oauth.Config{
		Grant: "jwt_bearer", TokenURL: "http://127.0.0.1:1", ClientID: "sa", Key: oauth.Key{Signer: key}, Claims: map[string]any{},
	}))
	refused := func(err error, name string) {
		var e *providers.Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, providers.CodeIdentityMismatch, e.Code, name)
	}
	for name, p := range map[string]providers.Provider{"contactsmanager": cm, "kudo": k} {
		_, err := p.Generate(t.Context(), providers.Request{Subject: qualified, Params: map[string]any{"file": "a.dwg"}})
		refused(err, name)
	}
	_, err = own.Generate(t.Context(), providers.Request{Subject: qualified})
	refused(err, "the sub of an assertion of our own")
	users := must(redacto.New(redacto.Config{
		Tenants: []string{"11111111-1111-4111-8111-111111111111:22222222-2222-4222-8222-222222222222"}, APIKey: "key", BaseURL: "http://127.0.0.1:1",
	}))
	_, _, err = users.CreateUser(t.Context(), "", redacto.User{OrgUserID: qualified})
	refused(err, "create")
	_, err = users.UpdateUser(t.Context(), "", redacto.User{OrgUserID: qualified})
	refused(err, "update")
	_, err = users.LinkUsers(t.Context(), "", qualified, []string{"u1"})
	refused(err, "link")
	_, err = users.LinkUsers(t.Context(), "", "u1", []string{qualified})
	refused(err, "an alias")
}

// Renewals take the qualified subject too, and stay with their issuer.
func TestRenewalsOfQualifiedSubjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, partner := newIssuer(t), newIssuer(t)
		partner.URL = "https://partner.example"
		var asked []string
		next := ""
		auth := newAuth(t, middleware.Config{Issuers: own(static(ours), static(partner)), Renew: &middleware.Renew{
			Window: time.Hour,
			Token: middleware.RenewByGenerate(generator(func(req providers.Request) string {
				asked = append(asked, req.Subject)
				return next
			}), nil),
			Deliver: func(http.ResponseWriter, *http.Request, providers.Token) {},
		}})
		h := auth.Handler(ok)
		old := mint(t, partner, map[string]any{"sub": "u1", "exp": time.Now().Add(-2 * time.Minute).Unix()})
		next = mint(t, ours, map[string]any{"sub": "u1"})
		require.Equal(t, 401, ask(h, old).Code, "another issuer's token for a user of the same name")
		time.Sleep(2 * time.Second)
		next = mint(t, partner, map[string]any{"sub": "u1"})
		require.Equal(t, 200, ask(h, old).Code)
		require.Equal(t, []string{"iss:23:https://partner.example:u1", "iss:23:https://partner.example:u1"}, asked)
		asked, next = nil, mint(t, ours, map[string]any{"sub": "app"})
		require.Equal(t, 401, ask(h, mint(t, ours, map[string]any{"sub": "app", "client_id": "app", "exp": time.Now().Add(-2 * time.Minute).Unix()})).Code)
		require.Equal(t, []string{""}, asked, "a client is no user")
	})
}

type generator func(providers.Request) string

func (g generator) Generate(_ context.Context, req providers.Request) (providers.Token, error) {
	return providers.Token{AccessToken: g(req)}, nil
}
