package peers_test

import (
	"crypto"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	josekit "github.com/bearerkit/bearerkit/internal/jose"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

// fositeStore is the store of the fosite server of a test.
type fositeStore = storage.MemoryStore

// newFosite starts a server of fosite's compose. It signs every browser in as
// alice.
func newFosite(t *testing.T) *server {
	t.Helper()
	s, _ := composed(t)
	return s
}

func composed(t *testing.T) (*server, *fositeStore) {
	t.Helper()
	store := storage.NewMemoryStore()
	hash, err := bcrypt.GenerateFromPassword([]byte(specialSecret), bcrypt.MinCost)
	require.NoError(t, err)
	store.Clients["web"] = &fosite.DefaultClient{
		ID: "web", Secret: hash, RedirectURIs: []string{callback}, ResponseTypes: []string{"code"}, Scopes: []string{"offline", "read"},
		GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
	}
	s := listen(t, func(issuer string) http.Handler {
		return fositeHandler(compose.ComposeAllEnabled(&fosite.Config{
			AccessTokenLifespan: time.Minute, GlobalSecret: []byte("a-secret-of-exactly-32-characters")[:32], EnforcePKCE: true,
			TokenURL: issuer + "/token", GrantTypeJWTBearerCanSkipClientAuth: true, GrantTypeJWTBearerIssuedDateOptional: false,
		}, store, rsaKey))
	})
	s.authorize, s.scope = s.url+"/auth", "offline read"
	s.users = oauth.Config{TokenURL: s.url + "/token", IntrospectionURL: s.url + "/introspect", RevocationURL: s.url + "/revoke",
		ClientID: "web", Secret: specialSecret, Grant: "refresh_token",
		DangerouslyUntypedTokens: true} // its introspection tells no token_type
	return s, store
}

// assertionIssuer has store accept assertions of issuer about subject that key
// signs.
func assertionIssuer(store *fositeStore, issuer, subject, kid string, key crypto.PublicKey) {
	store.IssuerPublicKeys[issuer] = storage.IssuerPublicKeys{Issuer: issuer, KeysBySub: map[string]storage.SubjectPublicKeys{
		subject: {Subject: subject, Keys: map[string]storage.PublicKeyScopes{
			kid: {Key: &jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: "RS256", Use: "sig"}, Scopes: []string{"read"}},
		}},
	}}
}

// TestJWTBearer: an assertion that we sign, as a service account has it, and one
// of a caller (RFC 7523 section 2.1).
func TestJWTBearer(t *testing.T) {
	s, store := composed(t)
	assertionIssuer(store, "service-account", "alice", "kid-1", rsaKey.Public())
	verify := must(oauth.New(s.users)).Verify

	own := must(oauth.New(oauth.Config{TokenURL: s.users.TokenURL, ClientID: "service-account", Grant: "jwt_bearer",
		Key: oauth.Key{ID: "kid-1", Algorithm: "RS256", Signer: rsaKey}, Claims: map[string]any{}}))
	token, err := own.Generate(t.Context(), providers.Request{Subject: "alice"})
	require.NoError(t, err)
	got, err := verify(t.Context(), token.AccessToken)
	require.NoError(t, err)
	require.Equal(t, "alice", got.Subject)
	_, err = own.Generate(t.Context(), providers.Request{Subject: "mallory"})
	require.Equal(t, providers.CodeCredentialsRejected, providers.AsError(err).Code, "%v", providers.AsError(err).LogValue())

	c := s.users
	c.Grant, c.Issuers, c.Scopes = "jwt_bearer", []string{"service-account"}, []string{"read"}
	callers := must(oauth.New(c))
	now := time.Now()
	signing := must(josekit.NewKey(rsaKey, "RS256", "kid-1"))
	assertion := func(id string) string {
		return must(signing.Sign(map[string]any{"iss": "service-account", "sub": "alice", "aud": s.users.TokenURL, "jti": id, "iat": now.Unix(), "exp": now.Add(20 * time.Second).Unix()}))
	}
	req := providers.Request{Assertion: providers.Assertion{Token: assertion("a"), Issuer: "service-account"}}
	token, err = callers.Generate(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, []string{"read"}, token.Scopes)
	require.Equal(t, now.Add(20*time.Second).Unix(), token.Expiry.Unix(), "it ends with the assertion, and the token lives for a minute")
	got, err = verify(t.Context(), token.AccessToken)
	require.NoError(t, err)
	require.Equal(t, "alice", got.Subject)

	_, err = callers.Generate(t.Context(), req)
	e := providers.AsError(err)
	require.Error(t, err, "an assertion with a jti works once here")
	require.NotContains(t, e.LogValue().String(), req.Assertion.Token)
	t.Logf("a second use: %v", e.LogValue())
	req.Assertion.Token = assertion("b")[:40] + "x" + assertion("b")[41:]
	_, err = callers.Generate(t.Context(), req)
	require.Error(t, err)
	t.Logf("a bad signature: %v", providers.AsError(err).LogValue())
}

func fositeHandler(p fosite.OAuth2Provider) http.Handler {
	mux := http.NewServeMux()
	session := func() *fosite.DefaultSession { return &fosite.DefaultSession{Subject: "alice"} }
	mux.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) {
		req, err := p.NewAuthorizeRequest(r.Context(), r)
		if err != nil {
			p.WriteAuthorizeError(r.Context(), w, req, err)
			return
		}
		for _, scope := range req.GetRequestedScopes() {
			req.GrantScope(scope)
		}
		res, err := p.NewAuthorizeResponse(r.Context(), req, session())
		if err != nil {
			p.WriteAuthorizeError(r.Context(), w, req, err)
			return
		}
		p.WriteAuthorizeResponse(r.Context(), w, req, res)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		req, err := p.NewAccessRequest(r.Context(), r, session())
		if err != nil {
			p.WriteAccessError(r.Context(), w, req, err)
			return
		}
		if !req.GetGrantTypes().Has("refresh_token", "authorization_code") {
			for _, scope := range req.GetRequestedScopes() {
				req.GrantScope(scope)
			}
		}
		res, err := p.NewAccessResponse(r.Context(), req)
		if err != nil {
			p.WriteAccessError(r.Context(), w, req, err)
			return
		}
		p.WriteAccessResponse(r.Context(), w, req, res)
	})
	mux.HandleFunc("/introspect", func(w http.ResponseWriter, r *http.Request) {
		res, err := p.NewIntrospectionRequest(r.Context(), r, session())
		if err != nil {
			p.WriteIntrospectionError(r.Context(), w, err)
			return
		}
		p.WriteIntrospectionResponse(r.Context(), w, res)
	})
	mux.HandleFunc("/revoke", func(w http.ResponseWriter, r *http.Request) {
		p.WriteRevocationResponse(r.Context(), w, p.NewRevocationRequest(r.Context(), r))
	})
	return mux
}
